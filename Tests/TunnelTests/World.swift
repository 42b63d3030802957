import Buffers
import Crypto
import Glibc
import Measures
import Multipath
import Tunnel
import Wire

/// One direction of an uplink: delay, rate with a drop-tail queue, loss, duplication, outage.
struct TestLink {
    var delay = Interval.milliseconds(15)
    var rate = Rate.megabitsPerSecond(20)
    var queue = Interval.milliseconds(200)
    var loss = 0.0
    var duplication = 0.0
    var jitter = Interval.zero
    var isOut = false
    var busyUntil = Instant.zero
    var carried = 0
}

/// Two endpoints joined in memory by lossy uplinks, and a clock that jumps from event to event.
///
/// Every stream the proxy opens is answered; the target's port says what the far side does: 1 echo,
/// 2 sink, 3 deaf, otherwise a source of `port * 1000` bytes.
final class World {
    struct Flight {
        var at: Instant
        var order: Int
        var toProxy: Bool
        var uplink: Int
        var bytes: [UInt8]
        var from: SocketAddress
        /// The concentrator's address it came to or from.
        var server: SocketAddress
    }

    static let epoch: UInt64 = 1_700_000_000_000_000_000
    let proxy: Endpoint
    private(set) var concentrator: Endpoint
    private let concentratorSetup: () -> EndpointConfiguration
    /// Processes that go on with what they have while another one follows, the oldest first.
    var older: [Endpoint] = []
    private var generation: UInt8 = 0
    var now = Instant.zero + .seconds(1)
    var up: [TestLink]
    var down: [TestLink]
    var random: SeededRandom
    var log: [String] = []
    /// The proxy's machine is suspended: nothing reaches it, and it does nothing, while time goes
    /// by.
    var isAsleep = false
    /// Sees every datagram that leaves: (to the proxy?, uplink, bytes); false drops it.
    var filter: ((Bool, Int, [UInt8]) -> Bool)?
    /// Sees what is sent to an address where nobody is.
    var strayed: ((SocketAddress, [UInt8]) -> Void)?
    var sent = 0
    var externalPort: [UInt16]
    static let far = SocketAddress(IPAddress(v4: 0xcb00_7107), port: 443)
    /// A second address of the concentrator, and one of the other family.
    static let also = SocketAddress(IPAddress(v4: 0xcb00_7108), port: 443)
    static let six = SocketAddress(IPAddress(v6High: 0x2001_0db8_0000_0000, low: 7), port: 443)
    /// What an uplink and an address of the concentrator don't say to each other.
    var blocks: ((Int, SocketAddress) -> Bool)?

    private var flights: [Flight] = []
    private var order = 0
    private let batch = DatagramBatch()
    var clients: [Client] = []
    /// Associations that stand, at either end.
    var associations: [StreamHandle] = []
    var servers: [Server] = []

    static func key(_ n: UInt64) -> Key32 {
        var r = SeededRandom(seed: n)
        let bytes = (0..<32).map { _ in UInt8(truncatingIfNeeded: r.next()) }
        return bytes.withUnsafeBytes { Key32($0) }
    }

    init(
        seed: UInt64, uplinks: Int = 2, mode: HandoverMode = .full, backup: Int? = nil,
        userIsKnown: Bool = true,
        keyLifetime: Interval = .seconds(120), joinsFirst: Bool = true, addUplinks: Bool = true,
        program: String = "", limits: ((inout EndpointConfiguration) -> Void)? = nil
    ) {
        random = SeededRandom(seed: seed)
        let mine = StaticKeyPair(privateKey: Self.key(1)),
            theirs = StaticKeyPair(privateKey: Self.key(2))
        let shared = Self.key(3)
        var p = EndpointConfiguration(
            role: .proxy(
                concentrator: [Self.far], publicKey: theirs.publicKey, preSharedKey: shared),
            identity: mine)
        p.mode = mode
        p.epoch = Self.epoch
        p.keyLifetime = keyLifetime
        p.program = program
        proxy = Endpoint(configuration: p, seed: Self.key(seed &+ 100), at: now)
        concentratorSetup = {
            let known = userIsKnown ? mine.publicKey : theirs.publicKey
            var c = EndpointConfiguration(
                role: .concentrator(users: [
                    .init(name: "alice", publicKey: known, preSharedKey: shared)
                ]),
                identity: theirs)
            c.program = program
            c.joinsFirstAddress = joinsFirst
            c.epoch = Self.epoch
            c.keyLifetime = keyLifetime
            limits?(&c)
            return c
        }
        concentrator = Endpoint(
            configuration: concentratorSetup(), seed: Self.key(seed &+ 200), at: now)
        up = Array(repeating: TestLink(), count: uplinks)
        down = up
        externalPort = (0..<uplinks).map { 5000 + UInt16($0) }
        if addUplinks {
            for i in 0..<uplinks {
                proxy.addUplink(
                    Uplink(number: UplinkNumber(i), name: "up\(i)", isBackup: backup == i), at: now)
            }
        }
    }

