import Measures
import Multipath
import Testing
import Wire

@testable import Tunnel

/// Associations and their datagrams between two endpoints.
@Suite struct AssociationTests {
    /// A world with one association whose far side sends every datagram back.
    private final class Call {
        let world: World
        let stream: StreamHandle
        var atFar: [(target: Target, bytes: [UInt8])] = []
        var atNear: [(source: Target, bytes: [UInt8], at: Instant)] = []
        static let target = Target(host: .address(IPAddress(v4: 0xc000_0207)), port: 4_000)

        init(_ world: World, policy: DatagramPolicy = .auto) {
            self.world = world
            stream = world.proxy.openAssociation(policy: policy, at: world.now)
            world.run(.seconds(1)) { world.associations.count == 2 }
            world.concentrator.datagramArrived = { [unowned self] _, target, payload in
                atFar.append((target, Array(payload)))
            }
            world.proxy.datagramArrived = { [unowned self] _, source, payload in
                atNear.append((source, Array(payload), world.now))
            }
        }

        func say(_ bytes: [UInt8], to target: Target = Call.target) {
            _ = bytes.withUnsafeBytes {
                world.proxy.send($0, on: stream, to: target, at: world.now)
            }
        }

        /// Sends back what has come; how many.
        func echo() {
            guard let far = world.associations.first(where: { $0 !== stream }) else { return }
            for item in atFar {
                _ = item.bytes.withUnsafeBytes {
                    world.concentrator.send($0, on: far, to: item.target, at: world.now)
                }
            }
            atFar = []
        }

        /// `count` datagrams, one every `gap`, whose first bytes number them.
        func talk(_ count: Int, every gap: Interval, size: Int = 172, from first: Int = 0) {
            for i in first..<(first + count) {
                var payload = [UInt8](repeating: 0x55, count: size)
                withUnsafeBytes(of: UInt32(i)) { for k in 0..<4 { payload[k] = $0[k] } }
                say(payload)
                world.run(gap)
                echo()
            }
        }
        var numbers: [Int] {
            atNear.map { $0.bytes.withUnsafeBytes { Int($0.loadUnaligned(as: UInt32.self)) } }
        }
    }

    @Test func datagramsGoThereAndBack() {
        let call = Call(World(seed: 1))
        #expect(call.world.associations.count == 2)
        call.say([1, 2, 3])
        call.world.run(.milliseconds(100)) { !call.atFar.isEmpty }
        #expect(call.atFar.first?.target == Call.target)
        call.echo()
        call.world.run(.milliseconds(100)) { !call.atNear.isEmpty }
        #expect(call.atNear.first?.bytes == [1, 2, 3] && call.atNear.first?.source == Call.target)
    }

