import Dialogue
import Measures
import Rules
import Shell
import Wire

/// A captured connection to an address whose name a rule asks for, and nobody has told: looks at
/// its first bytes, for a moment.
final class CapturedClient: ClientConnection {
    private let target: Target
    /// Begun before the name is known, where that makes no difference to it.
    private var dial: CapturedDial?
    private var buffer: [UInt8] = []
    private var timer: LoopTimer?

    /// Who speaks first does so within this; who waits for the other end's word is held up by it.
    static let wait = Interval.milliseconds(50)

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener, _ target: Target,
        after dial: CapturedDial? = nil
    ) {
        self.target = target
        self.dial = dial
        super.init(socket, server, listener)
    }

    override func start() {
        let timer = server.loop.timer(for: self) { $0.enter(name: nil) }
        timer.arm(after: Self.wait)
        self.timer = timer
        socket.watch.onReadable(for: self) { $0.look() }
        socket.watch.wantsRead = true
    }

    private func look() {
        guard !isOver else { return }
        let room = min(FirstBytes.limit - buffer.count, server.scratch.count)
        switch socket.read(into: UnsafeMutableRawBufferPointer(rebasing: server.scratch[..<room])) {
        case .bytes(let n): buffer.append(contentsOf: server.scratch[..<n])
        case .blocked: return
        // The pump reads the end once more.
        case .end: enter(name: nil); return
        case .failed: cut(); return
        }
        switch buffer.withUnsafeBytes({ FirstBytes.read($0) }) {
        case .needMore: break
        case .name(let name): enter(name: name)
        case .none: enter(name: nil)
        }
    }

    private func enter(name: String?) {
        if let name, dial != nil, server.goesAnotherWay(target, named: name, from: flowOrigin) {
            giveUpDial()
        }
        let next = TunnelClient(
            socket, server, listener, target, .captured, early: buffer, knownName: name,
            after: dial)
        dial = nil
        handOver(to: next)
    }

    private func giveUpDial() {
        dial?.cut()
        dial = nil
    }

    override func willLeave() {
        timer = nil
        giveUpDial()
    }
}
