import Buffers
import Crypto
import Measures
import Multipath
import Testing

@testable import Tunnel
@testable import Wire

/// What one user can't take of a concentrator, however he asks.
@Suite struct LimitTests {
    /// A connection whose peer says only the first byte of its target.
    private func openHalf(_ world: World) -> StreamHandle {
        let connection = Connection(
            role: .initiator, configuration: world.proxy.configuration.connection,
            localKey: world.random.next(), at: world.now)
        _ = withUnsafeBytes(of: UInt8(3)) { connection.write($0, at: world.now) }
        let stream = StreamHandle(
            connection: connection, host: world.proxy.host, session: nil, target: nil)
        world.proxy.host.streams.insert(stream)
        world.proxy.currentSession!.attach(stream, at: world.now)
        return stream
    }

    @Test func halfOpenOnesAreFew() {
        let world = World(seed: 1) { $0.maximumHalfOpenPerUser = 10 }
        world.run(.seconds(1))
        let half = (0..<200).map { _ in openHalf(world) }
        world.run(.seconds(2))
        let counters = { world.concentrator.report(at: world.now).turnedAway }
        #expect(world.concentrator.users[0].load.halfOpen == 10)
        #expect(
            half.count { $0.connection.error == .lackOfResources } == 190
                && counters()[UserLimit.halfOpen.rawValue] == 190)
        #expect(world.log.filter { $0 == "C alice met half_open" }.count == 1)
        // Who says where to is not kept from it.
        let client = world.open(port: 1, sending: 1000)
        #expect(world.run(.seconds(2)) { client.isDone } && client.status == .connected)
        // They have their time, and are given up.
        world.run(.seconds(20))
        #expect(world.concentrator.users[0].load.halfOpen == 0)
        #expect(half.allSatisfy { $0.connection.error != nil })
        world.run(.seconds(90))
        #expect(
            world.concentrator.users[0].load.streams == 0
                && world.concentrator.users[0].load.released == 0)
        world.servers.removeAll()
        #expect(world.concentrator.memory.used == 0)
    }

    @Test func connectionsOfAUserAreCounted() {
        let world = World(seed: 2) { $0.maximumConnectionsPerUser = 5 }
        world.run(.seconds(1))
        let clients = (0..<8).map { _ in world.open(port: 3) }
        world.run(.seconds(2))
        #expect(clients.count { $0.status == .connected } == 5)
        #expect(
            clients.count { $0.status == .tooManyConnections } == 3,
            "the application hears the true reason")
        clients.first { $0.status == .connected }?.stream.abort(at: world.now)
        world.run(.seconds(1))
        let another = world.open(port: 1, sending: 100)
        #expect(world.run(.seconds(2)) { another.isDone } && another.status == .connected)
    }

    /// Bytes that nobody takes stop being accepted, and then connections, long before the machine
    /// is full.
    @Test func stalledConnectionsKeepToTheShare() {
        let limit = 16 << 20
        let world = World(seed: 3) { $0.memory = limit }
        world.run(.seconds(1))
        let clients = (0..<100).map { _ in world.open(port: 3, sending: 2_000_000) }
        var most = 0
        world.run(.seconds(30)) {
            most = max(most, world.concentrator.memory.used)
            return false
        }
        #expect(most <= limit / 2, "\(most >> 10) KiB of \(limit >> 10)")
        #expect(most > limit / 4)
        #expect(clients.allSatisfy { $0.status == .connected })
        let more = (0..<400).map { _ in world.open(port: 3) }
        world.run(.seconds(5))
        #expect(more.contains { $0.status == .tooManyConnections })
        #expect(world.concentrator.memory.used <= limit / 2)
        #expect(world.log.contains("C alice met memory"))
        for client in clients + more {
            client.stream.abort(at: world.now);
        }
        world.run(.seconds(100))
        world.servers.removeAll()
        #expect(world.concentrator.memory.used == 0, "all is given back")
        let after = world.open(port: 1, sending: 300_000)
        #expect(
            world.run(.seconds(10)) { after.isDone } && after.received == 300_000
                && after.wrong == 0)
    }

    /// The same the other way: what an origin sends waits at the concentrator for a proxy that
    /// takes nothing.
    @Test func whatIsSentToTheDeafKeepsToTheShare() {
        let limit = 8 << 20
        let world = World(seed: 4) { $0.memory = limit }
        world.run(.seconds(1))
        let clients = (0..<60).map { _ in world.open(port: 5000) }
        for client in clients { client.isDeaf = true }
        var most = 0
        world.run(.seconds(30)) {
            most = max(most, world.concentrator.memory.used)
            return false
        }
        #expect(most <= limit / 2, "\(most >> 10) KiB of \(limit >> 10)")
        // Small as their windows are, every stream gets on when its application goes on.
        for client in clients.prefix(4) {
            client.isDeaf = false; client.pump(world.proxy, at: world.now)
        }
        #expect(
            world.run(.seconds(60)) { clients.prefix(4).allSatisfy { $0.received == 5_000_000 } })
        #expect(clients.allSatisfy { $0.wrong == 0 })
    }

    /// Whoever has one session alone is served in long turns.
    @Test func severalAreServedWhileRecordsOfSeveralArrive() {
        var mix = SessionMix()
        let slots = [SessionSlot(0), SessionSlot(1)]
        func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }
        for t: Int64 in 0..<5 { mix.note(slots[0], at: at(t)) }
        #expect(!mix.isMixed(at: at(5)))
        mix.note(slots[1], at: at(6))
        #expect(mix.isMixed(at: at(6)) && mix.isMixed(at: at(105)) && !mix.isMixed(at: at(106)))
        mix.note(slots[1], at: at(200))
        #expect(!mix.isMixed(at: at(200)))
        mix.note(slots[0], at: at(300))
        #expect(mix.isMixed(at: at(301)))

        let crowd = Crowd(proxies: 2)
        crowd.join(0)
        #expect(!crowd.concentrator.servesSeveral(at: crowd.now))
        crowd.join(1)
        #expect(crowd.concentrator.servesSeveral(at: crowd.now))
    }

    /// A proxy process has one session; whoever opens many with one key has sixteen.
    @Test func aUsersSessionsAreFew() {
        let crowd = Crowd(proxies: 40)
        for i in 0..<40 {
            crowd.join(i)
            #expect(crowd.proxies[i].currentSession != nil, "\(i)")
        }
        #expect(crowd.concentrator.report(at: crowd.now).sessions.count == 16)
        #expect(crowd.proxies.suffix(16).allSatisfy { $0.currentSession != nil })
        #expect(
            crowd.concentrator.report(at: crowd.now).turnedAway[UserLimit.sessions.rawValue] == 24)
    }
}

