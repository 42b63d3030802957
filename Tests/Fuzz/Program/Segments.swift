import Buffers
import Measures

@testable import Wire

// Whatever bytes are read as a segment, written again and read again: the same segment.

/// IP packets, as they are and with their lengths and checksums put right.
enum RawSegmentTarget {
    static func run(_ input: inout Input) {
        let mends = input.bit()
        var bytes = input.rest()
        if mends { mend(&bytes) }
        withExact(bytes) { packet in
            var first = Segment()
            guard
                let (payload, from, to) = try? RawSegment.read(
                    UnsafeRawBufferPointer(packet), into: &first)
            else { return }
            check(payload.upperBound <= packet.count, "a payload beyond the packet")
            let text = UnsafeRawBufferPointer(rebasing: packet[payload])
            let pieces = Pieces(
                first: UnsafeRawBufferPointer(rebasing: text[..<(text.count / 2)]),
                second: UnsafeRawBufferPointer(rebasing: text[(text.count / 2)...]))
            var sum = InternetChecksum()
            sum.add(pieces)
            sum.add(text)
            let twice = Array(text) + Array(text)
            check(sum.value == folded(twice[...], 0), "another checksum in pieces")
            withExact([UInt8](repeating: 0, count: packet.count + 40)) { out in
                guard
                    let n = RawSegment.write(
                        first, payload: pieces, from: from, to: to, into: out.baseAddress!,
                        capacity: out.count)
                else {
                    fail("what was read can't be written")
                }
                var second = Segment()
                guard
                    let again = try? RawSegment.read(
                        UnsafeRawBufferPointer(rebasing: out[..<n]), into: &second)
                else {
                    fail("what was written can't be read")
                }
                check(
                    again.from == from && again.to == to && out[again.payload].elementsEqual(text),
                    "another packet")
                compare(first, second)
            }
        }
    }

    /// Version, lengths, protocol and checksums as they should be, computed without the engine's
    /// code.
    static func mend(_ p: inout [UInt8]) {
        guard p.count >= 40 else { return }
        let isIPv4 = p[0] & 1 == 0, head = isIPv4 ? 20 : 40
        guard p.count >= head + 20, p.count <= 65_535 else { return }
        let length = p.count - head
        p[0] = isIPv4 ? 0x45 : 0x60
        if isIPv4 {
            (p[2], p[3]) = (UInt8(p.count >> 8), UInt8(p.count & 255))
            (p[6], p[7], p[9], p[10], p[11]) = (0, 0, 6, 0, 0)
            let sum = folded(p[0..<20], 0)
            (p[10], p[11]) = (UInt8(sum >> 8), UInt8(sum & 255))
        } else {
            (p[4], p[5], p[6]) = (UInt8(length >> 8), UInt8(length & 255), 6)
        }
        (p[head + 16], p[head + 17]) = (0, 0)
        let addresses = isIPv4 ? p[12..<20] : p[8..<40]
        let sum = folded(p[head...], add(addresses, 0) + length + 6)
        (p[head + 16], p[head + 17]) = (UInt8(sum >> 8), UInt8(sum & 255))
    }

    private static func add(_ bytes: ArraySlice<UInt8>, _ start: Int) -> Int {
        var sum = start
        for (i, b) in bytes.enumerated() { sum += i & 1 == 0 ? Int(b) << 8 : Int(b) }
        return sum
    }
    private static func folded(_ bytes: ArraySlice<UInt8>, _ start: Int) -> Int {
        var sum = add(bytes, start)
        while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
        return ~sum & 0xffff
    }
}

/// Frames of a sealed segment, at either end of a subflow whose SYNs were exchanged or not.
enum SealedSegmentTarget {
    static let number: UInt16 = 49_152

    struct Contexts {
        var initiator = SealedContext(number: number, isInitiator: true)
        var listener = SealedContext(number: number, isInitiator: false)

