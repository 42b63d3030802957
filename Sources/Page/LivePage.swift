import Glibc
import History
import Measures
import Shell
import Tunnel

/// A proxy's mode as the page shows it.
public struct PageMode {
    /// What was chosen: one of `PageSource.modes`.
    public var choice: String
    /// What connections have at present; nil while there is no session.
    public var present: String?
    /// What the present one follows from, where it is not chosen.
    public var reason: String?

    /// All three of them.
    public init(choice: String, present: String?, reason: String?) {
        self.choice = choice
        self.present = present
        self.reason = reason
    }
}

/// What the live page shows, and what it may change: closures of the program it belongs to.
public struct PageSource {
    /// `proxy` or `concentrator`.
    public var role: String
    /// The program's version.
    public var version: String
    /// Whose paths, connections and flows are shown.
    public var driver: EngineDriver
    /// Its events and its usage.
    public var recorder: Recorder
    /// Where targets may be shown.
    public var showsTargets: Bool
    /// A proxy's uplinks; none at a concentrator.
    public var uplinks: () -> [ServerStatus.UplinkState] = { [] }
    /// A proxy's mode; nil at a concentrator.
    public var mode: () -> PageMode? = { nil }
    /// Words for modes that `setMode` knows.
    public var modes: [String] = []
    /// Returns what is wrong with the word, nil where nothing is; nil itself: not to be changed
    /// here.
    public var setMode: ((_ mode: String) -> String?)?
    /// The same for an uplink's name and its role.
    public var setRole: ((_ uplink: String, _ role: String) -> String?)?
    /// What `/status` gives (JSON), and `/metrics`.
    public var status: () -> SideWork.Text, metrics: () -> SideWork.Text

    /// With nothing to change.
    public init(
        role: String, version: String, driver: EngineDriver, recorder: Recorder,
        showsTargets: Bool,
        status: @escaping () -> SideWork.Text, metrics: @escaping () -> SideWork.Text
    ) {
        self.role = role
        self.version = version
        self.driver = driver
        self.recorder = recorder
        self.showsTargets = showsTargets
        self.status = status
        self.metrics = metrics
    }
}

/// The live page: its files, a stream of what happens each second, the table of connections, and
/// the changes that it asks for.
///
/// What a second costs grows with the number of paths, not of connections; those are looked through
/// only for who asks, some in each turn of the loop.
public final class LivePage {
    private let source: PageSource
    private let access: StatusAccess
    private let loop: EventLoop
    private var throughput = Throughput()
    private var states = StateClock()
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

    private var isProxy: Bool { source.role == "proxy" }

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

    /// Everything a page needs to begin with: who this is, what may be changed, five minutes.
    private func hello() -> [UInt8] {
        JSONText.object { json in
            json.field("role", source.role)
            json.field("version", source.version)
            json.field("now", milliseconds(loop.now()))
            json.field("targets", source.showsTargets)
            json.field("changes", source.setMode == nil ? "refused" : access.changes.rawValue)
            json.array("modes") { json in source.modes.forEach { json.value($0) } }
            json.array("series") { json in
                for i in throughput.series.indices { write(series: i, into: &json) }
            }
            json.array("events") { json in
                for entry in source.recorder.events.entries(limit: Self.firstEvents) {
                    json.object { Self.write(entry, into: &$0) }
                }
            }
        }
    }

    /// Of the past, for a page that begins.
    private static let firstEvents = 200

    private static func write(_ entry: EventJournal.Entry, into json: inout JSONText) {
        json.field("number", Int(clamping: entry.sequence))
        json.field("at", Int(entry.event.time))
        json.field("kind", entry.event.kind.rawValue)
        json.field("text", Printable.text(entry.event.sentence))
        if let tone = EventTone(entry.event.kind) { json.field("tone", tone.rawValue) }
    }

    private func write(series i: Int, into json: inout JSONText) {
        let seconds = throughput.seconds(of: i)
        func list(
            _ key: StaticString, _ json: inout JSONText, _ value: (Throughput.Second) -> Double?
        ) {
            json.array(key) { json in
                for second in seconds {
                    if let number = second.flatMap(value) {
                        json.value(thousandths: number)
                    } else {
                        json.null()
                    }
                }
            }
        }
        json.object { json in
            json.field("name", throughput.series[i].name)
            list("up", &json) { Double($0.up) }
            list("down", &json) { Double($0.down) }
            list("rtt", &json) { $0.rtt?.milliseconds }
        }
    }

