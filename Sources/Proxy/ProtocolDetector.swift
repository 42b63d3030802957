import Dialogue
import Measures
import Shell
import Wire

/// The first stage: finds out which protocol the application speaks and where it wants to go. It
/// takes so long and no longer, whatever comes, and looks at nothing while its source pauses after
/// wrong passwords.
final class ProtocolDetector: ClientConnection {
    private var buffer: [UInt8] = []
    private var spoken: ClientProtocol?
    private let socks4: Socks4Dialogue
    private var socks5: Socks5Dialogue
    private var requests: HTTPRequestReader
    private var timer: LoopTimer?
    /// Runs while its source pauses.
    private var pause: LoopTimer?

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener,
        _ pending: PendingDialogue
    ) {
        socks4 = Socks4Dialogue(credentials: listener.credentials)
        socks5 = Socks5Dialogue(
            credentials: listener.credentials, allowsUDP: listener.datagrams != nil)
        requests = HTTPRequestReader(credentials: listener.credentials)
        super.init(socket, server, listener, pending: pending)
    }

    override func start() {
        let timer = server.loop.timer(for: self) { $0.slow() }
        timer.arm(after: server.settings.clients.dialogue)
        self.timer = timer
        socket.watch.onReadable(for: self) { $0.readable() }
        socket.watch.wantsRead = true
    }

    override func willLeave() {
        timer = nil
        pause = nil
    }

    private func slow() {
        server.log.debug("dialogue took too long")
        cut()
    }

    private func readable() {
        let room = min(ProxyLimit.buffer - buffer.count, server.scratch.count)
        // Its source pauses: what it sends further waits in the kernel.
        guard room > 0 else { socket.watch.wantsRead = false; return }
        switch socket.read(into: UnsafeMutableRawBufferPointer(rebasing: server.scratch[..<room])) {
        case .bytes(let n):
            buffer.append(contentsOf: server.scratch[..<n])
            step()
        case .blocked: break
        case .end, .failed:
            socket.close()
            leave()
        }
    }

    /// Goes as far as the bytes at hand allow.
    private func step() {
        while !isOver, !buffer.isEmpty, !waitsForPause() {
            guard let spoken = spoken ?? detect() else { return }
            self.spoken = spoken
            let goesOn =
                switch spoken {
                case .socks4: act(buffer.withUnsafeBytes { socks4.read($0) }, .socks4)
                case .socks5: act(buffer.withUnsafeBytes { socks5.read($0) }, .socks5)
                case .http: readRequest()
                }
            if !goesOn { return }
        }
    }

    /// Whether its source pauses: then it looks on afterwards. What comes meanwhile is kept, and an
    /// end is seen.
    private func waitsForPause() -> Bool {
        guard listener.credentials != nil,
            let end = server.notices.guesses.pauseEnd(source, at: server.loop.now())
        else { return false }
        let timer = pause ?? server.loop.timer(for: self) { $0.pauseEnded() }
        timer.arm(at: end)
        pause = timer
        return true
    }

    private func pauseEnded() {
        step()
        if !isOver { socket.watch.wantsRead = true }
    }

    /// Which protocol the first byte begins; closes where this listener does not take that one.
    private func detect() -> ClientProtocol? {
        let spoken = ClientProtocol(firstByte: buffer[0])
        switch (listener.scheme, spoken) {
        case (.mixed, .some), (.socks5, .socks5), (.http, .http): return spoken
        default:
            server.notices.counters.refusedDialogues += 1
            server.log.debug("neither SOCKS nor HTTP", metadata: ["first_byte": "\(buffer[0])"])
            cut()
            return nil
        }
    }

    /// Whether there may be another step.
    private func act(_ step: DialogueStep, _ style: TunnelClient.Style) -> Bool {
        switch step {
        case .needMore:
            // No SOCKS message is that long: early bytes only follow a complete one.
            if buffer.count >= ProxyLimit.buffer { cut() }
            return false
        case .reply(let reply, let consumed):
            buffer.removeFirst(consumed)
            // Two bytes that the kernel can't take mean that nobody reads.
            guard case .bytes(reply.count) = socket.write(reply) else { cut(); return false }
            return true
        case .open(let target, let consumed):
            buffer.removeFirst(consumed)
            enter(target, style)
            return false
        case .associate(let announced, let consumed):
            buffer.removeFirst(consumed)
            server.notices.counters.requests += 1
            handOver(
                to: UDPRelay(
                    socket, server, listener, announced: announced,
                    policy: listener.datagrams ?? .auto))
            return false
        case .refused(let reply, let why):
            server.notices.counters.refusedDialogues += 1
            server.log.debug("dialogue refused", metadata: ["why": "\(why)"])
            if why == .wrongCredentials, style == .socks5 {
                server.notices.wrongPassword(
                    Socks5Dialogue.credentialBytes(of: buffer), from: source, on: listener)
            }
            finish(with: reply)
            return false
        }
    }

    private func readRequest() -> Bool {
        switch buffer.withUnsafeBytes({ requests.read($0) }) {
        case .needMore:
            return false
        case .request(let request, let length):
            buffer.removeFirst(length)
            if request.kind == .connect {
                enter(request.target, .connect)
            } else {
                server.notices.counters.requests += 1
                handOver(to: HTTPRelay(socket, server, listener, first: request, rest: buffer))
            }
        case .refused(let refusal):
            server.notices.counters.refusedDialogues += 1
            server.log.debug("request refused", metadata: ["why": "\(refusal.sentence)"])
            if let shown = refusal.wrongCredentials {
                server.notices.wrongPassword(shown[...], from: source, on: listener)
            }
            finish(with: refusal.reply())
        }
        return false
    }

    private func enter(_ target: Target, _ style: TunnelClient.Style) {
        server.notices.counters.requests += 1
        handOver(to: TunnelClient(socket, server, listener, target, style, early: buffer))
    }
}
