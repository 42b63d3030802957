import Measures
import Subflow
import Testing
import Wire

/// A subflow and a clock: inject a segment, expect exactly these (in the manner of smoltcp's
/// tests).
///
/// What goes out is written in words, sequence numbers relative to both initial ones:
/// `S seq=0`, `SA seq=0 ack=1`, `data seq=1 ack=1 len=1400`, `A seq=1 ack=1 sack=1401-2801`, `F …`,
/// `R …`.
final class Script {
    static let localISS = SubflowSequence(0xffff_ff00)  // wraps early in every test
    static let remoteISS = SubflowSequence(0xffff_fff0)
    /// The initial sequence numbers of this script.
    let ours: SubflowSequence, theirs: SubflowSequence
    var subflow: Subflow
    var now = Instant.zero + .seconds(100)
    var window = 100_000
    /// Bytes the application still wants to send.
    var toSend = 0 { didSet { if toSend > oldValue { subflow.offerData() } } }
    var offset: UInt64 = 0
    var last = Segment()
    var arrival = Arrival()
    /// The timestamp of the segments a table injects; nil: without.
    var clock: UInt32?
    /// What the latest `out` let go, with the lengths of the payloads.
    var sent: [(segment: Segment, length: Int)] = []

    /// An active open; with `established`, the handshake is done after one round trip of `rtt`.
    init(
        _ configuration: SubflowConfiguration = Script.plain, established: Bool = true,
        rtt: Interval = .milliseconds(100),
        estimate: PathEstimate? = nil, ours: SubflowSequence = localISS,
        theirs: SubflowSequence = remoteISS
    ) {
        self.ours = ours
        self.theirs = theirs
        subflow = Subflow(
            opening: configuration, localPort: 1000, remotePort: 443,
            initialSequence: ours, estimate: estimate, at: now)
        guard established else { return }
        _ = out()
        now += rtt
        inject("SA", seq: 0, ack: 1)
        precondition(out() == ["A seq=1 ack=1"] && subflow.state == .established)
    }

    /// A passive open from a SYN, `Script.syn` where none is given.
    init(
        accepting configuration: SubflowConfiguration, length: Int = 0, established: Bool = false,
        syn: Segment? = nil, ours: SubflowSequence = localISS, theirs: SubflowSequence = remoteISS
    ) {
        self.ours = ours
        self.theirs = theirs
        subflow = Subflow(
            accepting: syn ?? Script.syn(theirs), payloadLength: length,
            configuration: configuration, initialSequence: ours, estimate: nil, at: now)
        guard established else { return }
        _ = out()
        now += .milliseconds(100)
        inject("A", seq: 1, ack: 1)
        precondition(subflow.state == .established)
    }

    /// Unpaced, window kept by the subflow, ACKs never delayed beyond the first.
    static var plain: SubflowConfiguration {
        var c = SubflowConfiguration()
        c.maximumSegmentSize = 1000
        c.paced = false
        c.windowScale = 7
        c.windowScope = .subflow
        c.congestion = .newReno
        return c
    }

    static func syn(_ sequence: SubflowSequence) -> Segment {
        var s = Segment()
        s.sourcePort = 443
        s.destinationPort = 1000
        s.sequence = sequence
        s.flags = .syn
        s.window = 65_535
        s.options.present = [.maximumSegmentSize, .windowScale, .sackPermitted]
        s.options.maximumSegmentSize = 1000
        s.options.windowScale = 2
        return s
    }

    /// `kinds`: letters S, A, F, R. `sack`: relative to our ISS.
    func inject(
        _ kinds: String, seq: Int, ack: Int = 0, length: Int = 0, window: UInt16 = 16_000,
        sack: [Range<Int>] = [], timestamp: UInt32? = nil, options: Bool = true,
        usable: Bool = true
    ) {
        var s = segment(kinds, seq: seq, ack: ack, options: options)
        s.window = window
        if !sack.isEmpty {
            s.options.present.insert(.sack)
            for r in sack {
                s.options.sack.append(.init(start: ours + r.lowerBound, end: ours + r.upperBound))
            }
        }
        if let timestamp {
            s.options.present.insert(.timestamps)
            s.options.timestamps = Timestamps(value: timestamp, echo: 0)
        }
        inject(s, length: length, usable: usable)
    }

