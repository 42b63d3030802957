import Buffers
import Measures
import Multipath
import Subflow
@testable import Wire

/// Two connections over raw IP whose segments are lost, repeated, forged and changed on the way: no trap, no
/// turn without an end, whatever a peer or a middlebox does.
enum ConnectionTarget {
    static func run(_ input: inout Input) { ConnectionBench(&input).run(&input) }
}

final class ConnectionBench {
    struct Flight {
        var segment: Segment
        var payload: [UInt8]
        var path: Int
        var port: UInt16
    }
    let ends: [Connection]
    var now = Instant.zero + .seconds(1)
    var flights: [[Flight]] = [[], []]        // by the side that sent them
    var numbers: [[UInt16: Int]] = [[:], [:]]
    var nextPort: UInt16 = 5000
    var out = OutgoingSegment()

    init(_ input: inout Input) {
        let form = input.byte()
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
        ends = [Connection(role: .initiator, configuration: c, localKey: 0x0001_0203_0405_0607, at: now),
                Connection(role: .listener, configuration: c, localKey: 0xa0a1_a2a3_a4a5_a6a7, at: now)]
        numbers[0][nextPort] = ends[0].open(path: 0, localPort: nextPort, remotePort: 443,
                                            initialSequence: SubflowSequence(.max - 700), backup: false, estimate: nil, at: now)
        nextPort += 1
        if form & 64 == 0 { settle() }
    }

    func run(_ input: inout Input) {
        var steps = 0
        while !input.isEmpty, steps < 200 {
            steps += 1
            step(&input)
            pump()
        }
        // Whatever happened: with time alone both ends come to rest and never spin.
        for _ in 0..<40 {
            let next = min(ends[0].deadline, ends[1].deadline)
            guard next < .distantFuture else { break }
            now = max(now, next)
            for end in ends { end.advance(to: now) }
            pump()
            flights = [[], []]
            check(min(ends[0].deadline, ends[1].deadline) > now, "a deadline in the past after a whole turn")
        }
    }

    private func step(_ input: inout Input) {
        let op = input.byte(), side = Int(op >> 7), end = ends[side]
        switch op & 15 {
        case 0, 1: settle()
        case 2: deliver(from: side, at: Int(input.byte()), keeping: op & 16 != 0)
        case 3: if !flights[side].isEmpty { flights[side].remove(at: Int(input.byte()) % flights[side].count) }
        case 4:
            now += .microseconds(Int64(input.byte()) << Int64(op >> 4 & 7) * 2)
            for end in ends { end.advance(to: now) }
        case 5: change(from: side, &input)
        case 6, 7: forge(to: side, &input)
        case 8: write(end, 1 + input.below(9_000))
        case 9: end.consume(min(end.readable.count, input.below(20_000)), at: now)
        case 10:
            switch input.byte() % 8 {
            case 0, 1, 2: end.finishWriting(at: now)
            case 3: end.abort(at: now)
            case 4: end.fail(.sessionLost, at: now)
            default: break
            }
        case 11: join(path: Int(input.byte() & 3), backup: op & 16 != 0)
        case 12: end.setHealth([.usable, .suspect, .lost][Int(input.byte()) % 3], path: Int(op >> 4 & 3), at: now)
        case 13:
            let id = AddressID(input.byte())
            if op & 16 != 0 { end.withdraw(id, at: now) } else {
                end.announce(op & 32 != 0 ? IPAddress(v4: input.word()) : IPAddress(v6High: input.word(), low: input.word()),
                             port: op & 64 != 0 ? input.word() : nil, id: id, at: now)
            }
        case 14: if op & 16 != 0 { end.leave(path: Int(input.byte() & 3), at: now) } else {
            end.setBackup(op & 32 != 0, path: Int(input.byte() & 3), at: now)
        }
        default: while end.takeAddressSignal() != nil {}
        }
    }

