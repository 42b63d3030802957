import Buffers
import Dialogue
import Measures
import Multipath
import Shell
import Tunnel
import Wire

/// An application that sends absolute-form requests: each is passed on in a stream to its origin
/// and its response passed back, one after another. The stream is kept while requests go to the
/// same origin.
final class HTTPRelay: ClientConnection {
    /// Where the requests go at present.
    private struct Origin {
        let stream: any Outbound
        let target: Target
        /// There was no session when it began, so that it may still leave from this machine.
        let mayGoDirect: Bool
        /// Whether it is known to be connected.
        var isAnswered = false
    }

    private var requests: HTTPRequestReader
    private var unread: UnreadBytes
    /// Heads for the application; bodies go straight from the stream into the socket.
    private var outgoing: [UInt8] = []
    private var exchange: HTTPExchange?
    private var origin: Origin?
    private var clientEnded = false
    private var pump: Pump?
    /// Ends a dial, an exchange that stands still, or the wait for another request.
    private var timer: LoopTimer?
    /// When a byte of the exchange moved last, in either direction.
    private var progressAt = Instant.zero

    /// Bytes of a body passed on for one event, so that one fast connection can't keep the loop.
    private static let maximumPerTurn = 1 << 20

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener,
        first: HTTPRequest,
        rest: [UInt8]
    ) {
        requests = HTTPRequestReader(credentials: listener.credentials)
        unread = UnreadBytes(rest)
        exchange = HTTPExchange(first, isOnUsedStream: false)
        super.init(socket, server, listener)
    }

    override func start() {
        timer = server.loop.timer(for: self) { $0.timeUp() }
        socket.watch.onReadable(for: self) {
            $0.fill(); $0.turn()
        }
        socket.watch.onWritable(for: self) { $0.turn() }
        socket.onDeath(for: self) { relay, _ in relay.cut() }
        if let exchange { connect(exchange.request) }
        turn()
    }

    // MARK: Events

    override func answered(_ status: DialStatus) {
        guard status != .connected else {
            origin?.isAnswered = true
            watchProgress()
            return
        }
        guard pump == nil, let exchange, let origin, !isOver else { return }
        server.notices.dialFailed(origin.target, status)
        refuse(server.session.refusal(status, origin.target, by: origin.stream.dialler), exchange)
    }

    override func unreachable(_ status: DialStatus) {
        guard let origin, !origin.isAnswered, origin.stream.dialler == .concentrator, !isOver
        else { return }
        switch server.settings.withoutSession {
        case .wait: break
        case .refuse: answered(status)
        case .direct: goDirect(origin)
        }
    }

    /// Nothing of the request has left this machine: it goes without the concentrator.
    private func goDirect(_ origin: Origin) {
        guard origin.mayGoDirect, var now = exchange, !now.hasSentBody else { return }
        dropOrigin()
        now.beginAnew()
        exchange = now
        attach(server.beginDirect(now.request.target, uplink: nil, for: self), now.request)
        turn()
    }

    override func activity() {
        if let pump { pump.activity(); return }
        if exchange == nil, let stream = origin?.stream,
            stream.isReadFinished || stream.hasFailed
        {
            dropOrigin()  // it closed an idle connection; nothing is lost
        }
        turn()
    }

    private func timeUp() {
        guard let exchange else { finish(with: outgoing); return }
        if let origin, !origin.isAnswered {
            answered(server.session.timeOutStatus(by: origin.stream.dialler))
            return
        }
        let limit = server.settings.clients.idleBody
        guard server.loop.now() - progressAt >= limit else {
            timer?.arm(at: progressAt + limit); return
        }
        server.log.debug(
            "stood still for too long", metadata: ["target": "\(exchange.request.target)"])
        refuse(
            HTTPRefusal(
                .gatewayTimeout,
                "Nothing came from \(exchange.request.target) for \(Int(limit.seconds)) seconds."),
            exchange)
    }

    /// From now on the exchange must not stand still.
    private func watchProgress() {
        guard exchange != nil else { return }
        progressAt = server.loop.now()
        timer?.arm(at: progressAt + server.settings.clients.idleBody)
    }

    private func noteProgress() { progressAt = server.loop.now() }

    override var standing: Standing {
        pump?.standing
            ?? Standing(
                stage: exchange?.clientSawBytes == true ? .served : .unanswered,
                since: max(began, progressAt))
    }

    override func cut() { if let pump { pump.cancel() } else { super.cut() } }

    override func willLeave() {
        timer = nil
        pump = nil
        dropOrigin()
    }

    // MARK: The turn

    /// Does what can be done now, in both directions and for as many requests as are at hand.
    private func turn() {
        guard !isOver, pump == nil else { return }
        var isWaitingToWrite = false
        repeat {
            guard flush() else { isWaitingToWrite = true; break }
            if exchange == nil, !begin() { break }
            sendRequest()
            guard !isOver, exchange != nil else { break }
            isWaitingToWrite = passResponseOn()
            guard !isOver, pump == nil else { return }
            if exchange?.responseIsPassedOn == true { conclude() } else { break }
        } while !isOver
        guard !isOver, pump == nil else { return }
        socket.watch.wantsRead = !clientEnded && unread.count < ProxyLimit.buffer
        socket.watch.wantsWrite = isWaitingToWrite
        socket.deathWatch?.isNeeded = !socket.watch.wantsRead && !isWaitingToWrite
    }

    /// Reads once from the application.
    private func fill() {
        guard !isOver, pump == nil else { return }
        let room = min(ProxyLimit.buffer - unread.count, server.scratch.count)
        guard room > 0 else { return }
        switch socket.read(into: UnsafeMutableRawBufferPointer(rebasing: server.scratch[..<room])) {
        case .bytes(let n):
            unread.append(server.scratch[..<n])
            noteProgress()
        case .blocked: break
        case .end: clientEnded = true
        case .failed: cut()
        }
    }

    /// Whether every head for the application was written.
    private func flush() -> Bool {
        guard !outgoing.isEmpty else { return true }
        switch socket.write(outgoing) {
        case .bytes(let n) where n == outgoing.count:
            outgoing = []
            return true
        case .bytes(let n): outgoing.removeFirst(n)
        case .blocked: break
        case .failed: cut()
        }
        return false
    }

    // MARK: Requests

    /// Reads the next request; false where there is none yet or the connection ends.
    private func begin() -> Bool {
        switch unread.withBytes({ requests.read($0) }) {
        case .needMore:
            if clientEnded { finish(with: []) }
            return false
        case .refused(let refusal):
            server.notices.counters.refusedDialogues += 1
            finish(with: refusal.reply())
            return false
        case .request(let request, let length):
            unread.consume(length)
            timer?.cancel()
            if request.kind == .connect {
                handOver(
                    to: TunnelClient(
                        socket, server, listener, request.target, .connect,
                        early: unread.copy))
                return false
            }
            server.notices.counters.requests += 1
            connect(request)
            return true
        }
    }

    /// A stream for `request`: the present one where it leads to the same origin and is still good.
    private func connect(_ request: HTTPRequest) {
        if let origin, origin.target == request.target, !origin.stream.hasFailed,
            origin.stream.readable.count == 0, !origin.stream.isReadFinished
        {
            exchange = HTTPExchange(request, isOnUsedStream: true)
            if origin.isAnswered {
                watchProgress()
            } else {
                timer?.arm(after: server.settings.clients.answer)
            }
            return
        }
        dropOrigin()
        exchange = HTTPExchange(request, isOnUsedStream: false)
        attach(server.begin(request.target, for: self), request)
    }

    private func attach(_ beginning: Beginning, _ request: HTTPRequest) {
        switch beginning {
        case .refused(let refusal):
            refuse(
                server.httpRefusal(refusal, request.target),
                HTTPExchange(request, isOnUsedStream: false))
        case .begun(let stream, _):
            timer?.arm(after: server.settings.clients.answer)
            origin = Origin(
                stream: stream, target: request.target, mayGoDirect: server.session.mayStillGoDirect
            )
        }
    }

    /// Puts the head and what is at hand of the body into the stream.
    private func sendRequest() {
        guard var now = exchange, let stream = origin?.stream else { return }
        let sending = now.send(&unread, to: stream, clientEnded: clientEnded)
        exchange = now
        switch sending {
        case .waits(let hasMoved): if hasMoved { noteProgress() }
        case .endedEarly: cut()
        case .malformed:
            refuse(HTTPRefusal(.badRequest, "The request's body is not correctly chunked."), now)
        }
    }

    // MARK: Responses

    /// Passes on what arrived; whether it waits for the application to take more.
    private func passResponseOn() -> Bool {
        guard let stream = origin?.stream else { return false }
        while exchange?.response == nil {
            guard gatherHead(stream) else { return false }
        }
        guard !isOver, pump == nil else { return false }
        guard flush() else { return true }
        return passBodyOn(stream)
    }

    /// Reads more of the response's head; false where there is nothing more to do now.
    private func gatherHead(_ stream: any Outbound) -> Bool {
        guard var now = exchange else { return false }
        let head = now.readHead(from: stream, into: &outgoing)
        exchange = now
        switch head {
        case .waits: return false
        case .ended: originEnded(now); return false
        case .goesOn: noteProgress()
        case .interim:
            noteProgress()
            _ = flush()
        case .switches(let head):
            noteProgress()
            becomeTunnel(head)
            return false
        case .refused(let refusal):
            noteProgress()
            refuse(refusal, now)
            return false
        }
        return !isOver
    }

    /// Whether it waits for the application to take more.
    private func passBodyOn(_ stream: any Outbound) -> Bool {
        guard var now = exchange else { return false }
        let (outcome, moved) = now.passBody(
            from: stream, to: socket, maximum: Self.maximumPerTurn)
        exchange = now
        if moved > 0 { noteProgress() }
        switch outcome {
        case .waitsForOrigin: return false
        case .waitsForClient: return true
        case .isCut: cut(); return false
        }
    }

    /// The response is out: what becomes of the stream and of the application.
    private func conclude() {
        guard let done = exchange, let response = done.response else { return }
        exchange = nil
        if !response.originKeepsAlive || !done.requestIsSent { dropOrigin() }
        if response.clientKeepsAlive, done.requestIsSent {
            timer?.arm(after: server.settings.clients.idleHTTP)
        } else {
            finish(with: outgoing)
        }
    }

    /// The origin closed before its response's head was complete.
    private func originEnded(_ now: HTTPExchange) {
        if now.isUntouched {
            // It closed a connection it took for idle. Closing ours in the same way tells the
            // application that its request was not answered and may be sent again.
            finish(with: [])
        } else {
            refuse(
                HTTPRefusal(
                    .badGateway, "\(now.request.target) closed the connection without a response."),
                now)
        }
    }

    /// Answers instead of the origin, where the application saw nothing of an answer yet.
    private func refuse(_ refusal: HTTPRefusal, _ now: HTTPExchange) {
        if now.clientSawBytes {
            cut()
        } else {
            finish(with: outgoing + refusal.reply(toHead: now.request.isHead))
        }
    }

    /// 101: from here on both sides speak something else.
    private func becomeTunnel(_ head: [UInt8]) {
        guard let origin else { return }
        exchange = nil
        timer = nil
        let pump = Pump(
            socket: socket, stream: origin.stream,
            greeting: outgoing + head,
            early: unread.copy
        ) { [weak self] _ in
            self?.origin?.stream.forgetOwner()
            self?.origin = nil  // the pump released it
            self?.leave()
        }
        unread = UnreadBytes([])
        outgoing = []
        self.pump = pump
        pump.start()
    }

    private func dropOrigin() {
        origin?.stream.giveUp()
        origin = nil
    }
}
