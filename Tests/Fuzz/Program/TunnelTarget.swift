import Buffers
import Measures
import Multipath
import Wire

@testable import Crypto
@testable import Tunnel

/// A proxy and a concentrator with a session between them, and somebody who can do everything to
/// their datagrams, even make authentic ones: no trap, no turn without an end. Where nothing
/// authentic is made or changed, streams bring what was written, and all of it once nothing is lost
/// any more.
enum TunnelTarget {
    static func run(_ input: inout Input) { TunnelBench(&input).run(&input, steps: 120, alone: 12) }
}

final class TunnelBench: Bench {
    /// What an input may do besides losing, repeating and reordering.
    struct Rules: OptionSet {
        var rawValue: UInt8
        /// Nobody has the keys.
        static let honest = Rules(rawValue: 1)
        /// Nobody aborts or lets go.
        static let steady = Rules(rawValue: 2)
    }
    /// One stream and its two handles, by side; what each side wrote.
    struct Talk {
        var handles: [StreamHandle?]
        var writings: [Writing]
        /// Somebody let go of it, or it was refused: nothing is promised.
        var isVoid = false
    }
    struct Flight {
        var bytes: [UInt8]
        var uplink: Int
    }
    static let far = SocketAddress(IPAddress(v4: 0xcb00_7107), port: 443)
    static let keys = [3, 5, 7].map { n in
        [UInt8](repeating: n, count: 32).withUnsafeBytes { Key32($0) }
    }
    static let client = StaticKeyPair(privateKey: keys[0]),
        server = StaticKeyPair(privateKey: keys[1])
    nonisolated(unsafe) static let batch = DatagramBatch()

    let proxy: Endpoint
    let concentrator: Endpoint
    var now = Instant.zero + .seconds(1)
    var flights: [[Flight]] = [[], []]  // sent by the proxy, by the concentrator
    var talks: [Talk] = []
    /// The handles in use, with the number of their talk; none where somebody with the keys made
    /// the stream.
    var streams: [[(handle: StreamHandle, talk: Int?)]] = [[], []]
    let rules: Rules
    var isHonest = true
    var hasUplink = [true, true]
    /// When something last arrived, by the side that sent it.
    var heard: [Instant]
    /// The proxy had nowhere to go, or one side did not hear the other for long: a stream may end
    /// with an error, or need longer than a run lasts.
    var isExcused = false
    /// Streams the concentrator's owner keeps; it lets go of more.
    var maximumStreams = 12
    private static let timeLimit = Interval.seconds(10)
    var timestamp: UInt64 = 1_800_000_000_000_000_000

    init(_ input: inout Input, receiveLimit: Int = 128 << 10) {
        let form = input.byte()
        rules = Rules(rawValue: input.byte())
        heard = [now, now]
        var there = EndpointConfiguration(
            role: .proxy(
                concentrator: [Self.far], publicKey: Self.server.publicKey, preSharedKey: nil),
            identity: Self.client)
        var back = EndpointConfiguration(
            role: .concentrator(users: [.init(name: "alice", publicKey: Self.client.publicKey)]),
            identity: Self.server)
        there.epoch = 1_700_000_000_000_000_000
        back.epoch = there.epoch
        there.mode = HandoverMode.allCases[Int(form & 3) % 3]
        there.connection.receiveLimit = receiveLimit
        back.connection.receiveLimit = receiveLimit
        there.keyLifetime = form & 8 != 0 ? .milliseconds(50) : .seconds(120)
        back.keyLifetime = there.keyLifetime
        proxy = Endpoint(configuration: there, seed: Self.keys[2], at: now)
        concentrator = Endpoint(configuration: back, seed: Self.keys[0], at: now)
        for i in 0..<2 {
            proxy.addUplink(
                Uplink(number: UplinkNumber(i), name: "up\(i)", isBackup: form & 4 != 0 && i == 1),
                at: now)
        }
        if form & 16 == 0 { runUntilQuiet() }
        if form & 32 == 0 { open(bytes: 300) }
        if form & 64 == 0 { runUntilQuiet() }
    }

    var deadline: Instant { min(proxy.deadline, concentrator.deadline) }
    var isUnderWay: Bool { !flights[0].isEmpty || !flights[1].isEmpty }
    func loseAll() { flights = [[], []] }

