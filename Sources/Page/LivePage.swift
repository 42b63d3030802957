import Glibc
import History
import Measures
import Shell
import Tunnel

/// The live page: its files, a stream of what happens each second, the table of connections, and
/// the changes that it asks for.
///
/// What a second costs grows with the number of paths, not of connections; those are looked through
/// only for who asks, some in each turn of the loop.
public final class LivePage {
    let source: PageSource
    let access: StatusAccess
    let loop: EventLoop
    var throughput = Throughput()
    var states = StateClock()
    private var tickedAt: Instant
    private var timer: LoopTimer?
    private var streams: [StatusExchange] = []
    /// One at a time, the oldest first; as many as the page has connections.
    private var queries: [(query: StreamQuery, exchange: StatusExchange)] = []
    private var queryTimer: LoopTimer?
    private let side: SideWork
    private var subscription: EventJournal.Subscription?

    private static let interval = Interval.seconds(1)

    /// Begins to keep the last five minutes. `side`: makes what takes long.
    public init(_ source: PageSource, access: StatusAccess, side: SideWork, loop: EventLoop) {
        self.source = source
        self.access = access
        self.loop = loop
        self.side = side
        tickedAt = loop.now()
        queryTimer = loop.timer(for: self) { $0.continueQuery() }
        timer = loop.timer(for: self) { $0.tick() }
        subscription = source.recorder.events.subscribe { [weak self] entry in
            guard let self, !streams.isEmpty else { return }
            broadcast(JSONText.event("event", JSONText.object { Self.write(entry, into: &$0) }))
        }
        tick()
    }

    // MARK: Requests

    /// Answers what `StatusPage` has let through.
    public func answer(_ request: StatusRequest, _ exchange: StatusExchange) {
        if request.method == "POST" { change(request, exchange); return }
        switch request.path {
        case "/status":
            reply(source.status(), "application/json", exchange)
        case "/metrics":
            reply(source.metrics(), "text/plain; version=0.0.4; charset=utf-8", exchange)
        case "/events": begin(exchange)
        case "/connections": ask(request, exchange)
        case let path:
            guard let file = PageFile.named(path) else {
                exchange.reply(StatusReply(.notFound, "Pages: /, /status, /metrics"))
                return
            }
            exchange.reply(StatusReply(.ok, file.bytes, type: file.type))
        }
    }

    private func reply(
        _ text: @escaping SideWork.Text, _ type: String, _ exchange: StatusExchange
    ) {
        side.make(text) { exchange.reply(StatusReply(.ok, Array($0.utf8), type: type)) }
    }

    private func change(_ request: StatusRequest, _ exchange: StatusExchange) {
        let form = request.form
        let problem: String?
        switch request.path {
        case "/mode":
            guard let setMode = source.setMode else {
                problem = "the mode is the proxy's to choose, not the concentrator's"
                break
            }
            problem = setMode(form["mode"] ?? "")
        case "/uplink":
            guard let setRole = source.setRole else {
                problem = "uplinks are the proxy's, not the concentrator's"
                break
            }
            problem = setRole(form["uplink"] ?? "", form["role"] ?? "")
        case "/token":
            // Whether it is right was looked at before.
            problem = nil
        default:
            exchange.reply(StatusReply(.notFound, "Changed are: /mode, /uplink"))
            return
        }
        if let problem {
            exchange.reply(StatusReply(.notPossible, problem))
        } else {
            exchange.reply(StatusReply(.ok, "ok"))
            broadcast(second())
        }
    }

    // MARK: The stream

    private static let displaced = JSONText.event("displaced", Array("{}".utf8))

    private func begin(_ exchange: StatusExchange) {
        streams.removeAll(where: \.isOver)
        exchange.stream(
            JSONText.event("hello", hello()) + second(), farewell: Self.displaced)
        streams.append(exchange)
    }

    private func broadcast(_ events: [UInt8]) {
        streams.removeAll(where: \.isOver)
        for stream in streams { stream.send(events) }
    }

    private func tick() {
        let now = loop.now()
        throughput.take(readings(at: now), elapsed: now - tickedAt)
        tickedAt = now
        timer?.arm(at: now + Self.interval)
        streams.removeAll(where: \.isOver)
        if !streams.isEmpty { broadcast(second()) }
    }

    var isProxy: Bool { source.role == "proxy" }

    /// The totals of paths, or at a concentrator of sessions by their users.
    private func readings(at now: Instant) -> [Throughput.Reading] {
        var readings: [Throughput.Reading] = []
        source.driver.endpoint.forEachPath(at: now) { path in
            let rtt = path.health == .usable && path.smoothedRTT > .zero ? path.smoothedRTT : nil
            if isProxy {
                readings.append(
                    .init(
                        key: path.session.index * Self.pathsPerSession + path.number.number,
                        series: path.uplink, up: path.bytesSent, down: path.bytesReceived,
                        rtt: rtt))
            } else if let last = readings.last, last.key == path.session.index {
                let i = readings.count - 1
                readings[i].up += path.bytesReceived
                readings[i].down += path.bytesSent
                readings[i].rtt = [last.rtt, rtt].compactMap(\.self).min()
            } else {
                readings.append(
                    .init(
                        key: path.session.index, series: path.user, up: path.bytesReceived,
                        down: path.bytesSent, rtt: rtt))
            }
        }
        return readings
    }
    private static let pathsPerSession = 16

    // MARK: Connections and flows

    private func ask(_ request: StatusRequest, _ exchange: StatusExchange) {
        queries.removeAll { $0.exchange.isOver }
        queries.append((StreamQuery(StreamOrder(request.query)), exchange))
        queryTimer?.arm(after: .zero)
    }

    /// Some more of the oldest query.
    private func continueQuery() {
        while queries.first?.exchange.isOver == true { queries.removeFirst() }
        guard !queries.isEmpty else { return }
        queries[0].query.step(
            source.driver.endpoint, isProxy: isProxy, showsTargets: source.showsTargets)
        if queries[0].query.isDone {
            let (query, exchange) = queries.removeFirst()
            let json = query.json(at: loop.now()) {
                $0.uplink.isEmpty ? "path \($0.path)" : $0.uplink
            }
            exchange.reply(StatusReply(.ok, json, type: "application/json"))
        }
        if !queries.isEmpty { queryTimer?.arm(after: .zero) }
    }
}
