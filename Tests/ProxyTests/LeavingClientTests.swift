import Glibc
import Measures
import Testing

@testable import Proxy

/// A port that answers no SYN: its queue of one is full.
private final class SilentPort {
    private var descriptors: [Int32] = []
    private(set) var port: UInt16 = 0

    init() throws {
        let listener = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        descriptors.append(listener)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { p in
                _ = bind(listener, p, length)
                _ = listen(listener, 0)
                _ = getsockname(listener, p, &length)
                for _ in 0..<4 {
                    let filler = Glibc.socket(
                        AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
                    _ = connect(filler, p, length)
                    descriptors.append(filler)
                }
            }
        }
        port = UInt16(bigEndian: address.sin_port)
    }
    deinit { for d in descriptors { close(d) } }
}

/// An application that leaves while its target is being dialled ends the dial at the concentrator.
@Suite(.serialized) struct LeavingClientTests {
    enum Leaving: CaseIterable { case closes, resets, closesAfterSpeaking, halfCloses }

    @Test(arguments: Leaving.allCases) func theDialEnds(_ leaving: Leaving) throws {
        let street = try Street(open: .checked), silent = try SilentPort()
        let application = try street.application()
        application.send([5, 1, 0])
        #expect(application.expect(2) == [5, 0])
        let speaks = leaving == .closesAfterSpeaking || leaving == .halfCloses
        application.send(
            [
                5, 1, 0, 1, 127, 0, 0, 1, UInt8(silent.port >> 8),
                UInt8(truncatingIfNeeded: silent.port)
            ]
                + (speaks ? Array("GET".utf8) : []))
        #expect(application.wait { street.concentrator.status().connections == 1 })
        switch leaving {
        case .closes: application.leave(resetting: false)
        case .resets, .closesAfterSpeaking: application.leave(resetting: true)
        case .halfCloses: application.finish()
        }
        if leaving == .halfCloses {
            // It may still wait for an answer: the dial goes on to its end.
            _ = street.loop.run(until: .milliseconds(300)) { false }
            #expect(street.concentrator.status().connections == 1)
            return
        }
        // Long before the dial's own time-out of 3 s.
        #expect(
            street.loop.run(until: .seconds(2)) { street.concentrator.status().connections == 0 })
        #expect(street.proxy.driver.endpoint.report(at: street.loop.now()).connections == 0)
    }
}
