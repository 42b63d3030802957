import Testing

@testable import Tunnel
@testable import Wire

/// What the two ends know of each other's program.
@Suite struct VersionTests {
    @Test func bothEndsSayWhatTheyAre() {
        let world = World(seed: 1, program: "1.2.3")
        world.run(.seconds(1))
        #expect(world.concentrator.report(at: world.now).sessions.map(\.peerProgram) == ["1.2.3"])
        #expect(world.proxy.report(at: world.now).sessions.map(\.peerProgram) == ["1.2.3"])
        #expect(world.proxy.peerProgram(ofSession: 0) == "1.2.3")
        #expect(world.proxy.peerProgram(ofSession: 99).isEmpty)
    }

    @Test func whoSaysNothingIsNotKnown() {
        let world = World(seed: 1)
        world.run(.seconds(1))
        #expect(world.proxy.report(at: world.now).sessions.map(\.peerProgram) == [""])
        #expect(world.concentrator.report(at: world.now).sessions.map(\.peerProgram) == [""])
    }

    @Test func aVersionIsPlainAndShort() {
        for (given, taken) in [
            ("0.2.0", "0.2.0"), ("1 2", "1"), ("\u{1b}[2J", ""), ("é", ""),
            (String(repeating: "9", count: 99), String(repeating: "9", count: 32))
        ] {
            let frame = ProgramVersionFrame(text: given)
            #expect(frame.text == taken)
            var bytes = [UInt8](repeating: 0, count: frame.size)
            bytes.withUnsafeMutableBytes { frame.write(into: $0.baseAddress!) }
            #expect(bytes.withUnsafeBytes { ProgramVersionFrame.read($0) } == frame)
            var welcome = WelcomePayload(outcome: .newSession, cipher: 1, index: 5)
            welcome.program = given
            #expect(WelcomePayload(welcome.bytes)?.program == taken)
            // What is cut short is read as far as it goes.
            for count in 0..<welcome.bytes.count where count >= WelcomePayload.size {
                let part = WelcomePayload(Array(welcome.bytes.prefix(count)))?.program
                #expect(part.map { taken.hasPrefix($0) } == true)
            }
        }
        // A body longer than a version is one all the same.
        let long = [0x4c, 0x80 | 1, 0x00] + [UInt8](repeating: 0x41, count: 256)
        #expect(
            long.withUnsafeBytes { ProgramVersionFrame.read($0) }?.text.count
                == ProgramVersionFrame.maximumText)
    }
}
