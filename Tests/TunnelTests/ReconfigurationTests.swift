import Crypto
import Measures
import Testing

@testable import Tunnel
@testable import Wire

/// Users and limits that change while sessions live.
@Suite struct ReconfigurationTests {
    private func users(_ world: World) -> [EndpointConfiguration.User] {
        if case .concentrator(let users) = world.concentrator.configuration.role {
            users
        } else {
            []
        }
    }

    @Test func theSameUsersChangeNothing() {
        let world = World(seed: 1)
        world.run(.seconds(1))
        let client = world.open(port: 1, sending: 100_000)
        for _ in 0..<100 {
            world.concentrator.setUsers(users(world), at: world.now)
            world.concentrator.reconfigure(world.concentrator.configuration, at: world.now)
            world.run(.milliseconds(10))
        }
        #expect(world.run(.seconds(5)) { client.isDone })
        #expect(world.concentrator.users.count == users(world).count)
        #expect(!world.log.contains { $0.contains("session closed") || $0.contains("closed:") })
    }

    @Test func aRemovedUsersSessionsEndAtOnceAtBothEnds() {
        let world = World(seed: 2)
        world.run(.seconds(1))
        let client = world.open(port: 3)
        #expect(world.run(.seconds(1)) { client.status == .connected })
        let all = users(world),
            other = EndpointConfiguration.User(
                name: "bob",
                publicKey: StaticKeyPair(privateKey: Key32(filledBy: { $0[0] = 77 })).publicKey)
        world.concentrator.setUsers([other], at: world.now)
        #expect(world.concentrator.report(at: world.now).sessions.isEmpty)
        world.run(.milliseconds(300))
        #expect(client.stream.connection.error != nil, "the proxy was told")
        // A hello of somebody who is none any more is a stranger's.
        world.run(.seconds(5))
        #expect(world.concentrator.report(at: world.now).sessions.isEmpty)
        // Let in again, he is served.
        world.concentrator.setUsers([other] + all, at: world.now)
        let again = world.open(port: 1, sending: 1000)
        #expect(world.run(.seconds(40)) { again.isDone })
        #expect(Set(world.concentrator.users.map(\.number)).count == all.count + 1)
    }

    @Test func numbersOfUsersWhoAreGoneAreGivenAgain() {
        let world = World(seed: 3)
        let all = users(world)
        for round in 1...1000 {
            let key = StaticKeyPair(
                privateKey: Key32(filledBy: {
                    $0[0] = UInt8(round & 255); $0[1] = UInt8(round >> 8)
                }))
            world.concentrator.setUsers(
                all + [EndpointConfiguration.User(name: "guest", publicKey: key.publicKey)],
                at: world.now)
        }
        #expect(world.concentrator.users.allSatisfy { $0.number <= all.count })
    }

    @Test func limitsChange() {
        let world = World(seed: 4) { $0.maximumConnectionsPerUser = 2 }
        world.run(.seconds(1))
        let few = (0..<4).map { _ in world.open(port: 3) }
        world.run(.seconds(1))
        #expect(few.count { $0.status == .connected } == 2)
        var more = world.concentrator.configuration
        more.maximumConnectionsPerUser = 6
        more.memory = 1 << 30
        more.maximumFlowsPerUser = 5
        world.concentrator.reconfigure(more, at: world.now)
        let further = (0..<6).map { _ in world.open(port: 3) }
        world.run(.seconds(1))
        #expect(further.count { $0.status == .connected } == 4)
        #expect(few.count { $0.stream.connection.error == nil } >= 2, "nobody is cut")
        #expect(world.concentrator.memory.limit == 1 << 30)
        #expect(world.concentrator.users[0].flows.limit == 5)
    }
}
