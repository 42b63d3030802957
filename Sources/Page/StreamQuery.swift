import Measures
import Shell
import Tunnel
import Wire

/// What the table of connections and flows is to show.
struct StreamOrder: Equatable {
    enum Key: String, CaseIterable { case target, user, age, up, down, bytes, mode, kind }
    /// Rows of one reply, and rows ahead of it, at most.
    static let maximumCount = 200, maximumOffset = 2_000
    static let maximumFilter = 100

    var key = Key.bytes
    var isDescending = true
    /// In small letters; empty: everything.
    var filter = ""
    var offset = 0
    var count = 50

    /// From a request's query; what makes no sense is left as it is.
    init(_ query: [String: String]) {
        if let word = query["sort"], let key = Key(rawValue: word) { self.key = key }
        if let word = query["order"] { isDescending = word != "up" }
        if let text = query["filter"] {
            filter = String(text.prefix(Self.maximumFilter)).lowercased()
        }
        if let text = query["offset"], let n = Int(text) {
            offset = min(max(n, 0), Self.maximumOffset)
        }
        if let text = query["count"], let n = Int(text) {
            count = min(max(n, 1), Self.maximumCount)
        }
    }
}

/// A connection or a flow as the page shows it.
struct StreamRow: Equatable {
    var id: String
    var kind: String
    /// Empty where it is not to be shown.
    var target: String
    var user: String
    var mode: String
    /// Of a flow: what its datagrams go by.
    var policy: String
    var since: Instant?
    /// Payload bytes from the application, and to it.
    var up: Int, down: Int
    var shares: [PathShare]

    init(_ stream: StreamSnapshot, isProxy: Bool, showsTarget: Bool) {
        switch stream.kind {
        case .connection: (kind, policy, id) = ("tcp", "", "c\(stream.identifier)")
        case .flow(let flowPolicy):
            (kind, policy, id) = ("udp", flowPolicy.label, "f\(stream.identifier)")
        }
        let known: Target? =
            if case .connection = stream.kind { stream.owner?.dialledTarget ?? stream.target } else
            {
                stream.target
            }
        target =
            known == .resolver ? "names" : showsTarget ? known.map { "\($0)" } ?? "" : ""
        user = stream.user
        mode = stream.mode.rawValue
        since = stream.since
        up = isProxy ? stream.sent : stream.received
        down = isProxy ? stream.received : stream.sent
        shares = stream.shares
    }

    func matches(_ filter: String) -> Bool {
        filter.isEmpty
            || [target, user, mode, kind, policy].contains { $0.lowercased().contains(filter) }
            || shares.contains { $0.uplink.lowercased().contains(filter) }
    }

    /// Whether it stands before `other`.
    func isBefore(_ other: StreamRow, _ order: StreamOrder) -> Bool {
        func compare<Value: Comparable>(_ value: (StreamRow) -> Value) -> Bool? {
            let a = value(self), b = value(other)
            return a == b ? nil : (a < b) != order.isDescending
        }
        let isBefore: Bool? =
            switch order.key {
            case .target: compare(\.target)
            case .user: compare(\.user)
            // The older one has the smaller instant.
            case .age: compare { -($0.since?.nanoseconds ?? .max) }
            case .up: compare(\.up)
            case .down: compare(\.down)
            case .bytes: compare { $0.up + $0.down }
            case .mode: compare(\.mode)
            case .kind: compare(\.kind)
            }
        return isBefore ?? (id < other.id)
    }
}

/// One look through all connections and flows, some at a time: however many there are, it keeps the
/// rows that will be shown and no more, and nobody waits for it.
struct StreamQuery {
    /// Places that are looked at in one turn of the loop.
    static let placesPerTurn = 128

    let order: StreamOrder
    private var cursor = StreamCursor()
    private var rows: [StreamRow] = []
    private var matched = 0, all = 0

    init(_ order: StreamOrder) { self.order = order }

    var isDone: Bool { cursor.isAtEnd }

    /// Looks at the next ones.
    mutating func step(_ endpoint: Endpoint, isProxy: Bool, showsTargets: Bool) {
        var found: [StreamRow] = []
        endpoint.forEachStream(from: &cursor, places: Self.placesPerTurn) {
            found.append(StreamRow($0, isProxy: isProxy, showsTarget: showsTargets))
        }
        all += found.count
        add(found.filter { $0.matches(order.filter) })
        if isDone { finish() }
    }

    mutating func add(_ found: [StreamRow]) {
        matched += found.count
        rows += found
        // Sorted when there are twice as many as are needed, so that each row costs little.
        if rows.count > 2 * (order.offset + order.count) + Self.placesPerTurn { finish() }
    }

    /// Keeps, in their order, the rows that will be shown and those before them.
    mutating func finish() {
        let needed = order.offset + order.count
        rows.sort { $0.isBefore($1, order) }
        if rows.count > needed { rows.removeLast(rows.count - needed) }
    }

    /// Rows to show, once it is done.
    var page: ArraySlice<StreamRow> { rows.dropFirst(order.offset).prefix(order.count) }

    /// For the page; `now` on the loop's clock.
    func json(at now: Instant, nameOfPath: (PathShare) -> String) -> [UInt8] {
        JSONText.object { json in
            json.field("all", all)
            json.field("matched", matched)
            json.field("offset", order.offset)
            json.array("rows") { json in
                for row in page { Self.write(row, at: now, nameOfPath, into: &json) }
            }
        }
    }

    private static func write(
        _ row: StreamRow, at now: Instant, _ nameOfPath: (PathShare) -> String,
        into json: inout JSONText
    ) {
        json.object { json in
            json.field("id", row.id)
            json.field("kind", row.kind)
            json.field("target", row.target)
            if !row.user.isEmpty { json.field("user", row.user) }
            json.field("mode", row.mode)
            if !row.policy.isEmpty { json.field("policy", row.policy) }
            if let since = row.since { json.field("age", Int((now - since).seconds)) }
            json.field("up", row.up)
            json.field("down", row.down)
            json.array("shares") { json in
                for share in row.shares {
                    json.array {
                        $0.value(nameOfPath(share))
                        $0.value(share.sent + share.received)
                    }
                }
            }
        }
    }
}
