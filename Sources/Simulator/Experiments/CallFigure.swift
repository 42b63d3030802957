import Measures
import Multipath

/// Figure 3: a voice before and after the handover. Sound of 16 bit at 8 kHz travels at its real
/// rate (128 kbit/s, a frame every 20 ms) to the client, in one stream as in the paper, and as the
/// datagrams of a call; what a playout buffer makes of the arrivals is what is heard.
extension Figures {
    /// How the voice travels.
    private enum Carriage: CaseIterable {
        case stream, datagrams
        var file: String { self == .stream ? "figure-3" : "figure-3-udp" }
        var row: String { self == .stream ? "Fig. 3: call" : "Fig. 3, UDP: call" }
    }

    /// The paper lost WiFi "around the 7th second".
    private static let lossAfter = Interval.seconds(7)
    private static let callSeconds = 20
    private static let frameBytes = 2 * VoicePlayer.frame

    /// What one run sounded like.
    private struct Heard {
        var carriage: Carriage
        var mode: HandoverMode
        var asleep: Bool
        var player: VoicePlayer
        var lossAt: Instant

        var name: String { "\(Figures.name(mode)), cellular radio \(asleep ? "asleep" : "awake")" }
        var file: String {
            "\(carriage.file)-\(Figures.name(mode))-\(asleep ? "asleep" : "awake").wav"
        }
        /// The heard samples from the call's first to its last millisecond, and silence before
        /// playing began.
        var samples: [Int16] {
            let late = player.began - HandoverTrial.start
            let lead = Int(late.nanoseconds * Int64(Speech.sampleRate) / 1_000_000_000)
            return [Int16](repeating: 0, count: max(0, lead)) + player.played
        }
    }

    func call(_ summary: inout Summary) throws -> [FigureFile] {
        let speech = Speech.samples(seconds: Self.callSeconds, seed: seed)
        let original = FigureFile(
            name: "figure-3-original.wav", bytes: WaveFile.bytes(speech, rate: Speech.sampleRate))
        return try Carriage.allCases.reduce([original]) {
            try $0 + call($1, speech, &summary)
        }
    }

    private func call(
        _ carriage: Carriage, _ speech: [Int16], _ summary: inout Summary
    ) throws -> [FigureFile] {
        var shown: [Heard] = []
        for asleep in [false, true] {
            var silence: [String] = [], again: [String] = []
            for mode in HandoverMode.allCases {
                let heard = try (0..<runs).map {
                    try hear(carriage, speech, mode, run: $0, asleep: asleep)
                }
                silence.append(heard.map { Optional($0.player.silence) }.milliseconds())
                again.append(
                    heard.map { h in
                        h.player.inTimeAgain(after: h.lossAt).map { $0 - h.lossAt }
                    }.seconds(1))
                shown.append(heard[0])
            }
            let words = "cellular radio \(asleep ? "asleep" : "awake")"
            summary.row(
                "\(carriage.row), silence inserted, ms, \(words)", full: silence[0],
                backup: silence[1],
                single: silence[2])
            // A call in datagrams never gets late.
            guard carriage == .stream else { continue }
            summary.row(
                "\(carriage.row), in time again after, s, \(words)", full: again[0],
                backup: again[1], single: again[2])
        }
        // full; single with the radio awake and asleep
        let pictured = [shown[0], shown[2], shown[5]]
        return [
            table(carriage, speech, shown),
            FigureFile(name: "\(carriage.file).svg", text: chart(carriage, speech, pictured).svg())
        ]
            + pictured.map {
                .init(name: $0.file, bytes: WaveFile.bytes($0.samples, rate: Speech.sampleRate))
            }
    }

    private func hear(
        _ carriage: Carriage, _ speech: [Int16], _ mode: HandoverMode, run: Int, asleep: Bool
    ) throws -> Heard {
        let recording = HandoverTrial.Application.recording(
            Speech.bytes(speech), chunk: Self.frameBytes, period: VoicePlayer.period)
        var trial = trial(
            carriage == .stream ? recording : .nothing, mode, run: run, asleep: asleep)
        trial.lossAfter = Self.lossAfter
        let end = HandoverTrial.start + .seconds(Int64(Self.callSeconds))
        trial.tail = end - trial.lossAt
        if carriage == .datagrams {
            trial.call = CallPlan(
                size: Self.frameBytes + CallDirection.numberBytes, period: VoicePlayer.period)
            trial.tail += HandoverTrial.callEnd
        }
        let record = try checked(trial.run(), "figure 3")
        let player = player(record, speech, until: end)
        return Heard(
            carriage: carriage, mode: mode, asleep: asleep, player: player, lossAt: trial.lossAt)
    }