    func inject(_ segment: Segment, length: Int, usable: Bool = true) {
        arrival = subflow.receive(
            segment, payloadLength: length, textIsUsable: usable,
            receiveWindow: window, at: now)
    }

    /// A segment of the peer's; a SYN with the options of `Script.syn`.
    func segment(_ kinds: String, seq: Int, ack: Int = 0, options: Bool = true) -> Segment {
        var s = kinds.contains("S") && options ? Script.syn(theirs) : Segment()
        s.sourcePort = 443
        s.destinationPort = 1000
        s.sequence = theirs + seq
        s.acknowledgement = ours + ack
        s.flags = []
        for k in kinds {
            switch k {
            case "S": s.flags.insert(.syn)
            case "A": s.flags.insert(.ack)
            case "F": s.flags.insert(.fin)
            case "R": s.flags.insert(.rst)
            default: preconditionFailure("no control bit \(k)")
            }
        }
        return s
    }

    /// Lets time pass.
    func wait(_ milliseconds: Int64) {
        now += .milliseconds(milliseconds)
        subflow.advance(to: now)
    }

    /// Everything that goes out now, in words.
    func out() -> [String] {
        var lines: [String] = []
        sent = []
        while lines.count < 1000 {
            var s = Segment(), length = 0
            switch subflow.nextAction(at: now) {
            case .nothing:
                #expect(subflow.deadline > now)
                return lines
            case .open(let room):
                length = min(room, toSend)
                subflow.fillOpen(
                    &s, dataLength: length, streamOffset: offset, receiveWindow: window, at: now)
                consumed(length)
            case .retransmit(let span):
                length = span.length
                subflow.fillRetransmission(
                    of: span, &s, receiveWindow: window, optionRoom: 0, at: now)
            case .data(let room):
                length = min(room, toSend, subflow.sendSegmentSize)
                if length == 0 { subflow.declineData(at: now); continue }
                subflow.fillData(
                    &s, length: length, streamOffset: offset, receiveWindow: window,
                    optionRoom: 0, at: now)
                consumed(length)
            case .finish: subflow.fillFinish(&s, receiveWindow: window, optionRoom: 0, at: now)
            case .acknowledge:
                subflow.fillAcknowledgement(&s, receiveWindow: window, optionRoom: 0, at: now)
            case .probe: subflow.fillProbe(&s, receiveWindow: window, optionRoom: 0, at: now)
            case .reset: subflow.fillReset(&s)
            }
            last = s
            sent.append((s, length))
            lines.append(describe(s, length))
        }
        return lines + ["endless"]
    }

    private func consumed(_ n: Int) { toSend -= n; offset += UInt64(n) }

    private func describe(_ s: Segment, _ length: Int) -> String {
        var kinds = ""
        if s.flags.contains(.syn) { kinds += "S" }
        if s.flags.contains(.fin) { kinds += "F" }
        if s.flags.contains(.rst) { kinds += "R" }
        if s.flags.contains(.ack), length == 0 { kinds += "A" }
        if length > 0 {
            kinds +=
                kinds.contains("S") && s.flags.contains(.ack)
                ? "A+data" : kinds.isEmpty ? "data" : "+data"
        }
        var line = "\(kinds) seq=\(ours.distance(to: s.sequence))"
        if s.flags.contains(.ack) { line += " ack=\(theirs.distance(to: s.acknowledgement))" }
        if length > 0 { line += " len=\(length)" }
        if s.options.present.contains(.sack) {
            var parts: [String] = []
            for i in 0..<s.options.sack.count {
                let b = s.options.sack[i]
                parts.append("\(theirs.distance(to: b.start))-\(theirs.distance(to: b.end))")
            }
            line += " sack=" + parts.joined(separator: ",")
        }
        return line
    }
}
