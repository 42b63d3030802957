import Measures
import Subflow
import Testing
import Wire

/// Pairs of initial sequence numbers (ours, the peer's) at which the tables are run: every wrap
/// that 32 bits and their halves have lies within or just before what is sent.
struct InitialSequences: Sendable, CustomTestStringConvertible {
    let ours: UInt32, theirs: UInt32
    var testDescription: String { "ISS \(ours), IRS \(theirs)" }

    static let all: [InitialSequences] = [
        .init(ours: 0, theirs: 0), .init(ours: 0x7fff_ffff, theirs: 0x7fff_ffff),
        .init(ours: 0xffff_ffff, theirs: 0xffff_ffff),
        .init(ours: 0xffff_fd44, theirs: 0x7fff_fd44),
        .init(ours: 0x8000_0000, theirs: 0xffff_fd44)
    ]
}

/// One row of a conformance table: the sentence of the RFC, and a script that shows it kept.
///
/// A script is read line by line, numbers relative to both initial sequence numbers:
///
///     < A seq=1 ack=1 len=10     inject a segment (bits S, A, F, R, or -); `<<`: don't look yet at
/// what goes
///     > A seq=1 ack=11           exactly this goes out after the line before; no such line:
/// nothing does
///     + 200                      200 ms pass (24d: days)
///     ! send 3000                the owner: send, close, abort, acknowledge, probe, window
///     = established rcv=11       the state (`check`)
///
/// `>` lines are the words of `Script.out`, then what else the segment must have (win, mss, scale,
/// sackok, ts, echo) or must not have (-scale).
struct Row: Sendable, CustomTestStringConvertible {
    let section: String, text: String
    let place: Place
    let configure: @Sendable (inout SubflowConfiguration) -> Void
    let lines: String

    init(
        _ section: String, _ text: String, in place: Place = .established,
        with configure: @escaping @Sendable (inout SubflowConfiguration) -> Void = { _ in },
        _ lines: String
    ) {
        self.section = section
        self.text = text
        self.place = place
        self.configure = configure
        self.lines = lines
    }

    var testDescription: String { "\(section): \(text)" }

    func run(at start: InitialSequences) {
        var configuration = Script.plain
        configure(&configuration)
        let script = place.make(
            configuration, ours: SubflowSequence(start.ours),
            theirs: SubflowSequence(start.theirs))
        var reader = RowReader(
            script: script,
            title: "\(testDescription) (\(place), \(start.testDescription))")
        for line in lines.split(separator: "\n") {
            reader.read(line.split(separator: " ").map(String.init))
        }
        reader.finish()
    }
}

/// Walks through the lines of a row.
struct RowReader {
    let script: Script
    let title: String
    private var expected: [[String]] = []
    /// Something happened whose answers are not compared yet.
    private var event: String?
    private var before: Snapshot

    init(script: Script, title: String) {
        self.script = script
        self.title = title
        before = Snapshot(script)
    }

    mutating func read(_ words: [String]) {
        guard let kind = words.first else { return }
        let rest = Array(words.dropFirst())
        switch kind {
        case ">": expected.append(rest); return
        case "=": compare(); check(rest); return
        default:
            if event?.hasPrefix("<<") != true { compare(); before = Snapshot(script) }
        }
        event = words.joined(separator: " ")
        switch kind {
        case "<", "<<": inject(rest)
        case "+" where rest[0].hasSuffix("d"): script.wait(Int64(rest[0].dropLast())! * 86_400_000)
        case "+": script.wait(Int64(rest[0])!)
        case "!": act(rest)
        default: Issue.record("\(title): no line begins with \(kind)")
        }
    }

    mutating func finish() { compare() }

