import Buffers
import Measures
import Multipath
import Subflow

@testable import Wire

/// Two connections whose segments are lost, repeated, reordered, forged and changed on the way: no
/// trap, no turn without an end, whatever a peer or a middlebox does. Where nothing is forged or
/// changed, what one side reads is what the other one wrote, and all of it once nothing is lost any
/// more.
enum ConnectionTarget {
    static func run(_ input: inout Input) {
        ConnectionBench(&input).run(&input, steps: 200, alone: 40)
    }
}

final class ConnectionBench: Bench {
    /// What an input may do besides losing, repeating and reordering.
    struct Rules: OptionSet {
        var rawValue: UInt8
        /// Nothing is forged or changed.
        static let honest = Rules(rawValue: 1)
        /// Neither end gives up by itself.
        static let steady = Rules(rawValue: 2)
    }
    struct Flight {
        var segment: Segment
        var payload: [UInt8]
        var path: PathID
        var port: UInt16
    }
    let ends: [Connection]
    var now = Instant.zero + .seconds(1)
    var flights: [[Flight]] = [[], []]  // by the side that sent them
    var numbers: [[UInt16: SubflowIndex]] = [[:], [:]]
    var nextPort: UInt16 = 5000
    var out = OutgoingSegment()
    let rules: Rules
    /// By the side that writes.
    var writings = [Writing(start: 7), Writing(start: 30_011)]
    var isHonest = true
    /// When something last arrived, by the side that sent it.
    var heard: [Instant]
    /// A path was given up, or one side did not hear the other for long: the connection may end
    /// with an error.
    var isExcused = false
    /// An end closed its last subflow: nothing is promised but that what arrives is right.
    var isLeft = false
    private static let timeLimit = Interval.seconds(3)

    init(_ input: inout Input) {
        let form = input.byte()
        rules = Rules(rawValue: input.byte())
        heard = [now, now]
        var c = ConnectionConfiguration()
        c.framing = form & 1 != 0 ? .sealed : .rawIP
        c.requiresChecksum = form & 2 != 0 && c.framing == .rawIP
        c.deniesInitialJoins = form & 4 != 0
        c.subflow.timestamps = form & 8 != 0
        c.subflow.selectiveAcknowledgement = form & 16 == 0
        c.subflow.earlyData = c.framing == .sealed
        c.subflow.congestion = [.bbr, .cubic, .newReno, .bbr][Int(form >> 5 & 3)]
        c.scheduler = form & 128 != 0 ? .roundRobin : .predictedArrival
        c.receiveLimit = 64 << 10
        c.sendLimit = 64 << 10
        ends = [
            Connection(
                role: .initiator, configuration: c, localKey: 0x0001_0203_0405_0607, at: now),
            Connection(role: .listener, configuration: c, localKey: 0xa0a1_a2a3_a4a5_a6a7, at: now)
        ]
        numbers[0][nextPort] = ends[0].open(
            path: 0, localPort: nextPort, remotePort: 443,
            initialSequence: SubflowSequence(.max - 700), backup: false, estimate: nil, at: now)
        nextPort += 1
        if form & 64 == 0 { runUntilQuiet() }
    }

    var deadline: Instant { min(ends[0].deadline, ends[1].deadline) }
    var isUnderWay: Bool { !flights[0].isEmpty || !flights[1].isEmpty }
    func loseAll() { flights = [[], []] }

    func turn() {
        for end in ends { end.advance(to: now) }
        pump()
    }

    func restore() {
        for path in 0..<4 {
            for end in ends { end.setHealth(.usable, path: PathID(path), at: now) }
        }
    }

    func attend() {
        // A listener that has lost its last subflow says so by a session's other means.
        if !isUnderWay, ends.contains(where: { $0.livingSubflows == 0 }), ends[0].canJoin {
            join(path: 0, backup: false)
        }
        for side in 0..<2 { read(side, .max) }
    }