    func step(_ input: inout Input) {
        let op = input.byte(), side = Int(op >> 7), isProxy = side == 0
        switch op & 15 {
        case 0:
            if op & 16 != 0 { flights[side].reverse() }
            deliverAll(from: side)
        case 1: runUntilQuiet()
        case 2:
            now += .microseconds(Int64(input.byte()) << (Int64(op >> 4 & 7) * 3))
            isExcused = isExcused || now - min(heard[0], heard[1]) > Self.timeLimit
        case 3: if let f = pick(side, &input, keeping: false) { _ = f }
        case 4:
            if let f = pick(side, &input, keeping: op & 16 != 0) {
                deliver(f.bytes, from: side, uplink: f.uplink)
            }
        case 5...7 where rules.contains(.honest), 12...13 where rules.contains(.honest):
            if let f = pick(side, &input, keeping: op & 16 != 0) {
                deliver(f.bytes, from: side, uplink: f.uplink)
            }
        case 5: tamper(side, &input)
        case 6, 7:
            inject(frames: input.take(input.below(400)), from: side, path: PathID(op >> 4 & 3))
        case 8: deliver(input.take(input.below(1_500)), from: side, uplink: Int(op >> 4 & 1))
        case 9: open(bytes: input.below(5_000))
        case 10: use(side, &input)
        case 11: manage(op, &input)
        case 12: handshake(fromProxy: isProxy, input.take(Int(input.byte() & 63)))
        case 13: segment(from: side, &input)
        case 14: proxy.setMode(HandoverMode.allCases[Int(op >> 4) % 3], at: now)
        default: endpoint(side).advance(to: now)
        }
    }

    func endpoint(_ side: Int) -> Endpoint { side == 0 ? proxy : concentrator }

    // MARK: Applications

    func open(bytes: Int) {
        guard streams[0].count < 6 else { return }
        let number = talks.count
        let stream = proxy.open(target(number), at: now)
        talks.append(
            Talk(
                handles: [stream, nil],
                writings: (0..<2).map { Writing(start: number * 401 + $0 * 30_011) }))
        streams[0].append((stream, number))
        write(0, streams[0].count - 1, bytes)
    }

    /// Every stream's is another one, so that both ends know which it is. Every fourth is refused.
    private func target(_ number: Int) -> Target {
        Target(host: .name("\(number).example"), port: UInt16(1_000 + number))
    }
    private func status(_ number: Int) -> DialStatus {
        number & 3 == 3 ? .connectionRefused : .connected
    }

    /// A stream without a limit on their number, of which nothing is promised.
    func openOne() {
        guard proxy.host.streams.living < 1_000 else { return }
        isHonest = false
        streams[0].append((proxy.open(Target(host: .name("one"), port: 9), at: now), nil))
    }

    private func write(_ side: Int, _ index: Int, _ count: Int) {
        let (stream, talk) = streams[side][index]
        var left = count
        while left > 0 {
            let space = stream.writeSpace(left)
            if space.isEmpty { return }
            if let talk {
                talks[talk].writings[side].fill(space)
            } else {
                space.initializeMemory(as: UInt8.self, repeating: 65)
            }
            stream.commitWrite(space.count, at: now)
            left -= space.count
        }
    }

    private func read(_ side: Int, _ index: Int) {
        let (stream, talk) = streams[side][index]
        let pieces = stream.readable
        // The owner reads once it knows whom it talks to.
        guard side == 1 || stream.progress.isAnswered else { return }
        if let talk {
            talks[talk].writings[1 - side].take(pieces.count, of: pieces, checks: isHonest)
        }
        stream.consume(pieces.count, at: now)
    }

    private func use(_ side: Int, _ input: inout Input) {
        guard !streams[side].isEmpty else { return }
        let i = Int(input.byte()) % streams[side].count, (stream, talk) = streams[side][i]
        switch input.byte() % 8 {
        case 0, 1: write(side, i, input.below(9_000))
        case 2, 3: read(side, i)
        case 4:
            stream.finishWriting(at: now)
            if let talk { talks[talk].writings[side].isFinished = true }
        case 5...7 where rules.contains(.steady): return
        case 5:
            stream.abort(at: now)
        default:
            stream.release(at: now)
            streams[side].remove(at: i)
            if let talk { talks[talk].isVoid = true }
            return
        }
    }

    private func manage(_ op: UInt8, _ input: inout Input) {
        let uplink = Int(op >> 4 & 1)
        switch input.byte() % 5 {
        case 0:
            proxy.removeUplink(UplinkNumber(uplink), at: now)
            hasUplink[uplink] = false
            isExcused = isExcused || !hasUplink.contains(true)
        case 1: proxy.uplinkFailed(UplinkNumber(uplink), at: now)
        case 2:
            let isKnown = input.bit()
            proxy.setConcentrator(isKnown ? [Self.far] : [], at: now)
            isExcused = isExcused || !isKnown
        default: addUplink(uplink, isBackup: op & 32 != 0)
        }
    }

    private func addUplink(_ number: Int, isBackup: Bool) {
        proxy.addUplink(
            Uplink(number: UplinkNumber(number), name: "up\(number)", isBackup: isBackup), at: now)
        hasUplink[number] = true
    }

    // MARK: Once faults have ended

    func restore() {
        proxy.setConcentrator([Self.far], at: now)
        for i in 0..<2 where !hasUplink[i] { addUplink(i, isBackup: false) }
    }

    func attend() {
        for side in 0..<2 {
            for i in streams[side].indices
            where streams[side][i].handle.readable.count > 0 {
                read(side, i)
            }
        }
    }

