import Foundation
import Measures
import Testing

@testable import Tunnel

/// New keys inside a living session.
@Suite struct RekeyTests {
    /// Message 1 of a rekey is lost: it goes again, long before the old keys are too old.
    @Test func aLostMessageIsRepeated() {
        let world = World(seed: 81, keyLifetime: .milliseconds(300))
        let client = world.open(port: 1, sending: 200)
        #expect(world.run(.seconds(2)) { client.isDone })
        #expect(world.run(.seconds(2)) { world.proxy.currentSession!.keys.current.epoch > 0 })
        let before = world.proxy.currentSession!.keys.current.epoch
        var lost = 0
        world.filter = { toProxy, _, _ in
            guard !toProxy, lost < 3, world.proxy.currentSession!.keys.rekey != nil else {
                return true
            }
            lost += 1
            return false
        }
        let next = world.open(port: 300)
        #expect(world.run(.seconds(5)) { lost == 3 })
        #expect(world.run(.seconds(5)) { world.proxy.currentSession!.keys.current.epoch > before })
        #expect(world.run(.seconds(10)) { next.isDone })
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