        init(_ a: UInt32?, _ b: UInt32?) {
            if let a { carry([.syn], a, 0, fromInitiator: true) }
            if let b { carry([.syn, .ack], b, (a ?? 0) &+ 1, fromInitiator: false) }
        }
        private mutating func carry(
            _ flags: ControlBits, _ sequence: UInt32, _ ack: UInt32, fromInitiator: Bool
        ) {
            var s = Segment()
            s.flags = flags
            s.sequence = SubflowSequence(sequence)
            s.acknowledgement = SubflowSequence(ack)
            let frame = write(s, [], toEnd: true, fromInitiator: fromInitiator)
            _ = read(frame, byInitiator: !fromInitiator)
        }
        mutating func write(
            _ s: Segment, _ payload: [UInt8], toEnd: Bool, fromInitiator: Bool
        ) -> [UInt8] {
            withExact([UInt8](repeating: 0, count: SealedSegment.maximumHead)) { out in
                let n =
                    fromInitiator
                    ? SealedSegment.write(
                        s, payloadLength: payload.count, runsToEnd: toEnd, context: &initiator,
                        into: out.baseAddress!)
                    : SealedSegment.write(
                        s, payloadLength: payload.count, runsToEnd: toEnd, context: &listener,
                        into: out.baseAddress!)
                return Array(out[..<n]) + payload
            }
        }
        mutating func read(
            _ frame: [UInt8], byInitiator: Bool
        ) -> (segment: Segment, payload: [UInt8], length: Int)? {
            withExact(frame) { bytes in
                var s = Segment()
                let frame = UnsafeRawBufferPointer(bytes)
                _ = SealedSegment.peekNumber(frame)
                _ = SealedSegment.isInitialSYN(frame)
                _ = SealedSegment.isBeforeAnswer(frame)
                guard
                    let (head, length) = byInitiator
                        ? try? SealedSegment.read(frame, context: &initiator, into: &s)
                        : try? SealedSegment.read(frame, context: &listener, into: &s)
                else { return nil }
                check(head + length <= bytes.count, "a payload beyond the frame")
                return (s, Array(bytes[head..<(head + length)]), head + length)
            }
        }
    }

    static func run(_ input: inout Input) {
        let form = input.byte(), byInitiator = form & 4 != 0
        let known = form & 1 != 0
        let numbers = (input.word(UInt32.self), input.word(UInt32.self))
        var contexts = known ? Contexts(numbers.0, numbers.1) : Contexts(nil, nil)
        // Several frames of one datagram, so that later ones find what the first ones proposed.
        var rest = input.rest()
        while rest.count >= 3 {
            rest[0] |= SealedSegment.frameBit
            (rest[1], rest[2]) = (UInt8(number >> 8), UInt8(number & 255))
            guard let (segment, payload, taken) = contexts.read(rest, byInitiator: byInitiator)
            else { return }
            for toEnd in [true, false] {
                var fresh = known ? Contexts(numbers.0, numbers.1) : Contexts(nil, nil)
                let frame = fresh.write(segment, payload, toEnd: toEnd, fromInitiator: !byInitiator)
                guard let again = fresh.read(frame, byInitiator: byInitiator) else {
                    fail("what was written can't be read")
                }
                check(again.payload == payload && again.length == frame.count, "another payload")
                compare(segment, again.segment)
            }
            rest.removeFirst(max(taken, 1))
        }
    }
}

/// One subflow's segments over a channel that loses, repeats and reorders: what is read is what was
/// meant, or refused.
enum SealedChannelTarget {
    struct Fields { var ack = 1, window: UInt16 = 100, data: UInt64 = 7 }

    static func run(_ input: inout Input) {
        let start = (input.word(UInt32.self), input.word(UInt32.self))
        var contexts = SealedSegmentTarget.Contexts(start.0, start.1)
        var flights: [[(meant: Segment, frame: [UInt8], at: Int)]] = [[], []]
        // What arrived of each side's stream, and how much of it in one piece.
        var arrived = [[Bool]](repeating: [Bool](repeating: false, count: 30_000), count: 2),
            whole = [0, 0]
        var sent = [0, 0], fields = [Fields(), Fields()]
        var steps = 0
        while !input.isEmpty, steps < 400 {
            steps += 1
            let op = input.byte(), side = Int(op >> 7), fromInitiator = side == 0
            switch op & 7 {
            case 0: fields[side].window = input.word()
            case 1: fields[side].data += UInt64(input.byte())
            case 2, 3:  // data, anew or again from further back
                let again = op & 8 != 0 ? min(sent[side], Int(input.byte())) : 0
                let length = 1 + Int(input.byte() & 63), offset = sent[side] - again
                sent[side] = max(sent[side], offset + length)
                var s = segment(start, side, offset, fields[side])
                s.options.dss.mapping = DSS.Mapping()
                s.options.dss.mapping?.dataSequence = DataSequence(UInt64(9_000 + offset))
                s.options.dss.mapping?.width = op & 16 != 0 ? .eight : .four
                s.options.dss.mapping?.subflowSequence = UInt32(1 + offset)
                s.options.dss.mapping?.length = UInt16(length)
                send(
                    s, [UInt8](repeating: UInt8(steps & 255), count: length), &contexts, &flights,
                    fromInitiator, steps)
            case 4:
                send(
                    segment(start, side, sent[side], fields[side]), [], &contexts, &flights,
                    fromInitiator, steps)
            case 5: fields[side].ack = 1 + whole[1 - side]
            default:
                guard !flights[side].isEmpty else { continue }
                let i = Int(input.byte()) % flights[side].count, flight = flights[side][i]
                if op & 8 != 0 { flights[side].remove(at: i) }
                if op & 16 != 0 { continue }  // lost
                // Six changes are more than a replay window lets anything be overtaken by.
                guard steps - flight.at < 40,
                    let found = contexts.read(flight.frame, byInitiator: !fromInitiator)
                else { continue }
                compare(flight.meant, found.segment)
                let offset = found.segment.sequence.value &- (side == 0 ? start.0 : start.1) &- 1
                for i in 0..<found.payload.count { arrived[side][Int(offset) + i] = true }
                while arrived[side][whole[side]] { whole[side] += 1 }
            }
        }
    }