    @Test func anAssociationEndsWithItsStream() {
        let call = Call(World(seed: 2))
        call.talk(20, every: .milliseconds(20))
        let far = call.world.associations.first { $0 !== call.stream }
        call.stream.release(at: call.world.now)
        let sessions = [call.world.proxy, call.world.concentrator].compactMap {
            $0.sessions.first ?? nil
        }
        #expect(call.world.run(.seconds(1)) { sessions.allSatisfy { $0.datagrams.isEmpty } })
        #expect(far?.connection.error != nil)
        // The copies of what was sent a moment ago.
        #expect(
            call.world.run(.seconds(1)) { sessions.allSatisfy { $0.datagrams.store.used == 0 } })
    }

    @Test func aRefusedAssociationIsAnswered() {
        let world = World(seed: 3)
        world.open(port: 1, sending: 10)
        world.run(.milliseconds(300))
        // The same number twice in a session, since the proxy has forgotten the first.
        world.proxy.host.proxy.lastAssociation = 4
        let first = world.proxy.openAssociation(policy: .auto, at: world.now)
        world.run(.milliseconds(300))
        world.proxy.sessions.first??.datagrams.associations[5] = nil
        world.proxy.host.proxy.lastAssociation = 4
        let owner = Client(first, sending: 0)
        let second = world.proxy.openAssociation(policy: .auto, at: world.now)
        second.owner = owner
        world.run(.milliseconds(300))
        #expect(owner.status == .generalFailure)
    }

    /// Numbers begin again after 65,536 associations: one that lives on keeps its own.
    @Test func aNumberInUseIsLeftOut() {
        let world = World(seed: 7)
        let first = Call(world)
        world.proxy.host.proxy.lastAssociation = first.stream.association!.number &- 1
        let owner = Client(world.proxy.openAssociation(policy: .auto, at: world.now), sending: 0)
        owner.stream.owner = owner
        world.run(.seconds(1)) { owner.status != nil }
        #expect(owner.status == .connected)
        #expect(owner.stream.association?.number == first.stream.association!.number &+ 1)
        first.say([1])
        #expect(world.run(.milliseconds(200)) { first.atFar.count == 1 })
    }

    /// Too many flows of one user: said once, counted, and those that stand go on.
    @Test func flowsOfAUserAreFew() {
        let call = Call(World(seed: 8) { $0.maximumFlowsPerUser = 10 })
        for port in 1...40 as ClosedRange<UInt16> {
            call.say([UInt8(port)], to: Target(host: Call.target.host, port: port))
            call.world.run(.milliseconds(20))
        }
        #expect(call.atFar.count == 10)
        #expect(call.world.log.filter { $0 == "C alice met flows" }.count == 1)
        let turnedAway = call.world.concentrator.report(at: call.world.now).turnedAway
        #expect(turnedAway[UserLimit.flows.rawValue] >= 30)
        call.echo()
        call.world.run(.milliseconds(200)) { call.atNear.count == 10 }
        #expect(call.atNear.count == 10)
        call.stream.release(at: call.world.now)
        call.world.run(.seconds(1))
        #expect(call.world.concentrator.users[0].flows.used == 0)
    }

    /// Voice in full mode: WiFi falls silent, and nothing is missed.
    @Test func aCallSurvivesASilentOutage() {
        let world = World(seed: 4)
        world.up[1].delay = .milliseconds(50)
        world.down[1].delay = .milliseconds(50)
        let call = Call(world)
        call.talk(100, every: .milliseconds(20))
        world.up[0].isOut = true
        world.down[0].isOut = true
        call.talk(100, every: .milliseconds(20), from: 100)
        world.run(.milliseconds(300))
        let heard = Set(call.numbers)
        #expect(heard.count == call.numbers.count, "none twice")
        #expect(Set(0..<200).subtracting(heard).count <= 2, "\(Set(0..<200).subtracting(heard))")
    }

    /// In backup mode it is missed until silence makes a doubt.
    @Test(arguments: [HandoverMode.backup, .single])
    func aCallIsMissedShortly(_ mode: HandoverMode) {
        let world = World(seed: 5, mode: mode, backup: 1)
        world.up[1].delay = .milliseconds(50)
        world.down[1].delay = .milliseconds(50)
        let call = Call(world)
        call.talk(100, every: .milliseconds(20))
        let carried = world.up[1].carried
        world.up[0].isOut = true
        world.down[0].isOut = true
        call.talk(150, every: .milliseconds(20), from: 100)
        world.run(.milliseconds(300))
        let missed = Set(0..<250).subtracting(call.numbers)
        #expect(missed.count <= (mode == .backup ? 14 : 20), "\(missed.sorted())")
        #expect(carried < 20_000, "copies on what is paid for: \(carried)")
    }

    /// Loss, copies and jitter on every line: none wrong, none twice.
    @Test(arguments: 0..<6 as Range<UInt64>, [DatagramPolicy.auto, .redundant, .spread])
    func noneComesTwice(_ seed: UInt64, _ policy: DatagramPolicy) {
        let world = World(seed: 600 + seed)
        for i in 0..<2 {
            for direction in [\World.up, \World.down] {
                world[keyPath: direction][i].loss = 0.05
                world[keyPath: direction][i].duplication = 0.05
                world[keyPath: direction][i].jitter = .milliseconds(20)
            }
        }
        let call = Call(world, policy: policy)
        call.talk(300, every: .milliseconds(3), size: 900)
        call.talk(20, every: .milliseconds(30), size: 5_000, from: 300)
        world.run(.milliseconds(500))
        #expect(Set(call.numbers).count == call.numbers.count)
        #expect(call.numbers.count > 200)
        #expect(call.atNear.allSatisfy { $0.bytes[4...].allSatisfy { $0 == 0x55 } })
    }

    /// The answer that gives the session new keys comes in the same turn as an application's
    /// datagram: its flows go on, in the session's new slot.
    @Test func aDatagramTakenWithTheNewKeysLeaves() throws {
        let world = World(seed: 41)
        let call = Call(world)
        call.talk(3, every: .milliseconds(20))
        world.isAsleep = true
        world.run(.seconds(400))
        world.isAsleep = false
        var welcome: (bytes: [UInt8], uplink: Int)?
        world.filter = { toProxy, uplink, bytes in
            let kind = bytes.withUnsafeBytes { DatagramHeader($0)?.kind }
            guard toProxy, kind == .welcome else { return true }
            if welcome == nil { welcome = (bytes, uplink) }
            return false
        }
        world.run(.seconds(5)) { welcome != nil }
        let answer = try #require(welcome)
        call.say([UInt8](repeating: 0x55, count: 172))
        world.inject(answer.bytes, toProxy: true, uplink: answer.uplink, from: World.far)
        world.filter = nil
        world.run(.milliseconds(200))
        #expect(world.log.contains { $0.hasPrefix("P resumed") })
        call.talk(5, every: .milliseconds(20), from: 3)
        world.run(.milliseconds(200))
        #expect(call.numbers.suffix(5) == [3, 4, 5, 6, 7])
    }
}