    private func write(_ end: Connection, _ count: Int) {
        var left = count
        while left > 0 {
            let space = end.writeSpace(left)
            if space.isEmpty { break }
            space.initializeMemory(as: UInt8.self, repeating: UInt8(left & 255))
            end.commitWrite(space.count, at: now)
            left -= space.count
        }
    }

    private func join(path: Int, backup: Bool) {
        guard numbers[0].count < 12,
              let index = ends[0].join(path: path, localPort: nextPort, remotePort: 443,
                                       initialSequence: SubflowSequence(UInt32(nextPort) << 16),
                                       addressID: AddressID(UInt8(path)), nonce: 0x1122_3344, backup: backup,
                                       estimate: nil, at: now) else { return }
        numbers[0][nextPort] = index
        nextPort += 1
    }

    // MARK: The way between them

    /// Delivers what there is, both ways, a few times over.
    private func settle() {
        for _ in 0..<4 {
            pump()
            for side in 0..<2 {
                let all = flights[side]
                flights[side] = []
                for flight in all { deliver(flight, from: side) }
            }
            now += .milliseconds(10)
            for end in ends { end.advance(to: now) }
        }
        pump()
    }

    func pump() {
        for (side, end) in ends.enumerated() {
            _ = end.takeEvents()
            var sent = 0
            while end.nextSegment(at: now, into: &out) {
                sent += 1
                check(sent < 5_000, "sending never ends")
                let payload = Array(out.payload.first) + Array(out.payload.second)
                let port = side == 0 ? out.segment.sourcePort : out.segment.destinationPort
                if flights[side].count < 128 {
                    flights[side].append(Flight(segment: out.segment, payload: payload, path: out.path, port: port))
                }
            }
            while let gone = end.takeEndedSubflow() { numbers[side] = numbers[side].filter { $0.value != gone } }
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
        withExact(f.payload) { bytes in
            let text = UnsafeRawBufferPointer(bytes)
            if let index = numbers[other][f.port] {
                end.receive(f.segment, payload: text, subflow: index, at: now)
            } else if other == 1, f.segment.flags.contains(.syn), !f.segment.flags.contains(.ack) {
                let sequence = SubflowSequence(0xffff_ff00 &+ UInt32(f.port & 1))
                if f.segment.options.present.contains(.join) {
                    numbers[1][f.port] = end.acceptJoin(f.segment, payload: text, path: f.path, initialSequence: sequence,
                                                        nonce: 0x5566_7788, estimate: nil, at: now)
                } else if numbers[1].isEmpty, end.subflow(0) == nil, end.error == nil, !end.isOver {
                    numbers[1][f.port] = end.accept(f.segment, payload: text, path: f.path, initialSequence: sequence,
                                                    estimate: nil, at: now)
                }
            }
        }
    }

    /// A segment with some of its bytes changed, checksums mended: what a middlebox does.
    private func change(from side: Int, _ input: inout Input) {
        guard !flights[side].isEmpty else { return }
        var flight = flights[side].remove(at: Int(input.byte()) % flights[side].count)
        var packet = [UInt8](repeating: 0, count: 40 + 40 + flight.payload.count + 40)
        let written: Int? = flight.payload.withUnsafeBytes { payload in
            packet.withUnsafeMutableBytes { out in
                RawSegment.write(flight.segment, payload: Pieces(first: payload, second: Pieces.empty.second),
                                 from: IPAddress(v4: 1), to: IPAddress(v4: 2), into: out.baseAddress!, capacity: out.count)
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
        guard let (payload, _, _) = packet.withUnsafeBytes({ try? RawSegment.read($0, into: &flight.segment) }) else { return }
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
            (try? s.options.read(UnsafeRawPointer(bytes.baseAddress!), count: block.count, flags: s.flags)) != nil
        }
        guard isRight else { return }
        let payload = [UInt8](repeating: 7, count: input.below(1_500))
        withExact(payload) { ends[side].receive(s, payload: UnsafeRawBufferPointer($0), subflow: index, at: now) }
    }
}
