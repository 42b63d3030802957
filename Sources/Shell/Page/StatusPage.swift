import Measures

/// A small HTTP server for watching and steering a program.
///
/// One request a connection, which has ten seconds from its beginning to its reply's end, whatever
/// it sends or reads meanwhile. Of too many connections the oldest is closed, so that whoever comes
/// is served; streams of events are counted apart, and end where their reader doesn't keep up.
public final class StatusPage {
    /// Answers a request, at once or later, by `StatusExchange.reply` or `stream`. Only requests
    /// that `StatusAccess` lets through come here, with a body of `maximumBody` bytes at most.
    public typealias Answer = (StatusRequest, StatusExchange) -> Void

    /// Connections at once that are no stream: a third of the descriptors that are not given to
    /// others.
    static let maximumConnections = 16
    /// Streams of events at once; of more the oldest ends.
    static let maximumStreams = 6
    /// From the connection to the reply's last byte.
    static let limit = Interval.seconds(10)
    /// Bytes of a request's head.
    static let maximumHead = 8 << 10
    /// Bytes behind it.
    static let maximumBody = 1 << 10
    /// Bytes of a stream that its reader has not taken; beyond it the stream ends.
    static let maximumUnsent = 512 << 10

    /// Where it listens; with port 0 asked for, the system's choice.
    public var address: SocketAddress { listener.address }
    private let access: StatusAccess
    private let answer: Answer
    private let limit: Interval
    private let loop: EventLoop
    // Set once, when the page that it tells exists.
    private var listener: StreamListener! = nil
    /// The oldest first.
    private var connections: [StatusExchange] = []
    /// The oldest first.
    private var streams: [StatusExchange] = []

    /// Throws where the port can't be opened. `answer` is called from the loop.
    public convenience init(
        _ address: SocketAddress, loop: EventLoop, access: StatusAccess, answer: @escaping Answer
    ) throws(SystemError) {
        try self.init(address, loop: loop, limit: Self.limit, access: access, answer: answer)
    }

    init(
        _ address: SocketAddress, loop: EventLoop, limit: Interval, access: StatusAccess,
        answer: @escaping Answer
    ) throws(SystemError) {
        self.access = access
        self.answer = answer
        self.loop = loop
        self.limit = limit
        listener = try StreamListener(address, loop: loop, usesSpare: true) {
            [weak self] socket, _ in self?.accepted(socket)
        }
    }

    deinit { close() }

    /// Closes the port and every connection; harmless when repeated.
    public func close() {
        listener?.close()
        let all = connections + streams
        connections.removeAll()
        streams.removeAll()
        all.forEach { $0.close() }
    }

    private func accepted(_ socket: StreamSocket) {
        if connections.count >= Self.maximumConnections { connections.removeFirst().close() }
        connections.append(StatusExchange(socket, loop: loop, limit: limit, page: self))
    }

    // MARK: What an exchange tells

    func asked(_ request: StatusRequest?, by exchange: StatusExchange) {
        guard let request else {
            exchange.reply(StatusReply(.badRequest, "Not a request that is understood here."))
            return
        }
        guard ["GET", "HEAD", "POST"].contains(request.method) else {
            exchange.reply(
                StatusReply(.notImplemented, "Not done here: only GET, HEAD and POST are."))
            return
        }
        if let refusal = access.refusal(of: request) {
            exchange.reply(StatusReply(refusal))
            return
        }
        answer(request, exchange)
    }

    func ended(_ exchange: StatusExchange) {
        connections.removeAll { $0 === exchange }
        streams.removeAll { $0 === exchange }
    }

    /// The exchange is a stream from now on. The one that makes room ends with `farewell`.
    func becameStream(_ exchange: StatusExchange, farewell: [UInt8]) {
        connections.removeAll { $0 === exchange }
        if streams.count >= Self.maximumStreams {
            let oldest = streams.removeFirst()
            connections.append(oldest)
            oldest.endStream(with: farewell)
        }
        streams.append(exchange)
    }
}