    func restartConcentrator() {
        concentrator = Endpoint(
            configuration: concentratorSetup(), seed: Self.key(random.next()), at: now)
        servers.removeAll()
    }

    /// Another process of the concentrator has what begins from now on (docs/wire.md, Go away).
    /// Wants a world whose first process has generation 0.
    func followConcentrator(within limit: Interval = .seconds(600)) {
        concentrator.goAway(within: limit, at: now)
        older.append(concentrator)
        generation = (generation + 1) & 3
        var configuration = concentratorSetup()
        configuration.generation = generation
        concentrator = Endpoint(
            configuration: configuration, seed: Self.key(random.next()), at: now)
    }

    /// The newest process of the concentrator has died; the one before it serves again.
    func takeBack() {
        generation = (generation + 3) & 3
        concentrator = older.removeLast()
        concentrator.cancelGoAway()
    }

    func external(_ uplink: Int) -> SocketAddress {
        SocketAddress(IPAddress(v4: 0xc000_020a + UInt32(uplink)), port: externalPort[uplink])
    }

    // MARK: Time

    /// Runs until `done` or for `limit`; whether `done` came true.
    @discardableResult
    func run(_ limit: Interval, until done: () -> Bool = { false }) -> Bool {
        let end = now + limit
        turn()
        while now < end {
            if done() { return true }
            var next = isAsleep ? concentrator.deadline : min(proxy.deadline, concentrator.deadline)
            for endpoint in older { next = min(next, endpoint.deadline) }
            if let first = flights.first { next = min(next, first.at) }
            if next > end { now = end; break }
            now = max(now, next)
            while let first = flights.first, first.at <= now {
                flights.removeFirst()
                deliver(first)
            }
            turn()
        }
        return done()
    }

    private func turn() {
        for (endpoint, isProxy) in [(proxy, true), (concentrator, false)]
            + older.map({ ($0, false) })
        where !isProxy || !isAsleep {
            endpoint.advance(to: now)
            var rounds = 0
            repeat {
                while let event = endpoint.nextEvent() { handle(event, isProxy, endpoint) }
                let isDue = endpoint.deadline <= now
                let more = endpoint.transmit(into: batch, at: now)
                precondition(isDue || batch.isEmpty, "it sends what its deadline did not tell")
                send(fromProxy: isProxy)
                rounds += 1
                precondition(rounds < 10_000, "the turn does not end")
                if !more, endpoint.deadline > now { break }
            } while true
        }
    }

    private func send(fromProxy: Bool) {
        for run in batch.runs {
            var at = run.offset
            while at < run.offset + run.length {
                let n = min(run.segmentSize, run.offset + run.length - at)
                put(
                    Array(UnsafeRawBufferPointer(start: batch.arena + at, count: n)),
                    fromProxy: fromProxy, run: run)
                at += n
            }
        }
        batch.removeAll()
    }

    private func put(_ bytes: [UInt8], fromProxy: Bool, run: DatagramBatch.Run) {
        // A concentrator has one socket: the destination tells the uplink.
        let uplink: Int
        if fromProxy {
            uplink = run.uplink.value
            if ![Self.far, Self.also, Self.six].contains(run.remote) {
                strayed?(run.remote, bytes); return
            }
        } else {
            guard let i = up.indices.first(where: { external($0) == run.remote }) else {
                strayed?(run.remote, bytes)
                return
            }
            uplink = i
        }
        let server =
            fromProxy
            ? run.remote
            : [Self.also, Self.six].first { $0.address == run.local } ?? Self.far
        if let blocks, blocks(uplink, server) { return }
        sent += 1
        if let filter, !filter(!fromProxy, uplink, bytes) { return }
        var link = fromProxy ? up[uplink] : down[uplink]
        defer { if fromProxy { up[uplink] = link } else { down[uplink] = link } }
        if link.isOut || random.chance(link.loss) { return }
        link.busyUntil = max(link.busyUntil, now)
        guard link.busyUntil - now <= link.queue else { return }
        link.busyUntil += link.rate.time(for: bytes.count + 28)
        link.carried += bytes.count
        let copies = random.chance(link.duplication) ? 2 : 1
        for _ in 0..<copies {
            let extra =
                link.jitter > .zero
                ? Interval(nanoseconds: Int64(random.next() % UInt64(link.jitter.nanoseconds)))
                : .zero
            order += 1
            let flight = Flight(
                at: link.busyUntil + link.delay + extra, order: order,
                toProxy: !fromProxy, uplink: uplink,
                bytes: bytes, from: fromProxy ? external(uplink) : server, server: server)
            let place = flights.firstIndex { $0.at > flight.at } ?? flights.count
            flights.insert(flight, at: place)
        }
    }

