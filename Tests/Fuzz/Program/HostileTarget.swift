import Buffers
import Crypto
import Glibc
import Measures
import Multipath
import Subflow

@testable import Tunnel
@testable import Wire

/// Two ends of a session of which one is hostile: it has the keys, and says any frame and any
/// segment, in any order, as often as it likes. The other end must come to rest after each
/// datagram, hold no more than its limits allow, and not work longer for a datagram than
/// `Work.maximum` ordinary ones take.
enum HostileTarget {
    static func run(_ input: inout Input) {
        let program = input.rest()
        var minimum = play(program)
        // The machine may have done something else meanwhile: what counts is the minimum of several
        // plays, each of which does the same.
        for _ in 0..<6 {
            guard minimum.contains(where: { $0 > Work.bound }) else { return }
            for (i, cost) in play(program).enumerated() where i < minimum.count {
                minimum[i] = min(minimum[i], cost)
            }
        }
        guard let worst = minimum.max(), worst > Work.bound else { return }
        fail("a datagram takes \(Int(worst / Work.ordinary)) times what an ordinary one takes")
    }

    private static func play(_ program: [UInt8]) -> [Double] {
        program.withUnsafeBytes { bytes in
            var input = Input(bytes)
            let bench = HostileBench(&input)
            for _ in 0..<64 where !input.isEmpty { bench.step(&input) }
            bench.rest()
            return bench.costs
        }
    }
}

/// What a datagram costs, in CPU time of this thread: of this build, with its checks, on this
/// machine.
enum Work {
    /// As many times as much as an ordinary full datagram of data.
    static let maximum = 200.0
    static let ordinary: Double = {
        let program: [UInt8] = [0, 0]
        return program.withUnsafeBytes { bytes -> Double in
            var input = Input(bytes)
            return HostileBench(&input).ordinary()
        }
    }()
    static var bound: Double { maximum * ordinary }

    static func time() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }
}

final class HostileBench {
    let pair: TunnelBench
    /// The side that keeps to no rule: 0 the user, 1 the concentrator.
    let hostile: Int
    private(set) var costs: [Double] = []
    private var next: UInt16 = 50_000
    private var generation: UInt16 = 100
    private let head = UnsafeMutableRawPointer.allocate(
        byteCount: SealedSegment.maximumHead, alignment: 16)
    deinit { head.deallocate() }

    init(_ input: inout Input) {
        hostile = Int(input.byte() & 1)
        pair = TunnelBench(&input, receiveLimit: 2 << 20)
        pair.isHonest = false  // nothing is promised to anybody
        pair.maximumStreams = 1_000
    }

    private var victim: Endpoint { pair.endpoint(1 - hostile) }

    // MARK: An ordinary datagram

    func ordinary() -> Double {
        pair.runUntilQuiet()
        var minimum = Double.infinity
        for _ in 0..<60 {
            guard let stream = pair.streams[0].first?.handle else { fail("no stream") }
            while case let space = stream.writeSpace(1 << 16), space.count > 0 {
                space.initializeMemory(as: UInt8.self, repeating: 65)
                stream.commitWrite(space.count, at: pair.now)
            }
            pair.turn()
            for flight in pair.flights[0] {
                let start = Work.time()
                pair.deliver(flight.bytes, from: 0, uplink: flight.uplink)
                if flight.bytes.count > 1_300 { minimum = min(minimum, Work.time() - start) }
            }
            pair.flights[0] = []
            pair.now += .milliseconds(2)
            pair.turn()
            pair.deliverAll()
            pair.attend()
        }
        check(minimum < .infinity, "no full datagram")
        return minimum
    }

    // MARK: Steps

    func step(_ input: inout Input) {
        let op = input.byte()
        switch op % 10 {
        case 0: pair.runUntilQuiet()
        case 1: pair.now += .milliseconds(Int64(input.byte()) << Int64(op >> 4))
        case 2: send(input.take(input.below(400)), path: PathID(op >> 4 & 3))
        case 3, 4: burst(&input)
        case 5: flood(&input)
        case 6: synFlood(&input)
        case 7: for _ in 0..<(1 << Int(input.byte() % 8)) { pair.openOne() }
        case 8: write(1 << (10 + Int(input.byte() % 12)))
        default:
            pair.attend()
            pair.deliverAll()
        }
        turn()
        check(pair.endpoint(1 - hostile).host.streams.living <= 2_000, "streams without a limit")
    }

    /// Comes to rest with time alone.
    func rest() {
        for _ in 0..<8 {
            let next = pair.deadline
            guard next < .distantFuture else { break }
            pair.now = max(pair.now, next)
            turn()
        }
    }

    private func turn() {
        pair.turn()
        // What was sent is lost, mostly: the hostile side answers as it likes.
        if pair.flights[hostile].count > 64 { pair.flights[hostile] = [] }
        if pair.flights[1 - hostile].count > 64 { pair.flights[1 - hostile] = [] }
    }