    private static func segment(
        _ start: (UInt32, UInt32), _ side: Int, _ offset: Int,
        _ f: Fields
    ) -> Segment {
        var s = Segment()
        let (mine, other) = side == 0 ? start : (start.1, start.0)
        (s.sourcePort, s.destinationPort) =
            side == 0 ? (SealedSegmentTarget.number, 443) : (443, SealedSegmentTarget.number)
        s.sequence = SubflowSequence(mine) + 1 + offset
        s.acknowledgement = SubflowSequence(other) + f.ack
        s.flags = .ack
        s.window = f.window
        s.options.present = .dss
        s.options.dss.acknowledgement = DataSequence(f.data)
        s.options.dss.acknowledgementWidth = .four
        return s
    }

    private static func send(
        _ s: Segment, _ payload: [UInt8], _ contexts: inout SealedSegmentTarget.Contexts,
        _ flights: inout [[(meant: Segment, frame: [UInt8], at: Int)]], _ fromInitiator: Bool,
        _ at: Int
    ) {
        let frame = contexts.write(s, payload, toEnd: true, fromInitiator: fromInitiator)
        flights[fromInitiator ? 0 : 1].append((s, frame, at))
        if flights[fromInitiator ? 0 : 1].count > 32 {
            flights[fromInitiator ? 0 : 1].removeFirst()
        }
    }
}

/// Blocks of options alone.
enum OptionsTarget {
    static func run(_ input: inout Input) {
        let flags = ControlBits(rawValue: input.byte()), block = input.take(255)
        withExact(block) { bytes in
            var first = SegmentOptions()
            let p = bytes.baseAddress ?? UnsafeMutableRawPointer(bitPattern: 16)!
            guard (try? first.read(UnsafeRawPointer(p), count: bytes.count, flags: flags)) != nil
            else { return }
            let tight = first.tightOctets, padded = first.octets()
            check(
                tight <= SegmentOptions.maximumOctets && tight <= bytes.count,
                "more bytes than were read")
            let known = known(block, head: first.multipathCapable.octets)
            check(tight == known, "\(tight) bytes understood, \(known) meant something")
            for isPadded in [false, true] {
                let room = isPadded ? padded : tight
                withExact([UInt8](repeating: 0, count: room)) { out in
                    let q = out.baseAddress ?? UnsafeMutableRawPointer(bitPattern: 16)!
                    check(first.write(to: q, padded: isPadded) <= room, "more bytes than said")
                    var second = SegmentOptions()
                    let n = first.write(to: q, padded: isPadded)
                    guard (try? second.read(UnsafeRawPointer(q), count: n, flags: flags)) != nil
                    else {
                        fail("what was written can't be read")
                    }
                    var a = Segment(), b = Segment()
                    a.flags = flags
                    b.flags = flags
                    a.options = first
                    b.options = second
                    compare(a, b)
                }
            }
        }
    }
}

extension OptionsTarget {
    /// Bytes of the options that mean something, as the block's own lengths say: of each kind the
    /// last one.
    private static func known(_ block: [UInt8], head: Int) -> Int {
        var lengths: [Int: Int] = [:], at = 0
        while at < block.count, block[at] != 0 {
            let kind = Int(block[at])
            if kind == 1 { at += 1; continue }
            let length = Int(block[at + 1])
            switch kind {
            case 2 where length == 4, 3 where length == 3, 4 where length == 2,
                8 where length == 10,
                5 where [10, 18, 26, 34].contains(length):
                lengths[kind] = length
            // Of another version of MP_CAPABLE, or one with an extension, perhaps only the head is
            // read.
            case 30
            where block[at + 2] >> 4 == 0 && (block[at + 2] != 1 || block[at + 3] & 0x40 != 0):
                lengths[256] = head
            case 30 where block[at + 2] >> 4 <= 8: lengths[256 + Int(block[at + 2] >> 4)] = length
            default: break
            }
            at += length
        }
        return lengths.values.reduce(0, +)
    }
}

