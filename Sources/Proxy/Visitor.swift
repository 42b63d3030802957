import Measures
import Multipath
import Shell
import Tunnel
import Wire

/// Somebody connected to one of the proxy's ports, in one of the stages of a visit: at the front
/// desk, in a tunnel, at the HTTP relay, leaving.
///
/// The server keeps exactly one visitor for an application's socket; a stage hands the socket to
/// the next.
class Visitor: StreamOwner {
    let socket: StreamSocket
    /// Keeps this visitor until it has left.
    let server: ProxyServer
    /// The port it came in by.
    let listener: ProxyListener
    /// While it has not said yet what it wants: it counts against the listener's limit of such
    /// connections.
    let stranger: Stranger?
    /// Ascending with the visitors of a server.
    let number: UInt64
    private(set) var isOver = false

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener,
        stranger: Stranger? = nil
    ) {
        self.listener = listener
        self.socket = socket
        self.server = server
        self.stranger = stranger
        number = server.nextNumber()
        super.init()
    }

    /// Takes the socket over; called once, when the server knows the visitor.
    func start() {}

    /// There is no session to the concentrator, and it is known why; who waits for one is told so.
    func unreachable(_ status: DialStatus) {}

    /// Ends with a reset; whatever stood behind it ends too.
    func cut() {
        socket.reset()
        leave()
    }

    /// The visit is over; the socket is closed or somebody else's.
    final func leave() {
        guard !isOver else { return }
        isOver = true
        willLeave()
        server.left(self)
    }

    /// Hands the socket to the next stage.
    final func handOver(to next: Visitor) {
        guard !isOver else { return }
        isOver = true
        socket.watch.rest()
        willLeave()
        server.replace(self, by: next)
    }

    /// Sends `bytes`, then closes in order.
    final func sayGoodbye(_ bytes: [UInt8]) {
        handOver(to: Farewell(socket, server, listener, bytes, stranger: stranger))
    }

    /// Gives back what the stage holds besides the socket.
    func willLeave() {}
}

/// The last stage: sends the rest of an answer and a FIN, and reads what still comes, since closing
/// a socket with unread bytes resets it and the answer would be lost on the way.
final class Farewell: Visitor {
    private var bytes: [UInt8]
    private var timer: LoopTimer?

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener, _ bytes: [UInt8],
        stranger: Stranger?
    ) {
        self.bytes = bytes
        super.init(socket, server, listener, stranger: stranger)
    }

    override func start() {
        let timer = server.loop.timer(for: self) { $0.close() }
        timer.arm(after: ProxyLimit.farewell)
        self.timer = timer
        socket.watch.onReadable(for: self) { $0.discard() }
        socket.watch.onWritable(for: self) { $0.send() }
        socket.watch.wantsRead = true
        send()
    }

    private func send() {
        guard !bytes.isEmpty else { finish(); return }
        switch socket.write(bytes) {
        case .bytes(let n):
            bytes.removeFirst(n)
            if bytes.isEmpty { finish() } else { socket.watch.wantsWrite = true }
        case .blocked: socket.watch.wantsWrite = true
        case .failed: close()
        }
    }

    private func finish() {
        socket.watch.wantsWrite = false
        socket.finishWriting()
    }

    private func discard() {
        switch socket.read(into: server.scratch) {
        case .bytes, .blocked: break
        case .end where !bytes.isEmpty: socket.watch.wantsRead = false
        case .end, .failed: close()
        }
    }

    private func close() {
        socket.close()
        leave()
    }

    override func willLeave() { timer = nil }
}
