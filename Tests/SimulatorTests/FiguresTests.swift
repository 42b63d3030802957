import Measures
import Multipath
import Subflow
import Testing

@testable import Simulator

/// The lighter figures, one run each; `Tests/System/test_figures.py` draws all with the program as
/// it is built for use.
@Suite struct FiguresTests {
    @Test func sameSeedSameFiles() throws {
        func call(seed: UInt64) throws -> [FigureFile] {
            var summary = Summary()
            let files = try Figures(seed: seed, runs: 1).call(&summary)
            return files + [FigureFile(name: "summary.md", text: summary.text)]
        }
        let first = try call(seed: 3)
        #expect(try call(seed: 3) == first)
    }

    @Test func tablesAndPictures() throws {
        var summary = Summary()
        let first = try Figures(seed: 3, runs: 1).applicationDelay(&summary)
        #expect(
            first.map(\.name) == [
                "figure-2a.csv", "figure-2a.svg", "figure-2b.csv", "figure-2b.svg"
            ])
        for file in first where file.name.hasSuffix(".csv") {
            let rows = file.text.split(separator: "\n").map {
                $0.split(separator: ",", omittingEmptySubsequences: false).count
            }
            #expect(rows.count > 10)
            #expect(rows.allSatisfy { $0 == rows[0] }, "\(file.name): rows of different lengths")
        }
        for file in first where file.name.hasSuffix(".svg") {
            #expect(file.text.hasPrefix("<svg ") && file.text.hasSuffix("</svg>\n"))
            #expect(!file.text.contains("nan") && !file.text.contains("inf,"), "\(file.name)")
        }
    }
}

/// The application-level handover: what TCP and HTTP need, and no less.
@Suite struct PlainDownloadTests {
    private let lossAt = Instant.zero + .seconds(3)

    private func download(
        _ congestion: CongestionAlgorithm,
        radio: UplinkPlan.RadioPlan? = nil
    ) -> PlainDownload {
        let download = PlainDownload(
            .init(
                wifi: UplinkPlan(.wifi),
                cellular: UplinkPlan(.cellular, radio: radio),
                start: .zero, lossAt: lossAt, end: lossAt + .seconds(3),
                congestion: congestion, seed: 1))
        download.run()
        return download
    }

    @Test(arguments: [CongestionAlgorithm.cubic, .bbr])
    func restartsOverCellular(_ congestion: CongestionAlgorithm) {
        let download = download(congestion)
        #expect(download.failure == nil)
        let gap = download.log.longestGap(from: lossAt, to: lossAt + .seconds(3))
        // A handshake and a request, 100 ms each.
        #expect(gap > .milliseconds(200) && gap < .milliseconds(230), "\(gap.milliseconds) ms")
        // 2.9 s of 8 Mbit/s and 2.8 s of 2 Mbit/s, less headers and slow start.
        let total = download.log.arrivals.last?.total ?? 0
        #expect(total > 3_000_000 && total < 3_600_000, "\(total) bytes")
    }

    @Test func waitsForTheRadio() {
        let download = download(
            .cubic, radio: .init(sleepsAfter: .seconds(2), wakeTime: .seconds(2)))
        #expect(download.failure == nil)
        let gap = download.log.longestGap(from: lossAt, to: lossAt + .seconds(3))
        #expect(gap > .milliseconds(2200) && gap < .milliseconds(2230), "\(gap.milliseconds) ms")
    }
}

@Suite struct VoiceTests {
    private let speech = Speech.samples(seconds: 4, seed: 1)

    /// Frame n arrives `delay(n)` after it was made.
    private func heard(_ delay: (Int) -> Interval) -> VoicePlayer {
        let frames = speech.count / VoicePlayer.frame
        let arrivals = (0..<frames).map {
            Instant.zero + VoicePlayer.period * Int64($0) + delay($0)
        }
        return VoicePlayer(speech, arrivals: arrivals, until: .zero + .seconds(4))
    }

    @Test func aSteadyLinkChangesNothing() {
        let player = heard { _ in .milliseconds(15) }
        #expect(player.silence == .zero)
        #expect(player.began == .zero + .milliseconds(75))
        #expect(player.played == Array(speech.prefix(player.played.count)))
        #expect(player.inTimeAgain(after: .zero + .seconds(2)) == .zero + .seconds(2))
    }

    @Test func whatIsLateIsSilence() {
        // Frame 100 is made after 2 s; it and all that follow come at 2.5 s or later.
        let late = heard { n in
            n < 100
                ? .milliseconds(15)
                : max(.milliseconds(15), .milliseconds(500 - 20 * Int64(n - 100)))
        }
        // 500 ms less the buffer.
        let silence = late.silence
        #expect(
            silence > .milliseconds(400) && silence <= .milliseconds(460), "\(silence.milliseconds)"
        )
        #expect(late.silences.count == 1)
    }

    @Test func speechHasPausesAndLoudness() {
        #expect(speech.count == 4 * Speech.sampleRate)
        #expect(speech.map { Int($0).magnitude }.max() == 26_214)  // four fifths of full scale
        let frames = speech.count / VoicePlayer.frame
        let quiet = (0..<frames).filter { n in
            speech[n * VoicePlayer.frame..<(n + 1) * VoicePlayer.frame]
                .allSatisfy { $0.magnitude <= VoicePlayer.quiet.magnitude }
        }.count
        #expect(quiet > frames / 10 && quiet < frames / 2, "\(quiet) of \(frames) frames are quiet")
        #expect(Speech.samples(seconds: 1, seed: 2) != Speech.samples(seconds: 1, seed: 1))
    }

    @Test func soundFilesSayHowLongTheyAre() {
        let bytes = WaveFile.bytes([1, -2], rate: 8000)
        #expect(bytes.count == 48)
        #expect(Array(bytes[0..<4]) == Array("RIFF".utf8) && bytes[4] == 40 && bytes[40] == 4)
        #expect(Array(bytes[44...]) == [1, 0, 0xfe, 0xff])
    }
}

@Suite struct FigureTextTests {
    @Test func numbers() {
        #expect((1.25).fixed(1) == "1.3" && (-0.04).fixed(1) == "0.0" && (12.0).fixed(0) == "12")
        #expect(
            (-0.5).fixed(2) == "-0.50" && (0.05).fixed(2) == "0.05"
                && Double.infinity.fixed(1) == "")
        #expect((0.250).short(3) == "0.25" && (3.0).short(3) == "3" && (100.0).short(0) == "100")
    }

    @Test func stepsOfAnAxis() {
        #expect(Chart.step(10, maximum: 5) == 2)
        #expect(Chart.step(8, maximum: 14) == 1)
        #expect(Chart.step(0.09, maximum: 10) == 0.01)
        #expect(Chart.step(2500, maximum: 8) == 500)
    }
}

@Suite struct SignalTrialTests {
    @Test(arguments: 0..<6 as Range<UInt64>) func lostNews(seed: UInt64) {
        #expect(SignalTrial(seed: seed).run().failure == nil, "seed \(seed)")
    }
}
