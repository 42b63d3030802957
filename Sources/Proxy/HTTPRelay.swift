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
    /// One request and its response under way.
    struct Exchange {
        let request: HTTPRequest
        /// Whether the stream served a request before: the origin may be closing it just now.
        let isOnUsedStream: Bool
        var headSent = 0
        var requestBody: HTTPBodyReader
        /// Bytes at the front of the buffer known to belong to the request's body.
        var approvedUp = 0
        var hasSentBody = false
        var responses: HTTPResponseReader
        /// The response's head as far as it arrived.
        var gathered: [UInt8] = []
        var response: HTTPResponse?
        var responseBody = HTTPBodyReader(.untilClose)
        /// Bytes at the front of the stream known to belong to the response's body.
        var approvedDown = 0
        var clientSawBytes = false

        init(_ request: HTTPRequest, isOnUsedStream: Bool) {
            self.request = request
            self.isOnUsedStream = isOnUsedStream
            requestBody = HTTPBodyReader(request.body)
            responses = HTTPResponseReader(HTTPResponseContext(request))
        }
        var requestIsSent: Bool {
            headSent == request.head.count && requestBody.isFinished && approvedUp == 0
        }
        var responseIsPassedOn: Bool {
            response != nil && responseBody.isFinished && approvedDown == 0
        }
    }
    struct Origin {
        let stream: any Outbound
        let target: Target
        /// There was no session when it began, so that it may still leave from this machine.
        let mayGoDirect: Bool
        /// Whether it is known to be connected.
        var isAnswered = false
    }

    private var requests: HTTPRequestReader
    /// From the application and not used yet, from `used` on.
    private var buffer: [UInt8]
    private var used = 0
    /// Heads for the application; bodies go straight from the stream into the socket.
    private var outgoing: [UInt8] = []
    private var exchange: Exchange?
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
        buffer = rest
        exchange = Exchange(first, isOnUsedStream: false)
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
        server.dialFailed(origin.target, status)
        refuse(server.refusal(status, origin.target, by: origin.stream.dialler), exchange)
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
        now.headSent = 0
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
            answered(server.timeOutStatus(by: origin.stream.dialler))
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
        origin?.stream.touched()
        socket.watch.wantsRead = !clientEnded && buffer.count - used < ProxyLimit.buffer
        socket.watch.wantsWrite = isWaitingToWrite
        socket.deathWatch?.isNeeded = !socket.watch.wantsRead && !isWaitingToWrite
    }

    /// Reads once from the application.
    private func fill() {
        guard !isOver, pump == nil else { return }
        if used > 0 {
            buffer.removeFirst(used)
            used = 0
        }
        let room = min(ProxyLimit.buffer - buffer.count, server.scratch.count)
        guard room > 0 else { return }
        switch socket.read(into: UnsafeMutableRawBufferPointer(rebasing: server.scratch[..<room])) {
        case .bytes(let n):
            buffer.append(contentsOf: server.scratch[..<n])
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
        let reading = buffer.withUnsafeBytes {
            requests.read(UnsafeRawBufferPointer(rebasing: $0[used...]))
        }
        switch reading {
        case .needMore:
            if clientEnded {
                finish(with: [])
            } else if buffer.count == used {
                buffer = []; used = 0
            }
            return false
        case .refused(let refusal):
            server.counters.refusedDialogues += 1
            finish(with: refusal.reply())
            return false
        case .request(let request, let length):
            used += length
            timer?.cancel()
            if request.kind == .connect {
                handOver(
                    to: TunnelClient(
                        socket, server, listener, request.target, .connect,
                        early: Array(buffer[used...])))
                return false
            }
            server.counters.requests += 1
            connect(request)
            return true
        }
    }

    /// A stream for `request`: the present one where it leads to the same origin and is still good.
    private func connect(_ request: HTTPRequest) {
        if let origin, origin.target == request.target, !origin.stream.hasFailed,
            origin.stream.readable.count == 0, !origin.stream.isReadFinished
        {
            exchange = Exchange(request, isOnUsedStream: true)
            if origin.isAnswered {
                watchProgress()
            } else {
                timer?.arm(after: server.settings.clients.answer)
            }
            return
        }
        dropOrigin()
        exchange = Exchange(request, isOnUsedStream: false)
        attach(server.begin(request.target, for: self), request)
    }

    private func attach(_ beginning: Beginning, _ request: HTTPRequest) {
        switch beginning {
        case .refused(let refusal):
            refuse(
                server.httpRefusal(refusal, request.target),
                Exchange(request, isOnUsedStream: false))
        case .begun(let stream, _):
            timer?.arm(after: server.settings.clients.answer)
            origin = Origin(
                stream: stream, target: request.target, mayGoDirect: server.mayStillGoDirect)
        }
    }

    /// Puts the head and what is at hand of the body into the stream.
    private func sendRequest() {
        guard var now = exchange, let stream = origin?.stream else { return }
        defer { if !isOver, exchange != nil { exchange = now } }
        if now.headSent < now.request.head.count {
            now.headSent += now.request.head.withUnsafeBytes {
                stream.write(UnsafeRawBufferPointer(rebasing: $0[now.headSent...]))
            }
            guard now.headSent == now.request.head.count else { return }
        }
        while !now.requestBody.isFinished || now.approvedUp > 0 {
            if now.approvedUp == 0 {
                guard used < buffer.count else {
                    if clientEnded { cut() }  // in the middle of its request
                    return
                }
                do throws(HTTPBodyError) {
                    now.approvedUp = try approve(&now.requestBody)
                } catch {
                    refuse(
                        HTTPRefusal(.badRequest, "The request's body is not correctly chunked."),
                        now)
                    return
                }
            }
            let taken = buffer.withUnsafeBytes {
                stream.write(
                    UnsafeRawBufferPointer(rebasing: $0[used..<(used + now.approvedUp)]))
            }
            guard taken > 0 else { return }
            noteProgress()
            now.hasSentBody = true
            used += taken
            now.approvedUp -= taken
        }
    }

    private func approve(_ body: inout HTTPBodyReader) throws(HTTPBodyError) -> Int {
        var result = Result<Int, HTTPBodyError>.success(0)
        buffer.withUnsafeBytes { bytes in
            do throws(HTTPBodyError) {
                result = .success(try body.read(UnsafeRawBufferPointer(rebasing: bytes[used...])))
            } catch { result = .failure(error) }
        }
        return try result.get()
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
        let piece = stream.readable.first
        guard var now = exchange else { return false }
        guard !piece.isEmpty else {
            if stream.isReadFinished || stream.hasFailed { originEnded(now) }
            return false
        }
        noteProgress()
        let before = now.gathered.count
        now.gathered.append(contentsOf: piece.prefix(HTTPLimit.head + 1))
        let length = now.gathered.count
        let reading = now.gathered.withUnsafeBytes { now.responses.read($0) }
        switch reading {
        case .needMore:
            stream.consume(length - before)
        case .interim(let head, let length):
            stream.consume(length - before)
            now.gathered = []
            now.clientSawBytes = now.clientSawBytes || !head.isEmpty
            outgoing += head
        case .switching(let head, let length):
            stream.consume(length - before)
            becomeTunnel(head)
            return false
        case .final(let response, let length):
            stream.consume(length - before)
            now.gathered = []
            now.clientSawBytes = true
            outgoing += response.head
            now.responseBody = HTTPBodyReader(response.body)
            now.response = response
        case .refused(let error):
            refuse(error.refusal, now)
            return false
        }
        exchange = now
        if case .interim = reading { _ = flush() }
        return !isOver
    }

    private func passBodyOn(_ stream: any Outbound) -> Bool {
        guard var now = exchange else { return false }
        var moved = 0
        defer {
            if !isOver { exchange = now }
            if moved > 0 { noteProgress() }
        }
        while !(now.responseBody.isFinished && now.approvedDown == 0) {
            let piece = stream.readable.first
            guard !piece.isEmpty else {
                if stream.hasFailed { cut(); return false }
                guard stream.isReadFinished else { return false }
                // Cut short, a body must not look whole.
                guard now.responseBody.mayEndHere,
                    now.response?.body == .untilClose
                else { cut(); return false }
                now.responseBody = HTTPBodyReader(.none)
                return false
            }
            guard moved < Self.maximumPerTurn else { return true }
            if now.approvedDown == 0 {
                guard let n = try? now.responseBody.read(piece) else { cut(); return false }
                now.approvedDown = n
            }
            switch socket.write(
                UnsafeRawBufferPointer(rebasing: piece[..<min(now.approvedDown, piece.count)]))
            {
            case .bytes(let n):
                stream.consume(n)
                now.approvedDown -= n
                moved += n
                if n < min(now.approvedDown + n, piece.count) { return true }
            case .blocked: return true
            case .failed: cut(); return false
            }
        }
        return false
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
    private func originEnded(_ now: Exchange) {
        if now.isOnUsedStream, now.gathered.isEmpty, !now.clientSawBytes {
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
    private func refuse(_ refusal: HTTPRefusal, _ now: Exchange) {
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
            early: Array(buffer[used...])
        ) { [weak self] _ in
            self?.origin?.stream.forgetOwner()
            self?.origin = nil  // the pump released it
            self?.leave()
        }
        buffer = []
        used = 0
        outgoing = []
        self.pump = pump
        pump.start()
    }

    private func dropOrigin() {
        origin?.stream.giveUp()
        origin = nil
    }
}