    private func player(
        _ record: HandoverRecord, _ speech: [Int16], until end: Instant
    ) -> VoicePlayer {
        if let call = record.call {
            return VoicePlayer(
                speech,
                datagrams: call.down.delays.map { sent in
                    sent.delay.map { sent.due + $0 }
                }, until: end)
        }
        // A frame is there when its last byte is.
        var arrivals: [Instant] = []
        for arrival in record.received.arrivals {
            while (arrivals.count + 1) * Self.frameBytes <= arrival.total {
                arrivals.append(arrival.at)
            }
        }
        return VoicePlayer(speech, arrivals: arrivals, until: end)
    }

    // MARK: Files

    /// The least and the greatest sample of every 10 ms, full scale 1.
    private static func envelope(_ samples: [Int16]) -> [(low: Double, high: Double)] {
        let width = Speech.sampleRate / 100
        return stride(from: 0, to: samples.count - width + 1, by: width).map { start in
            let part = samples[start..<(start + width)]
            return (Double(part.min()!) / 32_768, Double(part.max()!) / 32_768)
        }
    }

    private func table(
        _ carriage: Carriage, _ speech: [Int16], _ shown: [Heard]
    ) -> FigureFile {
        let envelopes = [Self.envelope(speech)] + shown.map { Self.envelope($0.samples) }
        let names = ["original"] + shown.map { $0.name.split(separator: ",").joined() }
        var table = CommaTable(["seconds"] + names.flatMap { ["\($0) least", "\($0) greatest"] })
        for i in envelopes[0].indices {
            table.row(
                [(Double(i) / 100).fixed(2)]
                    + envelopes.flatMap { e in
                        i < e.count ? [e[i].low.fixed(4), e[i].high.fixed(4)] : ["", ""]
                    })
        }
        return table.file("\(carriage.file).csv")
    }

    private func chart(_ carriage: Carriage, _ speech: [Int16], _ shown: [Heard]) -> Chart {
        func panel(
            _ title: String, _ samples: [Int16], _ color: String,
            silences: [Chart.Series]
        ) -> Chart.Panel {
            let envelope = Self.envelope(samples)
            let sound = Chart.Series(
                name: title, color: color, style: .band,
                points: envelope.indices.map { (Double($0) / 100, envelope[$0].high) },
                lower: envelope.map(\.low), isUnnamed: true)
            return Chart.Panel(
                title: title, yLabel: "amplitude", y: -0.8...0.8, series: [sound] + silences,
                height: 110, yStep: 0.4)
        }
        let panels =
            [panel("original", speech, "#555", silences: [])]
            + shown.map { heard in
                let silences = heard.player.silences.map { silence in
                    let start = (silence.at - HandoverTrial.start).seconds
                    return Chart.Series(
                        name: "silence for want of sound", color: "#f6c6a8", style: .band,
                        points: [(start, 1), (start + silence.length.seconds, 1)],
                        lower: [-1, -1])
                }
                return panel(
                    "\(heard.name): \(heard.player.silence.milliseconds.fixed(0)) ms of silence",
                    heard.samples, Self.color(heard.mode), silences: silences)
            }
        let lossAt = (shown[0].lossAt - HandoverTrial.start).seconds
        return Chart(
            title: carriage == .stream
                ? "A voice before and after the loss of WiFi"
                : "A voice in datagrams before and after the loss of WiFi",
            subtitle: "Synthetic speech, 16 bit at 8 kHz, played behind a buffer of 60 ms "
                + "(figure 3 of the paper)",
            xLabel: "time since the beginning of the call, s", x: 5...17, panels: panels,
            marks: [.init(x: lossAt, text: "WiFi lost")], note: Self.cellularNote)
    }
}