    /// The event of a second.
    private func second() -> [UInt8] {
        let now = loop.now()
        var paths: [PathSnapshot] = []
        source.driver.endpoint.forEachPath(at: now) { path in
            if isProxy || paths.count < UplinkRows.maximum { paths.append(path) }
        }
        let mode = source.mode()
        let rows =
            isProxy
            ? UplinkRows.proxy(
                source.uplinks(), paths: paths, mode: mode?.present ?? mode?.choice ?? "",
                hasSession: !paths.isEmpty)
            : UplinkRows.concentrator(paths)
        return JSONText.event(
            "second",
            JSONText.object { json in
                json.field("now", milliseconds(now))
                if let mode {
                    json.field("mode", mode.choice)
                    if let present = mode.present { json.field("present", present) }
                    if let reason = mode.reason { json.field("follows", reason) }
                }
                json.field("session", !paths.isEmpty)
                json.array("series") { json in
                    for i in throughput.series.indices { write(latest: i, into: &json) }
                }
                json.array("uplinks") { json in
                    for row in rows { write(row, at: now, into: &json) }
                }
            })
    }

    private func write(latest i: Int, into json: inout JSONText) {
        json.object { json in
            json.field("name", throughput.series[i].name)
            guard let second = throughput.latest(of: i) else { return }
            json.field("up", second.up)
            json.field("down", second.down)
            if let rtt = second.rtt { json.field("rtt", thousandths: rtt.milliseconds) }
        }
    }

    private func write(_ row: UplinkRow, at now: Instant, into json: inout JSONText) {
        json.object { json in
            json.field("name", row.name)
            json.field("role", row.role.rawValue)
            json.field("state", row.state.rawValue)
            json.field("since", milliseconds(states.since(row, at: now)))
            if let reason = row.reason { json.field("reason", reason) }
            if let rtt = row.rtt { json.field("rtt", thousandths: rtt.milliseconds) }
            if let queue = row.queue { json.field("queue", thousandths: queue.milliseconds) }
            json.field("loss", thousandths: row.loss * 100)
            json.field("up", row.up)
            json.field("down", row.down)
            json.field("bytesUp", row.bytesUp)
            json.field("bytesDown", row.bytesDown)
            if isProxy { writeUsage(row, into: &json) }
        }
    }

    /// Bytes of IP packets of this day and this month, as far as they are counted.
    private func writeUsage(_ row: UplinkRow, into json: inout JSONText) {
        if let used = row.used { json.field("used", used) }
        if let allowance = row.allowance { json.field("allowance", allowance) }
        if let spent = row.spent { json.field("spent", spent) }
        let usage = source.recorder.usage, uplink = row.name
        guard usage.total(of: .init(uplink: uplink)).total > 0 else { return }
        let now = UsageHour(milliseconds: source.recorder.time)
        json.field("today", usage.volume(uplink: uplink, sinceDay: now.day).total)
        json.field("month", usage.volume(uplink: uplink, month: now.month).total)
    }

    /// Unix time of an instant of the loop's clock.
    private func milliseconds(_ instant: Instant) -> Int {
        let age = (loop.now() - instant).milliseconds
        return Int(EventLoop.wallClock() / 1_000_000) - Int(max(0, min(age, 1e13)))
    }

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

/// Whether an event is for the better or the worse; nil for what is neither.
enum EventTone: String {
    case good, bad, warn

    init?(_ kind: Event.Kind) {
        switch kind {
        case .uplinkVanished, .uplinkSilent, .uplinkLost, .uplinkFailed, .sessionClosed,
            .sessionSilent:
            self = .bad
        case .uplinkCarries, .sessionOpened, .sessionResumed, .sessionTakenOver: self = .good
        case .helloRefused, .strangerRefused, .limitMet: self = .warn
        default: return nil
        }
    }
}

/// Since when uplinks have the states for which no path can tell.
struct StateClock {
    /// Uplinks that are remembered.
    private static let maximum = 256
    private var known: [String: (state: UplinkRow.State, since: Instant)] = [:]

    mutating func since(_ row: UplinkRow, at now: Instant) -> Instant {
        if let since = row.since {
            known[row.name] = nil
            return since
        }
        if let before = known[row.name], before.state == row.state { return before.since }
        if known.count >= Self.maximum { known.removeAll() }
        known[row.name] = (row.state, now)
        return now
    }
}