/// The small frames, handshake payloads and targets.
enum FramesTarget {
    static func run(_ input: inout Input) {
        let bytes = input.rest()
        withExact(bytes) { whole in
            let b = UnsafeRawBufferPointer(whole)
            if let x = DatagramHeader(b) {
                same(x, DatagramHeader.size, DatagramHeader.init) { $0.write(into: $1) }
            }
            if let x = ProbeFrame.read(b) {
                same(x, ProbeFrame.size, ProbeFrame.read) { $0.write(into: $1) }
            }
            if let x = PathStateFrame.read(b) {
                same(x, PathStateFrame.size, PathStateFrame.read) { $0.write(into: $1) }
            }
            if let x = CloseFrame.read(b) {
                same(x, CloseFrame.size, CloseFrame.read) { $0.write(into: $1) }
            }
            if let x = JoinRequestFrame.read(b) {
                same(x, JoinRequestFrame.size, JoinRequestFrame.read) { $0.write(into: $1) }
            }
            if let x = SubflowResetFrame.read(b) {
                same(x, SubflowResetFrame.size, SubflowResetFrame.read) { $0.write(into: $1) }
            }
            if let x = AddressStateFrame.read(b) {
                same(x, x.size, AddressStateFrame.read) { $0.write(into: $1) }
            }
            if let x = FlowFrame.read(b) {
                same(x, FlowFrame.size, FlowFrame.read) { $0.write(into: $1) }
            }
            if let x = DatagramReportFrame.read(b) {
                same(x, DatagramReportFrame.size, DatagramReportFrame.read) { $0.write(into: $1) }
            }
            if let x = ProgramVersionFrame.read(b) {
                same(x, x.size, ProgramVersionFrame.read) { $0.write(into: $1) }
            }
            if let x = GoAwayFrame.read(b) {
                same(x, x.size, GoAwayFrame.read) { $0.write(into: $1) }
            }
            if let x = DatagramFrame.read(b) { datagram(x) }
            if let x = RekeyFrame.read(b) {
                withExact([UInt8](repeating: 0, count: x.size)) { out in
                    x.write(into: out.baseAddress!)
                    check(out.elementsEqual(b.prefix(x.size)), "another rekey frame")
                }
            }
            if case .target(let target, let length) = Target.read(b) {
                check(length <= b.count, "a target beyond its bytes")
                var out: [UInt8] = []
                target.write(into: &out)
                guard case .target(target, out.count) = out.withUnsafeBytes({ Target.read($0) })
                else { fail("another target") }
                for n in 0..<min(length, b.count) {
                    guard case .needMore = Target.read(UnsafeRawBufferPointer(rebasing: b[..<n]))
                    else { fail("\(n) bytes suffice") }
                }
            }
        }
        if let hello = HelloPayload(bytes) {
            check(HelloPayload(hello.bytes) == hello, "another hello")
        }
        if let welcome = WelcomePayload(bytes) {
            check(WelcomePayload(welcome.bytes) == welcome, "another welcome")
        }
    }

    /// Written again it is the same, in as many bytes as it says.
    private static func datagram(_ x: DatagramFrame) {
        guard x.size < 32_768 else { return }
        withExact([UInt8](repeating: 0, count: x.size)) { out in
            check(x.write(into: out.baseAddress!) == x.size, "another length")
            check(FrameType.extent(UnsafeRawBufferPointer(out)) == x.size, "another extent")
            guard let again = DatagramFrame.read(UnsafeRawBufferPointer(out)) else {
                fail("a frame of ours is none")
            }
            check(
                again.flow == x.flow && again.sequence == x.sequence
                    && again.isOrdered == x.isOrdered && again.opening == x.opening
                    && again.piece == x.piece && again.payload.elementsEqual(x.payload),
                "another datagram")
        }
    }

    private static func same<T: Equatable>(
        _ value: T, _ size: Int, _ read: (UnsafeRawBufferPointer) -> T?,
        _ write: (T, UnsafeMutableRawPointer) -> Void
    ) {
        withExact([UInt8](repeating: 0, count: size)) { out in
            write(value, out.baseAddress!)
            check(read(UnsafeRawBufferPointer(out)) == value, "another \(T.self)")
        }
    }
}

/// Ends the process where two segments mean different things.
func compare(_ a: Segment, _ b: Segment) {
    if let difference = difference(a, b) { fail(difference) }
}