    var missing: String? {
        // One that can't be joined is its owner's to give up.
        if let error = ends[0].error ?? ends[1].error {
            return isExcused || !rules.contains(.steady) ? nil : "the connection ended (\(error))"
        }
        if isLeft || ends[0].livingSubflows == 0 && !ends[0].canJoin { return nil }
        for side in 0..<2 {
            let w = writings[side]
            if w.read < w.written {
                return "\(w.written - w.read) bytes of side \(side) have not arrived"
            }
            if w.isFinished, !ends[1 - side].isReadFinished {
                return "the end of side \(side)'s bytes has not arrived"
            }
        }
        return nil
    }

    func step(_ input: inout Input) {
        let op = input.byte(), side = Int(op >> 7), end = ends[side]
        switch op & 15 {
        case 0, 1: runUntilQuiet()
        case 2: deliver(from: side, at: Int(input.byte()), keeping: op & 16 != 0)
        case 3:
            if !flights[side].isEmpty {
                flights[side].remove(at: Int(input.byte()) % flights[side].count)
            }
        case 4:
            now += .microseconds(Int64(input.byte()) << (Int64(op >> 4 & 7) * 2))
            isExcused = isExcused || now - min(heard[0], heard[1]) > Self.timeLimit
            for end in ends { end.advance(to: now) }
        case 5 where !rules.contains(.honest): change(from: side, &input)
        case 6 where !rules.contains(.honest), 7 where !rules.contains(.honest):
            forge(to: side, &input)
        case 5: cut(from: side, &input)
        case 6, 7: deliver(from: side, at: Int(input.byte()), keeping: op & 16 != 0)
        case 8: write(side, 1 + input.below(9_000))
        case 9: read(side, input.below(20_000))
        case 10:
            switch input.byte() % 8 {
            case 0, 1, 2:
                end.finishWriting(at: now)
                writings[side].isFinished = true
            case 3 where !rules.contains(.steady): end.abort(at: now)
            case 4 where !rules.contains(.steady): end.fail(.sessionLost, at: now)
            default: break
            }
        case 11: join(path: PathID(input.byte() & 3), backup: op & 16 != 0)
        case 12:
            isExcused = true
            end.setHealth(
                [.usable, .suspect, .lost][Int(input.byte()) % 3], path: PathID(op >> 4 & 3),
                at: now)
        case 13:
            let id = AddressID(input.byte())
            isExcused = true
            if op & 16 != 0 {
                end.withdraw(id, at: now)
            } else {
                end.announce(
                    op & 32 != 0
                        ? IPAddress(v4: input.word())
                        : IPAddress(v6High: input.word(), low: input.word()),
                    port: op & 64 != 0 ? input.word() : nil, id: id, at: now)
            }
        case 14:
            if op & 16 != 0 {
                isExcused = true
                // Owners leave a path while others carry the data; who leaves the last one sends
                // nothing more.
                isLeft = isLeft || side == 1 || end.livingSubflows < 2
                end.leave(path: PathID(input.byte() & 3), at: now)
            } else {
                end.setBackup(op & 32 != 0, path: PathID(input.byte() & 3), at: now)
            }
        default: while end.takeAddressSignal() != nil {}
        }
    }

    private func write(_ side: Int, _ count: Int) {
        let end = ends[side]
        var left = count
        while left > 0 {
            let space = end.writeSpace(left)
            if space.isEmpty { break }
            writings[side].fill(space)
            end.commitWrite(space.count, at: now)
            left -= space.count
        }
    }

    private func read(_ side: Int, _ maximum: Int) {
        let pieces = ends[side].readable, n = min(maximum, pieces.count)
        writings[1 - side].take(n, of: pieces, checks: isHonest)
        ends[side].consume(n, at: now)
    }

    private func join(path: PathID, backup: Bool) {
        guard numbers[0].count < 12,
            let index = ends[0].join(
                path: path, localPort: nextPort, remotePort: 443,
                initialSequence: SubflowSequence(UInt32(nextPort) << 16),
                addressID: AddressID(path.octet), nonce: 0x1122_3344, backup: backup,
                estimate: nil, at: now)
        else { return }
        numbers[0][nextPort] = index
        nextPort += 1
    }

    // MARK: The way between them

