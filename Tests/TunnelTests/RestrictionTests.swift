import Measures
import Multipath
import Testing
import Wire

@testable import Tunnel

/// Connections and associations that may use some uplinks only.
@Suite struct RestrictionTests {
    private final class Box { var bulk = [0, 0] }

    /// Datagrams of 600 bytes and more that either end sends, by uplink.
    private func count(_ world: World) -> Box {
        let box = Box()
        world.filter = { _, uplink, bytes in
            if bytes.count >= 600 { box.bulk[uplink] += 1 }
            return true
        }
        return box
    }

    @Test(arguments: HandoverMode.allCases) func keepsToItsUplink(_ mode: HandoverMode) {
        let world = World(seed: 41, mode: mode)
        world.run(.seconds(1))
        let restriction = UplinkRestriction()
        world.proxy.restrict(restriction, to: [1], at: world.now)
        world.run(.seconds(4))
        let box = count(world)
        let client = world.open(port: 4_000, only: restriction)
        world.run(.seconds(20)) { client.isDone }
        #expect(client.isDone && client.wrong == 0)
        #expect(box.bulk[1] > 2_000 && box.bulk[0] < 20, "\(box.bulk)")
        // Whoever has none goes on as ever.
        let other = world.open(port: 2_000)
        world.run(.seconds(20)) { other.isDone }
        #expect(other.isDone && box.bulk[0] > 500, "\(box.bulk)")
    }

    @Test func waitsWhileItsUplinkIsAway() {
        let world = World(seed: 42)
        world.run(.seconds(1))
        let restriction = UplinkRestriction()
        let client = world.open(port: 100, only: restriction)
        world.run(.seconds(5))
        #expect(!client.isDone && client.status == nil && !client.failed)
        world.proxy.restrict(restriction, to: [0], at: world.now)
        world.run(.seconds(5)) { client.isDone }
        #expect(client.isDone)
    }

    /// Its path is lost in the middle: it waits, and goes on when the uplink is back.
    @Test func survivesItsUplink() {
        let world = World(seed: 43)
        world.run(.seconds(1))
        let restriction = UplinkRestriction()
        world.proxy.restrict(restriction, to: [1], at: world.now)
        let client = world.open(port: 4_000, only: restriction)
        world.run(.milliseconds(700))
        let box = count(world)
        world.up[1].isOut = true
        world.down[1].isOut = true
        world.run(.seconds(5))
        #expect(!client.isDone && !client.failed)
        #expect(box.bulk[0] < 20, "\(box.bulk)")
        world.up[1].isOut = false
        world.down[1].isOut = false
        world.run(.seconds(60)) { client.isDone }
        #expect(client.isDone && client.wrong == 0)
        #expect(box.bulk[0] < 40, "\(box.bulk)")
    }

    @Test(arguments: DatagramPolicy.allCases) func datagrams(_ policy: DatagramPolicy) {
        let world = World(seed: 44)
        world.run(.seconds(1))
        let restriction = UplinkRestriction()
        world.proxy.restrict(restriction, to: [1], at: world.now)
        let stream = world.proxy.openAssociation(
            policy: policy, only: restriction, at: world.now)
        world.run(.seconds(1)) { world.associations.count == 2 }
        let box = count(world)
        let target = Target(host: .address(IPAddress(v4: 0xc000_0207)), port: 4_000)
        let payload = [UInt8](repeating: 1, count: 700)
        for _ in 0..<200 {
            let isTaken = payload.withUnsafeBytes {
                world.proxy.send($0, on: stream, to: target, at: world.now)
            }
            #expect(isTaken)
            world.run(.milliseconds(10))
        }
        #expect(box.bulk[1] >= 195 && box.bulk[0] == 0, "\(box.bulk)")
        // A flood of it leaves others their turn.
        let free = world.proxy.openAssociation(policy: .lowestDelay, at: world.now)
        world.run(.seconds(1))
        world.up[1].isOut = true
        for _ in 0..<100 {
            payload.withUnsafeBytes {
                for _ in 0..<20 {
                    _ = world.proxy.send($0, on: stream, to: target, at: world.now)
                }
                _ = world.proxy.send($0, on: free, to: target, at: world.now)
            }
            world.run(.milliseconds(10))
        }
        #expect(box.bulk[0] >= 80, "\(box.bulk)")
    }

    /// Both ways, though the other uplink is the faster one.
    @Test(arguments: DatagramPolicy.allCases) func answers(_ policy: DatagramPolicy) {
        let world = World(seed: 45)
        world.run(.seconds(1))
        let restriction = UplinkRestriction()
        world.proxy.restrict(restriction, to: [1], at: world.now)
        let stream = world.proxy.openAssociation(
            policy: policy, only: restriction, at: world.now)
        world.run(.seconds(1)) { world.associations.count == 2 }
        final class Questions { var waiting: [(StreamHandle, Target)] = [] }
        let questions = Questions(), box = count(world)
        world.concentrator.datagramArrived = { stream, source, _ in
            questions.waiting.append((stream, source))
        }
        let target = Target(host: .address(IPAddress(v4: 0xc000_0207)), port: 4_000)
        let payload = [UInt8](repeating: 1, count: 700)
        var answered = 0
        for _ in 0..<200 {
            payload.withUnsafeBytes {
                _ = world.proxy.send($0, on: stream, to: target, at: world.now)
                for (stream, source) in questions.waiting {
                    let isTaken = world.concentrator.send($0, on: stream, to: source, at: world.now)
                    if isTaken { answered += 1 }
                }
            }
            questions.waiting = []
            world.run(.milliseconds(10))
        }
        #expect(
            answered >= 180 && box.bulk[1] >= 375 && box.bulk[0] == 0, "\(answered) \(box.bulk)")
    }
}
