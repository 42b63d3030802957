import Measures
import Multipath
import Shell
import Tunnel
import Wire

/// An application's connection to one of the proxy's ports, in one of its stages: its protocol is
/// being found out (`ProtocolDetector`), it is tunnelled (`TunnelClient`), its HTTP requests are
/// relayed (`HTTPRelay`), or it gets its last answer (`FinalReply`).
///
/// The server keeps exactly one stage for an application's socket; a stage hands the socket to the
/// next.
class ClientConnection: StreamOwner {
    let socket: StreamSocket
    /// Held until `leave`.
    let server: ProxyServer
    /// The port it came in by.
    let listener: ProxyListener
    /// Set while its dialogue lasts, and until it has read a refusal: it counts against the
    /// listener's limit of such connections.
    let pending: PendingDialogue?
    /// Where it comes from, as limits see it.
    let source: Source
    /// Where it comes from, an IPv4-mapped address as IPv4.
    let address: IPAddress
    /// Ascending in the order in which a server's connections begin.
    let number: UInt64
    /// When this stage began.
    let began: Instant
    /// As rules see it.
    var flowOrigin: FlowOrigin {
        FlowOrigin(
            entry: listener.entry, address: address, mode: listener.mode,
            user: { [socket] in
                guard let client = socket.remoteAddress, let server = socket.destination else {
                    return nil
                }
                return SocketOwner.user(local: client, remote: server)
            })
    }
    private(set) var isOver = false

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener,
        pending: PendingDialogue? = nil
    ) {
        self.listener = listener
        self.socket = socket
        self.server = server
        self.pending = pending
        number = server.clients.nextNumber()
        began = server.loop.now()
        address = (socket.remoteAddress?.address ?? .unspecifiedV4).unmapped
        source = pending?.source ?? Source(address)
    }

    /// Takes the socket over; called once, when the server knows this stage.
    func start() {}

    func answered(_ status: DialStatus) {}
    func activity() {}
    func datagram(_ payload: UnsafeRawBufferPointer, _ target: Target) {}

    /// There is no session to the concentrator, and it is known why; who waits for one is told so.
    func unreachable(_ status: DialStatus) {}

    /// How little it would be missed, were another to have its place.
    var standing: Standing { Standing(stage: .undecided, since: began) }

    /// Ends with a reset; whatever stood behind it ends too.
    func cut() {
        socket.reset()
        leave()
    }

    /// This stage is over; the socket is closed or the next stage's.
    final func leave() {
        guard !isOver else { return }
        isOver = true
        willLeave()
        server.left(self)
    }

    /// Hands the socket to the next stage.
    final func handOver(to next: ClientConnection) {
        guard !isOver else { return }
        isOver = true
        socket.watch.rest()
        willLeave()
        server.replace(self, by: next)
    }

    /// Sends `bytes`, then closes in order.
    final func finish(with bytes: [UInt8]) {
        handOver(to: FinalReply(socket, server, listener, bytes, pending: pending))
    }

    /// Gives back what the stage holds besides the socket.
    func willLeave() {}
}

/// The last stage: sends the rest of an answer and a FIN, and reads what still comes, since closing
/// a socket with unread bytes resets it and the answer would be lost on the way.
final class FinalReply: ClientConnection {
    private var bytes: [UInt8]
    private var timer: LoopTimer?

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener, _ bytes: [UInt8],
        pending: PendingDialogue?
    ) {
        self.bytes = bytes
        super.init(socket, server, listener, pending: pending)
    }

    override func start() {
        let timer = server.loop.timer(for: self) { $0.close() }
        timer.arm(after: ProxyLimit.finalReply)
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
