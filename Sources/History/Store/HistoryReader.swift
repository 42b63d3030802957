import Foundation

/// Reads the file of a process, also while that writes; for the command line.
public final class HistoryReader {
    private let database: Database

    /// Throws where there is no such file, or it is none of Braid's.
    public init(path: String) throws(StoreError) {
        database = try Database(path: path, readOnly: true)
        try HistoryStore.check(database, makes: false)
    }

    /// The latest `limit` events, the oldest of them first.
    public func events(limit: Int) throws(StoreError) -> [Event] {
        var found: [Event] = []
        let decoder = JSONDecoder()
        try database.prepare("SELECT json FROM event ORDER BY rowid DESC LIMIT ?")
            .each([.integer(Int64(max(0, limit)))]) { row in
                guard let json = row.text(0),
                    let event = try? decoder.decode(Event.self, from: Data(json.utf8))
                else { return }
                found.append(event)
            }
        return found.reversed()
    }

    /// What is in the file of the latest `count` hours, days or months in which there was any, the
    /// oldest first; what is older than the days that are kept stands under 0.
    public func usage(
        _ span: UsageLedger.Span, latest count: Int = .max
    ) throws(StoreError) -> [UsageLedger.Row] {
        let table =
            switch span {
            case .hour: "SELECT hour AS period, user, uplink, sent, received FROM usage"
            case .day, .month:
                """
                SELECT \(span == .day ? "day" : "day / 100") AS period, user, uplink, sent, received
                FROM (SELECT day, user, uplink, sent, received FROM usage
                UNION ALL SELECT day, user, uplink, sent, received FROM usage_day)
                """
            }
        var rows: [UsageLedger.Row] = []
        try database.prepare(
            """
            WITH found AS (\(table)) SELECT period, user, uplink, sum(sent), sum(received) FROM found
            WHERE period IN (SELECT DISTINCT period FROM found ORDER BY period DESC LIMIT ?)
            GROUP BY period, user, uplink ORDER BY period, user, uplink
            """
        ).each([.integer(Int64(clamping: max(0, count)))]) { row in
            let user = row.text(1) ?? ""
            rows.append(
                UsageLedger.Row(
                    period: Int(row.integer(0)),
                    source: .init(user: user.isEmpty ? nil : user, uplink: row.text(2) ?? ""),
                    volume: .init(
                        sent: Int(row.integer(3)), received: Int(row.integer(4)))))
        }
        return rows
    }
}
