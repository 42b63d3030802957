import Measures
import Multipath
import Testing

@testable import Tunnel

/// What a path costs, said in three bits and heard at the other end.
@Suite struct PathCostTests {
    @Test func theTimeIsRoundedUpToAStep() {
        for (time, step) in [
            (0, 1), (500, 1), (501, 2), (1_000, 2), (3_000, 4), (4_000, 4), (16_000, 6),
            (60_000, 6)
        ] as [(Int64, UInt8)] {
            let code = PathCost.code(.dear, backlogTime: .milliseconds(time))
            #expect(code == step)
            let (cost, heard) = PathCost.read(code)
            #expect(cost == .dear && heard.map { $0 >= .milliseconds(min(time, 16_000)) } == true)
        }
        #expect(PathCost.read(PathCost.code(.spent, backlogTime: .zero)).0 == .spent)
        #expect(PathCost.read(PathCost.code(.usual, backlogTime: .zero)).0 == .usual)
    }

    @Test func anotherPatienceIsHeardByLivingConnections() {
        let world = World(seed: 2)
        world.run(.seconds(1))
        let client = world.open(port: 3)
        world.run(.seconds(1))
        world.proxy.setUplinkCost(1, .dear, at: world.now)
        world.run(.seconds(1))
        for seconds in [16, 1] as [Int64] {
            var changed = world.proxy.configuration
            changed.backlogTime = .seconds(seconds)
            world.proxy.reconfigure(changed, at: world.now)
            world.run(.seconds(1))
            for connection in [client.stream.connection, world.servers.last?.stream.connection] {
                #expect(connection?.costs.backlogTime == .seconds(seconds))
                #expect(connection?.costs[1] == .dear)
            }
        }
    }

    @Test func theConcentratorHearsOfIt() {
        let world = World(seed: 1)
        world.run(.seconds(1))
        world.open(port: 3)
        world.run(.seconds(1))
        for cost in [PathCosts.Cost.dear, .spent, .usual] {
            world.proxy.setUplinkCost(1, cost, at: world.now)
            world.run(.seconds(1))
            let session = world.concentrator.sessions[0]
            #expect(session?.costs[1] == cost && session?.costs[0] == .usual)
            let stream = world.servers.last?.stream.connection
            #expect(stream?.costs[1] == cost)
        }
    }
}
