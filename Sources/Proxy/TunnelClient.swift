import Dialogue
import Measures
import Shell
import Tunnel
import Wire

/// An application whose bytes go through as they are: after SOCKS or CONNECT, or captured.
final class TunnelClient: ClientConnection {
    /// The protocol the application is answered in.
    enum Style {
        case socks4, socks5, connect
        /// It knows of no proxy: it is answered by the state of its connection.
        case captured

        /// What it is told of a dial's end; nil: a reset tells it.
        func reply(
            _ status: DialStatus, _ target: Target, _ server: ProxyServer,
            by dialler: HTTPRefusal.Dialler = .concentrator
        ) -> [UInt8]? {
            switch self {
            case .socks4: Socks4Dialogue.reply(dial: status)
            case .socks5: Socks5Dialogue.reply(dial: status)
            case .connect where status == .connected:
                Array("HTTP/1.1 200 Connection established\r\n\r\n".utf8)
            case .connect: server.session.refusal(status, target, by: dialler).reply()
            case .captured: status == .connected ? [] : nil
            }
        }

        /// What it is told where nothing was dialled; nil: a reset tells it.
        func reply(_ refusal: Refusal, _ target: Target, _ server: ProxyServer) -> [UInt8]? {
            guard self == .connect else { return reply(refusal.status, target, server) }
            return server.httpRefusal(refusal, target).reply()
        }
    }

    private let target: Target
    private let style: Style
    private let knownName: String?
    /// With the name that it was looked up by, where that is known.
    var dialledTarget: Target? {
        knownName.map { Target(host: .name($0), port: target.port) } ?? target
    }
    private var early: [UInt8]
    /// What it was connected by before it was accepted.
    private var dial: CapturedDial?
    /// Bytes for the target went ahead of the dial's answer.
    private var hasSentAhead = false
    /// There was no session when it began, so that it may still leave from this machine.
    private var mayGoDirect = false
    private var outbound: (any Outbound)?
    private var pump: Pump?
    private var timer: LoopTimer?

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener, _ target: Target,
        _ style: Style, early: [UInt8], knownName: String? = nil,
        after dial: CapturedDial? = nil
    ) {
        self.knownName = knownName
        self.target = target
        self.style = style
        self.early = early
        self.dial = dial
        super.init(socket, server, listener)
    }

    override func start() {
        if let dial {
            self.dial = nil
            guard let outbound = dial.handOver(to: self) else { cut(); return }
            self.outbound = outbound
            startPump(outbound)
            return
        }
        begin(server.begin(target, knownName: knownName, for: self))
    }

    private func begin(_ beginning: Beginning) {
        switch beginning {
        case .refused(let refusal): refuse(style.reply(refusal, target, server))
        case .begun(let outbound, let answersAtOnce): begun(outbound, answersAtOnce)
        }
    }

    private func begun(_ outbound: any Outbound, _ answersAtOnce: Bool) {
        self.outbound = outbound
        let timer = server.loop.timer(for: self) { $0.timeUp() }
        timer.arm(after: server.settings.clients.answer)
        self.timer = timer
        if answersAtOnce {
            startPump(outbound)
        } else {
            mayGoDirect = outbound.dialler == .concentrator && server.session.mayStillGoDirect
            forwardEarly(outbound)
            watchForLeaving()
        }
    }

    /// The last answer, or where there is none a reset.
    private func refuse(_ reply: [UInt8]?) {
        if let reply { finish(with: reply) } else { cut() }
    }

    override var standing: Standing { pump?.standing ?? Standing(stage: .unanswered, since: began) }

    // MARK: Waiting for the dial

    /// What the application sends ahead travels with the request all the same, as far as there is
    /// room.
    private func forwardEarly(_ outbound: any Outbound) {
        guard !early.isEmpty, !mayGoDirect else { return }
        let taken = early.withUnsafeBytes { outbound.write($0) }
        early.removeFirst(taken)
        hasSentAhead = true
    }

    /// An application that leaves while its target is dialled ends the dial: a reset, or a FIN
    /// where it has sent nothing for the target yet (with a request sent ahead, a FIN may be a
    /// half-close).
    private func watchForLeaving() {
        socket.watch.onReadable(for: self) { $0.readAhead() }
        socket.watch.wantsRead = early.isEmpty
    }

    private func readAhead() {
        guard pump == nil, !isOver, let outbound else { return }
        switch socket.read(into: server.scratch) {
        case .blocked: break
        case .bytes(let n):
            early += server.scratch[..<n]
            forwardEarly(outbound)
            socket.watch.wantsRead = early.isEmpty
        case .end:
            socket.watch.wantsRead = false
            if !hasSentAhead { cut() }  // the pump reads the end once more, if it is a half-close
        case .failed: cut()
        }
    }

    override func answered(_ status: DialStatus) {
        timer = nil
        guard let outbound, !isOver else { return }
        if status == .connected {
            if pump == nil { startPump(outbound) }
            return
        }
        server.notices.dialFailed(target, status)
        if let pump {
            pump.cancel()  // the application was told yes: a reset is the only no that is left
        } else {
            refuse(style.reply(status, target, server, by: outbound.dialler))
        }
    }

    private func timeUp() { answered(server.session.timeOutStatus(by: outbound?.dialler)) }

    override func unreachable(_ status: DialStatus) {
        guard timer != nil, !isOver, let outbound, outbound.dialler == .concentrator else { return }
        switch server.settings.withoutSession {
        case .wait: break
        case .refuse: answered(status)
        case .direct where pump == nil && !hasSentAhead && mayGoDirect:
            outbound.giveUp()
            self.outbound = nil
            begin(server.beginDirect(target, uplink: nil, for: self))
        case .direct: break
        }
    }

    override func activity() {
        if let pump {
            pump.activity()
        } else if outbound?.hasFailed == true {
            answered(.generalFailure)
        }
    }

    private func startPump(_ outbound: any Outbound) {
        let pump = Pump(
            socket: socket, stream: outbound,
            greeting: style.reply(.connected, target, server) ?? [],
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
        outbound?.forgetOwner()
        outbound = nil  // the pump released it
        leave()
    }

    override func cut() { if let pump { pump.cancel() } else { super.cut() } }

    override func willLeave() {
        timer = nil
        pump = nil
        outbound?.giveUp()
        outbound = nil
    }
}
