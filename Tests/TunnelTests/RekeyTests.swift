import Foundation
import Measures
import Testing

@testable import Tunnel

/// New keys inside a living session.
@Suite struct RekeyTests {
    /// Message 1 of a rekey is lost: it goes again, long before the old keys are too old.
    @Test func aLostMessageIsRepeated() {
        let world = World(seed: 81, keyLifetime: .milliseconds(300))
        for i in 0..<2 { world.down[i].rate = .megabitsPerSecond(5) }
        let client = world.open(port: 5_000)
        var keys: SessionKeys { world.proxy.currentSession!.keys }
        #expect(
            world.run(.seconds(2)) {
                world.proxy.currentSession.map { $0.keys.current.epoch > 0 } ?? false
            })
        var lost = 0
        world.filter = { toProxy, _, _ in
            guard !toProxy, lost < 3, keys.rekey != nil else { return true }
            lost += 1
            return false
        }
        #expect(world.run(.seconds(2)) { lost == 3 })
        let before = keys.current.epoch
        #expect(world.run(.seconds(2)) { keys.current.epoch > before })
        #expect(world.run(.seconds(20)) { client.isDone })
    }

    /// Both ends begin with what docs/wire.md says.
    @Test func theProloguesAreAsDocumented() throws {
        let document = try String(
            contentsOf: URL(filePath: #filePath).deletingLastPathComponent()
                .appending(path: "../../docs/wire.md"), encoding: .utf8)
        for prologue in [Endpoint.prologue, Session.rekeyPrologue] {
            let name = String(decoding: prologue, as: UTF8.self)
            #expect(document.contains("prologue `\(name)`"), "\(name)")
        }
    }
}