    /// Delivers what there is, both ways, a few times over.
    private func runUntilQuiet() {
        for _ in 0..<4 {
            pump()
            deliverAll()
            now += .milliseconds(10)
            for end in ends { end.advance(to: now) }
        }
        pump()
    }

    func deliverAll() {
        for side in 0..<2 {
            let all = flights[side]
            flights[side] = []
            for flight in all { deliver(flight, from: side) }
        }
    }

    func pump() {
        for (side, end) in ends.enumerated() {
            _ = end.takeEvents()
            if isHonest, case .protocolViolation(let what) = end.error {
                fail("nobody did, but: \(what)")
            }
            var sent = 0
            while end.nextSegment(at: now, into: &out) {
                sent += 1
                check(sent < 5_000, "sending never ends")
                let payload = Array(out.payload.first) + Array(out.payload.second)
                let port = side == 0 ? out.segment.sourcePort : out.segment.destinationPort
                if flights[side].count < 128 {
                    flights[side].append(
                        Flight(segment: out.segment, payload: payload, path: out.path, port: port))
                }
            }
            while let gone = end.takeEndedSubflow() {
                numbers[side] = numbers[side].filter { $0.value != gone }
            }
        }
    }

    private func deliver(from side: Int, at index: Int, keeping: Bool) {
        guard !flights[side].isEmpty else { return }
        let i = index % flights[side].count
        deliver(flights[side][i], from: side)
        if !keeping, i < flights[side].count { flights[side].remove(at: i) }
    }

    private func deliver(_ f: Flight, from side: Int) {
        let other = 1 - side, end = ends[other]
        heard[side] = now
        withExact(f.payload) { bytes in
            let text = UnsafeRawBufferPointer(bytes)
            if let index = numbers[other][f.port] {
                end.receive(f.segment, payload: text, subflow: index, at: now)
            } else if other == 1, f.segment.flags.contains(.syn), !f.segment.flags.contains(.ack) {
                let sequence = SubflowSequence(0xffff_ff00 &+ UInt32(f.port & 1))
                if f.segment.options.present.contains(.join) {
                    numbers[1][f.port] = end.acceptJoin(
                        f.segment, payload: text, path: f.path, initialSequence: sequence,
                        nonce: 0x5566_7788, estimate: nil, at: now)
                    if numbers[1][f.port] == nil { refuse(f, from: side) }
                } else if numbers[1].isEmpty, end.subflow(0) == nil, end.error == nil, !end.isOver {
                    numbers[1][f.port] = end.accept(
                        f.segment, payload: text, path: f.path, initialSequence: sequence,
                        estimate: nil, at: now)
                } else {
                    refuse(f, from: side)
                }
            } else {
                refuse(f, from: side)
            }
        }
    }

    /// What the host says of a segment that belongs to nothing. On raw IP an RST (RFC 9293 section
    /// 3.10.7.1): nothing else tells an initiator that the listener gave up its only subflow before
    /// the third packet brought the keys, without which it refuses every join. In a session a frame
    /// that says so, from which the receiver makes the RST; not for a SYN.
    private func refuse(_ f: Flight, from side: Int) {
        let flags = f.segment.flags
        guard !flags.contains(.rst), !flags.isDisjoint(with: [.ack, .syn]) else { return }
        guard ends[0].configuration.framing == .rawIP else { return sayUnknown(f, to: side) }
        guard flights[1 - side].count < 128 else { return }
        var answer = Segment()
        (answer.sourcePort, answer.destinationPort) =
            (f.segment.destinationPort, f.segment.sourcePort)
        if flags.contains(.ack) {
            answer.flags = .rst
            answer.sequence = f.segment.acknowledgement
        } else {
            answer.flags = [.rst, .ack]
            let length =
                f.payload.count + (flags.contains(.syn) ? 1 : 0) + (flags.contains(.fin) ? 1 : 0)
            answer.acknowledgement = f.segment.sequence + length
        }
        flights[1 - side].append(Flight(segment: answer, payload: [], path: f.path, port: f.port))
    }

