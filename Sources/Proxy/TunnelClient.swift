import Dialogue
import Measures
import Shell
import Tunnel
import Wire

/// An application whose bytes go through as they are, after SOCKS or CONNECT.
final class TunnelClient: ClientConnection {
    /// The protocol the application is answered in.
    enum Style {
        case socks4, socks5, connect

        func reply(_ status: DialStatus, _ target: Target, _ server: ProxyServer) -> [UInt8] {
            switch self {
            case .socks4: Socks4Dialogue.reply(dial: status)
            case .socks5: Socks5Dialogue.reply(dial: status)
            case .connect where status == .connected:
                Array("HTTP/1.1 200 Connection established\r\n\r\n".utf8)
            case .connect: server.refusal(status, target).reply()
            }
        }
    }

    private let target: Target
    private let style: Style
    private var early: [UInt8]
    /// Bytes for the target went ahead of the dial's answer.
    private var hasSentAhead = false
    private var handle: StreamHandle?
    private var pump: Pump?
    private var timer: LoopTimer?

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener, _ target: Target,
        _ style: Style, early: [UInt8]
    ) {
        self.target = target
        self.style = style
        self.early = early
        super.init(socket, server, listener)
    }

    override func start() {
        if let obstacle = server.obstacle {
            server.turnedAway(obstacle)
            finish(with: style.reply(obstacle.status, target, server))
            return
        }
        let handle = server.open(target, owner: self)
        self.handle = handle
        let timer = server.loop.timer(for: self) { $0.answered(.timedOut) }
        timer.arm(after: server.settings.clients.answer)
        self.timer = timer
        if server.settings.open.answersAtOnce(target) {
            startPump(handle)
        } else {
            forwardEarly(handle)
            watchForLeaving()
        }
    }

    override var standing: Standing { pump?.standing ?? Standing(stage: .unanswered, since: began) }

    // MARK: Waiting for the dial

    /// What the application sends ahead travels with the request all the same, as far as there is
    /// room.
    private func forwardEarly(_ handle: StreamHandle) {
        guard !early.isEmpty else { return }
        let taken = early.withUnsafeBytes { handle.write($0, at: server.driver.now) }
        early.removeFirst(taken)
        hasSentAhead = true
        server.driver.kick()
    }

    /// An application that leaves while its target is dialled ends the dial: a reset, or a FIN
    /// where it has sent nothing for the target yet (with a request sent ahead, a FIN may be a
    /// half-close).
    private func watchForLeaving() {
        socket.watch.onReadable(for: self) { $0.readAhead() }
        socket.watch.wantsRead = early.isEmpty
    }

    private func readAhead() {
        guard pump == nil, !isOver, let handle else { return }
        switch socket.read(into: server.scratch) {
        case .blocked: break
        case .bytes(let n):
            early += server.scratch[..<n]
            forwardEarly(handle)
            socket.watch.wantsRead = early.isEmpty
        case .end:
            socket.watch.wantsRead = false
            if !hasSentAhead { cut() }  // the pump reads the end once more, if it is a half-close
        case .failed: cut()
        }
    }

    override func answered(_ status: DialStatus) {
        timer = nil
        guard let handle, !isOver else { return }
        if status == .connected {
            if pump == nil { startPump(handle) }
            return
        }
        server.dialFailed(target, status)
        if let pump {
            pump.cancel()  // the application was told yes: a reset is the only no that is left
        } else {
            finish(with: style.reply(status, target, server))
        }
    }

    override func unreachable(_ status: DialStatus) {
        if timer != nil { answered(status) }
    }

    override func activity() {
        if let pump {
            pump.activity()
        } else if handle?.error != nil {
            answered(.generalFailure)
        }
    }

    private func startPump(_ handle: StreamHandle) {
        let pump = Pump(
            socket: socket, handle: handle, driver: server.driver,
            greeting: style.reply(.connected, target, server),
            early: early
        ) { [weak self] in self?.ended($0) }
        early = []
        self.pump = pump
        pump.start()
    }

    private func ended(_ end: Pump.End) {
        if let pump {
            server.log.debug(
                "ended",
                metadata: [
                    "target": "\(target)", "why": "\(end)", "from_app": "\(pump.bytesFromSocket)",
                    "from_target": "\(pump.bytesToSocket)",
                    "seconds": "\((server.loop.now() - began).seconds)"
                ])
        }
        handle?.owner = nil
        handle = nil  // the pump released it
        leave()
    }

    override func cut() { if let pump { pump.cancel() } else { super.cut() } }

    override func willLeave() {
        timer = nil
        pump = nil
        if let handle { server.giveUp(handle) }
        handle = nil
    }
}