    private func deliver(_ f: Flight) {
        inject(f.bytes, toProxy: f.toProxy, uplink: f.uplink, from: f.from, local: f.server.address)
    }

    func inject(
        _ bytes: [UInt8], toProxy: Bool, uplink: Int, from: SocketAddress,
        local: IPAddress = World.far.address
    ) {
        if toProxy, isAsleep { return }
        var copy = bytes
        copy.withUnsafeMutableBytes {
            if toProxy {
                proxy.receive(
                    $0, from: from, local: IPAddress(v4: 0x0a00_0002), uplink: UplinkNumber(uplink),
                    at: now)
            } else {
                // As the kernel does it (`ListenGroup`).
                let isOlder =
                    $0.count >= 8 && $0[0] >> 4 == 4
                    && $0[2] >> 6 != generation
                let endpoint = isOlder ? older.first { $0.serves(bytes[2] >> 6) } : nil
                (endpoint ?? concentrator).receive(
                    $0, from: from, local: local, uplink: 0, at: now)
            }
        }
    }

    // MARK: Applications

    private func handle(_ event: EndpointEvent, _ isProxy: Bool, _ endpoint: Endpoint) {
        switch event {
        case .incoming(let stream, let target, _):
            let server = Server(stream, port: Int(target.port), target: target)
            servers.append(server)
            stream.owner = server
            stream.answer(with: server.port == 9 ? .connectionRefused : .connected, at: now)
            server.pump(endpoint, at: now)
        case .associating(let stream, _):
            associations.append(stream)
            stream.answer(with: .connected, at: now)
        case .answered(let stream, let status):
            if stream.owner == nil, status == .connected { associations.append(stream) }
            (stream.owner as? Client)?.status = status
        case .activity(let stream):
            (stream.owner as? Client)?.pump(endpoint, at: now)
            (stream.owner as? Server)?.pump(endpoint, at: now)
        case .limited(let user, let limit): log.append("C \(user) met \(limit.label)")
        case .addressAnnounced(_, let address, let isThere):
            log.append("P \(address) \(isThere ? "there" : "gone")")
        case .pathLeftOut(_, let uplink, let remote): log.append("P left out \(uplink) \(remote)")
        case .modeChanged(_, let mode, let demand): log.append("P mode \(mode) for \(demand)")
        case .helloRefused(let user, _, let reason): log.append("C refused \(user) \(reason)")
        case .strangerRefused(let key, _): log.append("C stranger \(key.base64)")
        case .sessionGoesAway(let n, let within):
            log.append("P \(n) goes away within \(Int(within.seconds))")
        case .sessionSilent(let n): log.append("P silent \(n) at \(now.nanoseconds / 1_000_000)")
        case .sessionOpened(let n, let user):
            log.append("\(isProxy ? "P" : "C") opened \(n) \(user)")
        case .sessionResumed(let n, _): log.append("\(isProxy ? "P" : "C") resumed \(n)")
        case .sessionClosed(let n, let reason):
            log.append("\(isProxy ? "P" : "C") closed \(n) \(reason)")
        case .pathChanged(let n, let path, _, _, let health):
            log.append(
                "\(isProxy ? "P" : "C") \(n) path \(path) \(health) at \(now.nanoseconds / 1_000_000)"
            )
        case .pathMoved(let n, let path, _, let to):
            log.append("\(isProxy ? "P" : "C") \(n) path \(path) moved to \(to)")
        }
    }

    /// Opens a stream that sends `sending` bytes of the pattern and expects as many as the port
    /// says.
    @discardableResult
    func open(
        port: UInt16, sending: Int = 0, target: Target? = nil, mode: HandoverMode? = nil,
        only: UplinkRestriction? = nil, isRedundant: Bool = false
    ) -> Client {
        let stream = proxy.open(
            target ?? Target(host: .name("example.org"), port: port), mode: mode,
            only: only, isRedundant: isRedundant, at: now)
        let client = Client(stream, sending: sending)
        stream.owner = client
        clients.append(client)
        client.pump(proxy, at: now)
        return client
    }

