import Dialogue
import Measures
import Testing
import Wire

@testable import Proxy

/// What an application may do at any time.
private enum Event: CaseIterable {
    case reset, halfClose, close, garbage
}

/// In every state of every dialogue an application does the worst; another client lives through it,
/// and nothing is left of the first.
@Suite(.serialized) struct ClientStateTests {
    @Test(arguments: ClientState.all) func anApplicationHurtsOnlyItself(
        _ state: ClientState
    ) throws {
        let street = try Street(
            credentials: state.hasPassword ? Credentials(user: "u", password: "p") : nil,
            open: .checked, dialTimeout: .seconds(1))
        let origins = try StateOrigins(street)
        let witness = try street.witness(origins[.echo], hasPassword: state.hasPassword)
        for event in Event.allCases {
            let left = street.clients - 1
            let application = try street.application()
            if state.gets > 0 { application.readsUpTo = state.gets }
            application.send(state.bytes(origins[state.origin]))
            #expect(application.wait { application.received.count >= state.gets })
            // What was sent is read, and its consequences begin.
            application.wait(turns: 3)
            switch event {
            case .reset: application.reset()
            case .halfClose: application.finish()
            case .close: application.close()
            case .garbage:
                application.send([0, 255, 10, 13, 10, 0x47] + [UInt8](repeating: 0x80, count: 3000))
            }
            application.wait(turns: 3)
            witness.send([0x57])
            #expect(witness.expect(1) == [0x57], "\(event)")
            application.close()
            guard event == .reset || !state.awaitsAnswer else { continue }
            #expect(
                application.wait { street.clients <= left + 1 }, "\(event): something is left of it"
            )
        }
        #expect(try street.witness(origins[.echo], hasPassword: state.hasPassword).isAlive)
    }
}

extension Street {
    /// A client in a tunnel to an echo.
    func witness(_ port: UInt16, hasPassword: Bool) throws -> Application {
        let application = try application()
        let hello: [UInt8] = hasPassword ? [5, 1, 2, 1, 1, 0x75, 1, 0x70] : [5, 1, 0]
        application.send(
            hello + [5, 1, 0, 1, 127, 0, 0, 1]
                + [UInt8(port >> 8), UInt8(truncatingIfNeeded: port)])
        _ = application.expect((hasPassword ? 4 : 2) + 10)
        return application
    }

    /// Applications the proxy serves now.
    var clients: Int { count("clients") }
}