    private func sayUnknown(_ f: Flight, to side: Int) {
        guard let index = numbers[side][f.port], let tcp = ends[side].subflow(index),
            tcp.state != .synSent
        else { return }
        var reset = Segment()
        (reset.sourcePort, reset.destinationPort) = (tcp.remotePort, tcp.localPort)
        reset.flags = .rst
        reset.sequence = tcp.receiveNext
        reset.acknowledgement = tcp.sendNext
        ends[side].receive(
            reset, payload: UnsafeRawBufferPointer(start: nil, count: 0), subflow: index, at: now)
    }

    /// A segment in two that may overlap, perhaps beside the whole: what a middlebox may do, as
    /// each says what its bytes are (RFC 8684 section 3.3.1).
    private func cut(from side: Int, _ input: inout Input) {
        guard !flights[side].isEmpty else { return }
        let i = Int(input.byte()) % flights[side].count, whole = flights[side][i],
            n = whole.payload.count
        let from = 1 + input.below(max(n, 1)), to = from + input.below(max(n - from, 1)),
            keeps = input.bit()
        guard n > 1, from < n, !whole.segment.flags.contains(.syn) else { return }
        var front = whole, back = whole
        front.payload = Array(whole.payload[..<to])
        front.segment.flags.remove(.fin)
        back.payload = Array(whole.payload[from...])
        back.segment.sequence = whole.segment.sequence + from
        flights[side].replaceSubrange(i...i, with: keeps ? [front, whole, back] : [front, back])
    }

    /// A segment with some of its bytes changed, checksums mended: what a middlebox does.
    private func change(from side: Int, _ input: inout Input) {
        guard !flights[side].isEmpty else { return }
        var flight = flights[side].remove(at: Int(input.byte()) % flights[side].count)
        var packet = [UInt8](repeating: 0, count: 40 + 40 + flight.payload.count + 40)
        let written: Int? = flight.payload.withUnsafeBytes { payload in
            packet.withUnsafeMutableBytes { out in
                RawSegment.write(
                    flight.segment, payload: Pieces(first: payload, second: Pieces.empty.second),
                    from: IPAddress(v4: 1), to: IPAddress(v4: 2), into: out.baseAddress!,
                    capacity: out.count)
            }
        }
        // A sealed segment may have more options than a packet has room for.
        guard let n = written else { return deliver(flight, from: side) }
        packet.removeLast(packet.count - n)
        for _ in 0..<(1 + input.byte() % 4) {
            let at = 24 + input.below(min(n - 24, 256))
            packet[min(at, n - 1)] ^= input.byte()
        }
        RawSegmentTarget.mend(&packet)
        guard
            let (payload, _, _) = packet.withUnsafeBytes({
                try? RawSegment.read($0, into: &flight.segment)
            })
        else { return }
        isHonest = false
        flight.payload = Array(packet[payload])
        deliver(flight, from: side)
    }

    /// A segment made of the input's bytes, near the numbers that the receiver expects.
    private func forge(to side: Int, _ input: inout Input) {
        let ports = numbers[side].keys.sorted()
        guard !ports.isEmpty else { return }
        let port = ports[Int(input.byte()) % ports.count], index = numbers[side][port]!
        guard let tcp = ends[side].subflow(index) else { return }
        var s = Segment()
        (s.sourcePort, s.destinationPort) = side == 1 ? (port, 443) : (443, port)
        s.flags = ControlBits(rawValue: input.byte())
        s.sequence = tcp.receiveNext + Int(Int16(bitPattern: input.word()))
        s.acknowledgement = tcp.sendNext + Int(Int16(bitPattern: input.word()))
        s.window = input.word()
        let block = input.take(Int(input.byte() & 63))
        let isRight = withExact(block + [0]) { bytes in
            (try? s.options.read(
                UnsafeRawPointer(bytes.baseAddress!), count: block.count, flags: s.flags)) != nil
        }
        guard isRight else { return }
        isHonest = false
        let payload = [UInt8](repeating: 7, count: input.below(1_500))
        withExact(payload) {
            ends[side].receive(s, payload: UnsafeRawBufferPointer($0), subflow: index, at: now)
        }
    }
}
