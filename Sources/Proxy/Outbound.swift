import Dialogue
import Measures
import Rules
import Shell
import Tunnel
import Wire

/// What an application's bytes are exchanged with: a stream of the tunnel, or a connection from
/// this machine. Its owner, a `StreamOwner`, is told of its answer and of activity until it is
/// given up or released.
protocol Outbound: PumpedStream {
    /// Who dials.
    var dialler: HTTPRefusal.Dialler { get }
    /// Takes as many bytes as there is space for; returns how many.
    func write(_ bytes: UnsafeRawBufferPointer) -> Int
    /// Nobody wants it any more: ends it, and tells its owner nothing from now on.
    func giveUp()
    /// Tells its owner nothing from now on.
    func forgetOwner()
}

extension EngineStream: Outbound {
    var dialler: HTTPRefusal.Dialler { .concentrator }

    func write(_ bytes: UnsafeRawBufferPointer) -> Int { handle.write(bytes, at: driver.now) }

    func giveUp() {
        handle.owner = nil
        let now = driver.loop.now()
        if handle.isReadFinished {
            handle.finishWriting(at: now)
        } else {
            handle.abort(at: now)
        }
        handle.release(at: now)
    }

    func forgetOwner() { handle.owner = nil }
}

/// Why an application gets nothing of what it asked for, known before anything was tried.
enum Refusal {
    /// There is no session, and none to be expected.
    case obstacle(Reachability.Obstacle)
    /// A rule says so, by its number.
    case rule(Int)
    /// There is no way out of this machine.
    case dial(DialStatus)

    /// What a SOCKS application is told.
    var status: DialStatus {
        switch self {
        case .obstacle(let obstacle): obstacle.status
        case .rule: .denied
        case .dial(let status): status
        }
    }
}

/// What came of a request.
enum Beginning {
    /// It is being connected; `answersAtOnce`: the application is told so before it is.
    case begun(any Outbound, answersAtOnce: Bool)
    case refused(Refusal)
}