@Suite struct FollowerTests {
    /// A proxy was killed and started again: what the first process had is kept for a minute, not
    /// for a day. The laptop that is asleep beside it, with the same key, keeps what it has.
    @Test func aProcessThatWasFollowedIsForgotten() {
        let crowd = Crowd(proxies: 4, machines: [7, 8, nil, 7])
        for i in 0..<4 { crowd.join(i) }
        func sessions() -> Int { crowd.concentrator.report(at: crowd.now).sessions.count }
        #expect(sessions() == 4)
        crowd.wait(.seconds(55))
        #expect(sessions() == 4, "it may be alive still")
        crowd.wait(.seconds(10))
        // The last one came at the same time, and none followed it.
        #expect(sessions() == 3)
        crowd.wait(.seconds(3600))
        #expect(sessions() == 3)
    }
}

/// Many proxies at one concentrator, each behind an address of its own; nothing is lost or late.
private final class Crowd {
    let concentrator: Endpoint
    private(set) var proxies: [Endpoint] = []
    var now = Instant.zero + .seconds(1)
    private let batch = DatagramBatch()

    /// `machines`: of each proxy; nil where it is not known.
    init(proxies count: Int, machines: [UInt32?] = []) {
        let server = StaticKeyPair(privateKey: World.key(1))
        let key = StaticKeyPair(privateKey: World.key(10))
        var c = EndpointConfiguration(
            role: .concentrator(users: [.init(name: "alice", publicKey: key.publicKey)]),
            identity: server)
        c.epoch = 1_700_000_000_000_000_000
        concentrator = Endpoint(configuration: c, seed: World.key(5), at: now)
        for i in 0..<count {
            var p = EndpointConfiguration(
                role: .proxy(
                    concentrator: [World.far], publicKey: server.publicKey, preSharedKey: nil),
                identity: key)
            p.epoch = c.epoch
            p.machine = i < machines.count ? machines[i] : nil
            proxies.append(Endpoint(configuration: p, seed: World.key(UInt64(100 + i)), at: now))
        }
    }

    private func address(_ i: Int) -> SocketAddress {
        SocketAddress(IPAddress(v4: 0x0a00_0001), port: UInt16(1000 + i))
    }

    private func transmit(
        _ endpoint: Endpoint, _ deliver: (UnsafeMutableRawBufferPointer, SocketAddress) -> Void
    ) {
        endpoint.advance(to: now)
        while endpoint.nextEvent() != nil {}
        _ = endpoint.transmit(into: batch, at: now)
        for run in batch.runs {
            var at = run.offset
            while at < run.offset + run.length {
                let n = min(run.segmentSize, run.offset + run.length - at)
                var bytes = Array(UnsafeRawBufferPointer(start: batch.arena + at, count: n))
                bytes.withUnsafeMutableBytes { deliver($0, run.remote) }
                at += n
            }
        }
        batch.removeAll()
    }

    /// Nobody says anything to the concentrator.
    func wait(_ time: Interval) {
        let end = now + time
        while now < end {
            now = min(end, max(now + .milliseconds(1), concentrator.deadline))
            transmit(concentrator) { _, _ in }
        }
    }

    private func sayHello(_ i: Int) {
        now = now + .milliseconds(5)
        proxies[i].addUplink(Uplink(number: 0, name: "up"), at: now)
        transmit(proxies[i]) { bytes, _ in
            concentrator.receive(
                bytes, from: address(i), local: World.far.address, uplink: 0, at: now)
        }
    }

    func join(_ i: Int) {
        sayHello(i)
        for _ in 0..<6 {
            now = now + .milliseconds(5)
            transmit(concentrator) { bytes, remote in
                let to = Int(remote.port) - 1000
                proxies[to].receive(
                    bytes, from: World.far, local: address(to).address, uplink: 0, at: now)
            }
            transmit(proxies[i]) { bytes, _ in
                concentrator.receive(
                    bytes, from: address(i), local: World.far.address, uplink: 0, at: now)
            }
        }
    }
}