    var missing: String? {
        if isExcused { return nil }
        for (number, talk) in talks.enumerated() where !talk.isVoid {
            if let error = talk.handles.compactMap({ $0?.connection.error }).first {
                if !rules.contains(.steady) { continue }
                return "stream \(number) ended (\(error))"
            }
            if talk.handles[1] == nil { return "stream \(number) has not come" }
            for side in 0..<2 {
                let w = talk.writings[side], reader = talk.handles[1 - side]!.connection
                if w.read < w.written {
                    return
                        "\(w.written - w.read) bytes of stream \(number), side \(side), have not arrived"
                }
                if w.isFinished, !reader.isReadFinished {
                    return "the end of stream \(number), side \(side), has not arrived"
                }
            }
        }
        return disagreement
    }

    /// A path that only one end holds for open, although every change of it is repeated until
    /// echoed.
    private var disagreement: String? {
        guard let here = proxy.currentSession else { return nil }
        for case let there? in concentrator.sessions
        where there.indices.local == here.indices.remote {
            for id in PathTable.all
            where (here.paths[id]?.isOpen ?? false) != (there.paths[id]?.isOpen ?? false) {
                return "path \(id) is open at one end only"
            }
        }
        return nil
    }

    // MARK: The way between them

    func turn() {
        for side in 0..<2 {
            let end = endpoint(side)
            end.advance(to: now)
            var rounds = 0
            while true {
                while let event = end.nextEvent() { take(event, side) }
                let more = end.transmit(into: Self.batch, at: now)
                for run in Self.batch.runs {
                    for i in 0..<run.datagrams where flights[side].count < 96 {
                        let at = run.offset + i * run.segmentSize
                        let n = min(run.segmentSize, run.offset + run.length - at)
                        flights[side].append(
                            Flight(
                                bytes: Array(
                                    UnsafeRawBufferPointer(start: Self.batch.arena + at, count: n)),
                                uplink: side == 0 ? run.uplink.value : Int(run.remote.port) - 5_000)
                        )
                    }
                }
                Self.batch.removeAll()
                rounds += 1
                check(rounds < 2_000, "the turn does not end")
                if !more, end.deadline > now { break }
            }
        }
    }

    private func isFree(_ handle: StreamHandle?) -> Bool {
        handle.map { $0.connection.error != nil } ?? true
    }

    private func take(_ event: EndpointEvent, _ side: Int) {
        if isHonest, case .answered(let stream, let answer) = event {
            guard let number = talks.firstIndex(where: { $0.handles[0] === stream }) else {
                fail("an answer to nobody")
            }
            check(
                answer == status(number) || stream.error != nil,
                "stream \(number) was answered \(answer)")
        }
        guard case .incoming(let stream, let asked, _) = event else { return }
        // Once more only where the first one has failed, with its session.
        let number = talks.indices.first { target($0) == asked && isFree(talks[$0].handles[1]) }
        check(number != nil || !isHonest, "nobody asked for \(asked)")
        if let number {
            if let old = talks[number].handles[1] {
                streams[1].removeAll { $0.handle === old }
                talks[number].writings[0].startAgain()
                talks[number].writings[1] = Writing(start: talks[number].writings[1].start)
            }
            talks[number].handles[1] = stream
            talks[number].isVoid = talks[number].isVoid || status(number) != .connected
        }
        stream.answer(with: status(number ?? 0), at: now)
        if streams[1].count < maximumStreams {
            streams[1].append((stream, number))
        } else {
            stream.release(at: now)
            if let number { talks[number].isVoid = true }
        }
    }

    func runUntilQuiet() {
        for _ in 0..<4 {
            turn()
            deliverAll()
            now += .milliseconds(10)
        }
        turn()
    }

    func deliverAll() {
        for side in 0..<2 { deliverAll(from: side) }
    }

    private func deliverAll(from side: Int) {
        let all = flights[side]
        flights[side] = []
        for f in all { deliver(f.bytes, from: side, uplink: f.uplink) }
    }

    func deliver(_ bytes: [UInt8], from side: Int, uplink: Int, _ spent: ((Double) -> Void)? = nil)
    {
        heard[side] = now
        withExact(bytes) { datagram in
            let start = Work.time()
            defer { spent?(Work.time() - start) }
            if side == 0 {
                concentrator.receive(
                    datagram,
                    from: SocketAddress(
                        IPAddress(v4: 0xc000_020a), port: 5_000 + UInt16(uplink & 7)),
                    local: Self.far.address, uplink: 0, at: now)
            } else {
                proxy.receive(
                    datagram, from: Self.far, local: IPAddress(v4: 0x0a00_0002),
                    uplink: UplinkNumber(uplink & 1),
                    at: now)
            }
        }
    }

    func pick(_ side: Int, _ input: inout Input, keeping: Bool) -> Flight? {
        guard !flights[side].isEmpty else { return nil }
        let i = Int(input.byte()) % flights[side].count
        return keeping ? flights[side][i] : flights[side].remove(at: i)
    }
}