    /// What goes out against the `>` lines.
    private mutating func compare() {
        guard let event else { return #expect(expected.isEmpty, "\(title): nothing happened yet") }
        let actual = script.out()
        let wanted = expected.map {
            $0.filter { !Self.isDetail($0) }.map(resolve).joined(separator: " ")
        }
        #expect(actual == wanted, "\(title): after \(event)")
        if actual.count == expected.count {
            for (i, words) in expected.enumerated() {
                let has = details(script.sent[i].segment)
                for word in words where Self.isDetail(word) {
                    let isAbsent = word.hasPrefix("-")
                    let found = has.contains {
                        isAbsent ? $0.hasPrefix(word.dropFirst()) : $0 == word
                    }
                    #expect(found != isAbsent, "\(title): \(word) after \(event), has \(has)")
                }
            }
        }
        expected = []
        self.event = nil
    }

    private static func isDetail(_ word: String) -> Bool {
        ["win=", "mss", "scale", "sackok", "ts", "echo=", "-"].contains { word.hasPrefix($0) }
    }

    /// `seq=zero`: the absolute number 0.
    private func resolve(_ word: String) -> String {
        word == "seq=zero" ? "seq=\(script.ours.distance(to: SubflowSequence(0)))" : word
    }

    private func details(_ segment: Segment) -> [String] {
        let options = segment.options
        var words = ["win=\(segment.window)"]
        if options.present.contains(.maximumSegmentSize) {
            words.append("mss=\(options.maximumSegmentSize)")
        }
        if options.present.contains(.windowScale) { words.append("scale=\(options.windowScale)") }
        if options.present.contains(.sackPermitted) { words.append("sackok") }
        if options.present.contains(.timestamps) {
            words += [
                "ts=\(Int(options.timestamps.value &- script.ours.value) - 100_000)",
                "echo=\(options.timestamps.echo)"
            ]
        }
        return words
    }

    // MARK: What happens

    private func act(_ words: [String]) {
        switch words[0] {
        case "send": script.toSend += Int(words[1])!
        case "close": script.subflow.close()
        case "abort": script.subflow.abort()
        case "acknowledge": script.subflow.requestAcknowledgement()
        case "probe": script.subflow.requestProbe()
        case "window": script.window = Int(words[1])!
        default: Issue.record("\(title): the owner does not \(words[0])")
        }
    }

    private func inject(_ words: [String]) {
        var seq = 1, ack = 1, length = 0, isUsable = true, clock = script.clock
        var changes: [(inout Segment) -> Void] = []
        for word in words.dropFirst() {
            let parts = word.split(separator: "=").map(String.init), value = parts.last!
            switch parts[0] {
            case "seq": seq = Int(value)!
            case "ack": ack = Int(value)!
            case "len": length = Int(value)!
            case "ts": clock = UInt32(truncatingIfNeeded: Int(value)!)
            case "nots": clock = nil
            case "unmapped": isUsable = false
            case "win": changes.append { $0.window = UInt16(value)! }
            case "bare": changes.append { $0.options.present = [] }
            case "nosack": changes.append { $0.options.present.remove(.sackPermitted) }
            case "noscale": changes.append { $0.options.present.remove(.windowScale) }
            case "mss": changes.append { $0.options.maximumSegmentSize = UInt16(value)! }
            case "scale":
                changes.append { $0.options.windowScale = UInt8(value)! }
                changes.append { $0.options.present.insert(.windowScale) }
            case "sack":
                for pair in value.split(separator: ",") {
                    let ends = pair.split(separator: "-").map { Int($0)! }
                    let block = SACKBlocks.Block(
                        start: script.ours + ends[0], end: script.ours + ends[1])
                    changes.append {
                        $0.options.present.insert(.sack); $0.options.sack.append(block)
                    }
                }
            default: Issue.record("\(title): a segment has no \(word)")
            }
        }
        var segment = script.segment(words[0] == "-" ? "" : words[0], seq: seq, ack: ack)
        segment.window = 16_000
        for change in changes { change(&segment) }
        if let clock {
            segment.options.present.insert(.timestamps)
            segment.options.timestamps = Timestamps(value: clock, echo: 0)
        }
        let wouldAccept = script.subflow.wouldAccept(
            segment, payloadLength: length,
            receiveWindow: script.window, at: script.now)
        script.inject(segment, length: length, usable: isUsable)
        // A RST that is only challenged is looked into, but not obeyed.
        let isChallenged = segment.flags.contains(.rst) && script.arrival.isUnacceptable
        #expect(
            wouldAccept != script.arrival.isUnacceptable || isChallenged,
            "\(title): wouldAccept at \(words.joined(separator: " "))")
    }

    // MARK: The state

    /// `same`: nothing changed with the last event. `taken` and `refused`: what became of the
    /// segment;
    /// `text=0-10`: what of its payload was new. Times in milliseconds.
    private func check(_ words: [String]) {
        let now = Snapshot(script), arrival = script.arrival
        for word in words {
            let parts = word.split(separator: "=").map(String.init)
            let holds: Bool
            switch parts[0] {
            case "same": holds = now == before
            case "taken": holds = !arrival.isUnacceptable
            case "refused":
                holds =
                    arrival.isUnacceptable && arrival.text.isEmpty && arrival.newlyDelivered == 0
            case "finished": holds = arrival.finished
            case "text":
                holds =
                    parts[1] == "\(arrival.text.lowerBound)-\(arrival.text.upperBound)"
                    || (parts[1] == "none" && arrival.text.isEmpty)
            case "delivered": holds = parts[1] == "\(arrival.newlyDelivered)"
            default: holds = parts.count == 1 ? now.state == word : now[parts[0]] == parts[1]
            }
            #expect(holds, "\(title): \(word), but \(now), \(arrival)")
        }
    }
}

/// What a row may compare of a subflow.
struct Snapshot: Equatable, CustomStringConvertible {
    let state: String
    let values: [String: String]

    init(_ script: Script) {
        let s = script.subflow
        func milliseconds(_ i: Interval) -> String {
            let thousandths = (i.nanoseconds + 500) / 1000
            return thousandths % 1000 == 0
                ? "\(thousandths / 1000)" : "\(Double(thousandths) / 1000)"
        }
        state = String(describing: s.state)
        values = [
            "una": "\(script.ours.distance(to: s.sendUnacknowledged))",
            "nxt": "\(script.ours.distance(to: s.sendNext))",
            "rcv": "\(script.theirs.distance(to: s.receiveNext))",
            "wnd": "\(s.peerWindow)", "cwnd": "\(s.congestionWindow)",
            "flight": "\(s.bytesInFlight)",
            "lost": "\(s.lostCount)", "spans": "\(s.outstandingCount)", "gap": "\(s.hasReceiveGap)",
            "recovery": "\(s.isInRecovery)", "backoffs": "\(s.backoffs)",
            "mss": "\(s.sendSegmentSize)",
            "srtt": milliseconds(s.smoothedRTT), "var": milliseconds(s.rttVariation),
            "rto": milliseconds(s.retransmissionTimeout), "sampled": "\(s.hasRTTSample)",
            "failure": s.failure.map { "\($0)" } ?? "none",
            "timeouts": "\(s.statistics.timeouts)", "probes": "\(s.statistics.tailLossProbes)",
            "undone": "\(s.statistics.spuriousRecoveries)"
        ]
    }

    subscript(name: String) -> String? { values[name] }
    var description: String {
        state + values.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
    }
}