    private func send(_ frames: [UInt8], path: PathID = 0) {
        pair.inject(frames: frames, from: hostile, path: path) { cost in
            // One that ends its session ends all connections of it, at once still, a microsecond
            // each.
            if self.victim.sessions.contains(where: { $0.map { !$0.isClosing } ?? false }) {
                self.costs.append(cost)
            }
        }
    }

    private func write(_ count: Int) {
        for (stream, _) in pair.streams[1 - hostile].prefix(3) {
            var left = count
            while left > 0, case let space = stream.writeSpace(left), space.count > 0 {
                space.initializeMemory(as: UInt8.self, repeating: 65)
                stream.commitWrite(space.count, at: pair.now)
                left -= space.count
            }
        }
    }

    // MARK: Segments

    /// A subflow of the victim's.
    private func subflow(
        _ input: inout Input
    ) -> (tcp: Subflow, link: SubflowLink, stream: StreamHandle)? {
        let living = victim.host.streams.compactMap { $0 }
        guard !living.isEmpty else { return nil }
        let stream = living[Int(input.byte()) % living.count]
        guard !stream.links.isEmpty else { return nil }
        let i = Int(input.byte()) % stream.links.count
        return stream.connection.subflow(SubflowIndex(i)).map { ($0, stream.links[i], stream) }
    }

    /// A place in sequence space: near what is expected or outstanding, or half of it away.
    private func place(_ input: inout Input, _ tcp: Subflow, sent: Bool) -> Int {
        let kind = input.byte(), amount = Int(Int16(bitPattern: input.word()))
        let window = tcp.sendUnacknowledged.distance(to: tcp.sendNext)
        let base =
            switch kind & 7 {
            case 0, 1: 0
            case 2: sent ? window : 1 << 16
            case 3: sent ? window / 2 : 1 << 12
            case 4: 1 << 31
            case 5: window + 1 << 31
            case 6: 1 << 30
            default: 3 << 30
            }
        return base + amount << Int(kind >> 6 * 2)
    }

    /// Many segments of one form, each some further on than the one before, in several datagrams.
    private func burst(_ input: inout Input) {
        guard let (tcp, link, stream) = subflow(&input) else { return }
        let form = input.byte(), count = 1 + Int(input.byte() % 96),
            datagrams = 1 + Int(input.byte() % 48)
        let length = form & 4 != 0 ? 1 + Int(input.byte()) : 0, stride = Int(input.byte())
        let sequence = form & 8 != 0 ? place(&input, tcp, sent: false) : 0
        let acknowledged = form & 16 != 0 ? place(&input, tcp, sent: true) : 0
        var blocks: [(Int, Int)] = []
        if form & 2 != 0 {
            for _ in 0..<(1 + input.byte() % 4) {
                blocks.append((place(&input, tcp, sent: true), place(&input, tcp, sent: true)))
            }
        }
        let blockStride = blocks.isEmpty ? 0 : input.below(3_000),
            shift = form & 1 != 0 ? mappingShift(input.byte()) : 0
        let flags = form & 32 != 0 ? input.byte() : 0x10
        let received = tcp.initialReceiveSequence.distance(to: tcp.receiveNext) - 1
        let first = stream.connection.remoteKey.map {
            DataSequence(MultipathHash.initialDataSequence(of: $0)) + 1
        }
        var step = 0
        for _ in 0..<datagrams {
            var frames: [UInt8] = []
            for _ in 0..<count {
                let at = sequence + step * (length + stride)
                var s = Segment()
                s.flags = ControlBits(rawValue: flags)
                s.sequence = tcp.receiveNext + at
                s.acknowledgement = tcp.sendUnacknowledged + acknowledged
                s.window = 60_000
                for (a, b) in blocks {
                    s.options.sack.append(
                        SACKBlocks.Block(
                            start: tcp.sendUnacknowledged + (a + step * blockStride),
                            end: tcp.sendUnacknowledged + (b + step * blockStride)))
                }
                if !blocks.isEmpty { s.options.present.insert(.sack) }
                if length > 0, let first {
                    var mapping = DSS.Mapping()
                    mapping.width = shift > 255 ? .eight : .four
                    mapping.dataSequence = first + (received + at &+ shift &* (step + 1))
                    mapping.subflowSequence =
                        s.sequence.value &- tcp.initialReceiveSequence.value
                        &+ UInt32(truncatingIfNeeded: form & 64 != 0 ? shift &* (step + 1) : 0)
                    mapping.length = UInt16(length)
                    s.options.dss.mapping = mapping
                    s.options.present.insert(.dss)
                }
                step += 1
                let frame = self.frame(s, length, link.number)
                if frames.count + frame.count > 1_400 { break }
                frames += frame
            }
            send(frames, path: link.path)
            if form & 128 != 0 {
                pair.now += .milliseconds(1)
                turn()
            }
        }
    }