    /// The stream's bytes: a table of a prime length over and over, so that no alignment hides a
    /// mistake.
    static let period = 65_521
    static let pattern: [UInt8] = {
        var r = SeededRandom(seed: 1)
        return (0..<period + 65_536).map { _ in UInt8(truncatingIfNeeded: r.next()) }.enumerated()
            .reduce(into: []) { out, item in
                out.append(item.offset < period ? item.element : out[item.offset - period])
            }
    }()
    static func fill(_ out: UnsafeMutableRawBufferPointer, from offset: Int) {
        pattern.withUnsafeBytes { table in
            var at = 0
            while at < out.count {
                let n = min(out.count - at, 65_536)
                memcpy(out.baseAddress! + at, table.baseAddress! + (offset + at) % period, n)
                at += n
            }
        }
    }
    static func isRight(_ bytes: UnsafeRawBufferPointer, from offset: Int) -> Bool {
        pattern.withUnsafeBytes { table in
            var at = 0
            while at < bytes.count {
                let n = min(bytes.count - at, 65_536)
                if memcmp(
                    bytes.baseAddress! + at, table.baseAddress! + (offset + at) % period,
                    n) != 0
                {
                    return false
                }
                at += n
            }
            return true
        }
    }
}

/// What both applications do: write a pattern, read and check one.
class Peer: StreamOwner {
    // The world hears of the events itself.
    func answered(_ status: DialStatus) {}
    func activity() {}

    let stream: StreamHandle
    var toSend: Int
    var sentCount = 0
    var received = 0
    var wrong = 0
    var ended = false
    var hasFinished = false
    var lastProgress = Instant.zero
    var longestGap = Interval.zero

    init(_ stream: StreamHandle, sending: Int) { self.stream = stream; toSend = sending }

    var isDone: Bool { ended && hasFinished && stream.isWriteFinished }
    var failed: Bool { stream.error != nil }

    func read(_ endpoint: Endpoint, at now: Instant, keep: Bool = false) -> [UInt8] {
        var all: [UInt8] = []
        while stream.readable.count > 0 {
            let piece = stream.readable
            for part in [piece.first, piece.second] {
                if !World.isRight(part, from: received) { wrong += 1 }
                received += part.count
                if keep { all += part }
            }
            if lastProgress > .zero { longestGap = max(longestGap, now - lastProgress) }
            lastProgress = now
            stream.consume(piece.count, at: now)
        }
        if stream.isReadFinished { ended = true }
        return all
    }

    func write(_ endpoint: Endpoint, at now: Instant) {
        while sentCount < toSend {
            let space = stream.writeSpace(min(65_536, toSend - sentCount))
            if space.isEmpty { break }
            World.fill(space, from: sentCount)
            stream.commitWrite(space.count, at: now)
            sentCount += space.count
        }
    }
}

final class Client: Peer {
    var status: DialStatus?
    /// Reads nothing.
    var isDeaf = false
    func pump(_ endpoint: Endpoint, at now: Instant) {
        if !isDeaf { _ = read(endpoint, at: now) }
        write(endpoint, at: now)
        if sentCount == toSend, !hasFinished {
            stream.finishWriting(at: now); hasFinished = true
        }
        if isDone || failed { stream.release(at: now) }
    }
}

final class Server: Peer {
    let port: Int
    let target: Target
    private var echo: [UInt8] = []
    init(_ stream: StreamHandle, port: Int, target: Target) {
        self.port = port
        self.target = target
        super.init(stream, sending: port > 9 ? port * 1000 : 0)
    }
    func pump(_ endpoint: Endpoint, at now: Instant) {
        if port == 3, stream.error == nil { return }
        echo += read(endpoint, at: now, keep: port == 1)
        if port == 1 {
            let n = echo.withUnsafeBytes { stream.write($0, at: now) }
            echo.removeFirst(n)
            if ended, echo.isEmpty, !hasFinished {
                stream.finishWriting(at: now)
                hasFinished = true
            }
        } else {
            write(endpoint, at: now)
            if sentCount == toSend, port > 9 || ended, !hasFinished {
                stream.finishWriting(at: now)
                hasFinished = true
            }
        }
        if isDone || failed { stream.release(at: now) }
    }
}

extension Endpoint {
    fileprivate func serves(_ generation: UInt8) -> Bool {
        configuration.generation == generation
    }
}