    /// How far mappings step beyond their text: a few bytes, or any power of two.
    private func mappingShift(_ byte: UInt8) -> Int {
        byte < 192 ? Int(byte) : 1 << Int(byte - 192)
    }

    private func frame(_ segment: Segment, _ length: Int, _ number: UInt16) -> [UInt8] {
        var context = SealedContext(number: number, isInitiator: hostile == 0)
        let n = SealedSegment.write(
            segment, payloadLength: length, runsToEnd: false, context: &context, into: head)
        return Array(UnsafeRawBufferPointer(start: head, count: n))
            + [UInt8](repeating: 65, count: length)
    }

    private func synFlood(_ input: inout Input) {
        let form = input.byte(), count = 1 + Int(input.byte() % 32),
            datagrams = 1 + Int(input.byte() % 16)
        let token =
            form & 1 != 0
            ? victim.host.streams.compactMap { $0 }.first?.connection.localToken ?? 1 : 1
        for _ in 0..<datagrams {
            var frames: [UInt8] = []
            for _ in 0..<count {
                next &+= 1
                var s = Segment()
                s.flags = .syn
                s.sequence = SubflowSequence(UInt32(next) << 9)
                s.window = 60_000
                s.options.present = [.maximumSegmentSize, .windowScale, .sackPermitted]
                s.options.maximumSegmentSize = UInt16(form >> 2)
                s.options.windowScale = 9
                if form & 2 != 0 {
                    s.options.present.insert(.join)
                    s.options.join.form = .syn(token: token, nonce: UInt32(next))
                } else {
                    s.options.present.insert(.multipathCapable)
                }
                let frame = self.frame(s, 0, next)
                if frames.count + frame.count > 1_400 { break }
                frames += frame
            }
            send(frames)
        }
    }

    // MARK: Other frames

    private func flood(_ input: inout Input) {
        let kind = input.byte(), count = 1 + Int(input.byte()),
            datagrams = 1 + Int(input.byte() % 24)
        let salt = input.byte(), stride = input.byte()
        let living =
            victim.host.streams.lazy.compactMap { $0 }.prefix(256).map { $0 } as [StreamHandle]
        for _ in 0..<datagrams {
            var frames: [UInt8] = []
            for i in 0..<count {
                let n = salt &+ UInt8(truncatingIfNeeded: i) &* stride
                let frame = self.frame(kind, n, living)
                if frames.count + frame.count > 1_400 { break }
                frames += frame
            }
            send(frames, path: PathID(kind >> 6))
        }
    }

    private func frame(_ kind: UInt8, _ n: UInt8, _ living: [StreamHandle]) -> [UInt8] {
        func made(_ size: Int, _ write: (UnsafeMutableRawPointer) -> Void) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: size)
            bytes.withUnsafeMutableBytes { write($0.baseAddress!) }
            return bytes
        }
        switch kind % 8 {
        case 0, 1:
            generation &+= 1
            let frame = PathStateFrame(
                isEcho: kind & 8 != 0, path: n & 15, generation: generation,
                incarnation: kind & 16 != 0 ? n : 1, isOpen: n & 16 != 0,
                isBackup: n & 32 != 0, isSilent: n & 64 != 0, mode: n >> 6)
            return made(PathStateFrame.size) { frame.write(into: $0) }
        case 2:
            return made(ProbeFrame.size) {
                ProbeFrame(
                    isAnswer: kind & 8 != 0, identifier: UInt16(n),
                    sentAt: pair.now.nanoseconds - Int64(n) << Int64(kind >> 4)
                ).write(into: $0)
            }
        case 3:
            let number =
                kind & 8 != 0 || living.isEmpty
                ? UInt16(n) << 8
                : living[Int(n) % living.count].links.first?.number ?? 0
            return made(SubflowResetFrame.size) {
                SubflowResetFrame(number: number, reason: 0).write(into: $0)
            }
        case 4:
            let token =
                living.isEmpty ? 0 : living[Int(n) % living.count].connection.peerToken ?? UInt32(n)
            return made(JoinRequestFrame.size) { JoinRequestFrame(token: token).write(into: $0) }
        case 5:
            return [kind & 8 != 0 ? 5 : 6, 1, 96] + [UInt8](repeating: n, count: 96)
        case 6:
            return [UInt8](repeating: 0, count: Int(n))
        default:
            let address = SocketAddress(IPAddress(v4: 0xcb00_7100 + UInt32(n)), port: 443)
            generation &+= 1
            let frame = AddressStateFrame(
                isEcho: kind & 8 != 0, id: n & 15, generation: generation,
                isThere: n & 16 != 0, address: address)
            return made(frame.size) { frame.write(into: $0) }
        }
    }
}
