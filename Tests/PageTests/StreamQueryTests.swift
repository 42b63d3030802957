import Measures
import Testing

@testable import Page
@testable import Tunnel

/// The table of connections: order, filter and pages, with no more kept than is shown.
@Suite struct StreamQueryTests {
    private func row(_ number: Int, target: String = "", up: Int = 0) -> StreamRow {
        var row = StreamRow(
            StreamSnapshot(
                kind: .connection, identifier: UInt64(number), target: nil, owner: nil, user: "",
                mode: .full, since: Instant(nanoseconds: Int64(number)), sent: up, received: 0,
                shares: []), isProxy: true, showsTarget: true)
        row.target = target
        return row
    }

    private func query(_ words: [String: String], _ rows: [StreamRow]) -> StreamQuery {
        var query = StreamQuery(StreamOrder(words))
        for start in stride(from: 0, to: rows.count, by: 128) {
            query.add(
                rows[start..<min(start + 128, rows.count)].filter {
                    $0.matches(query.order.filter)
                })
        }
        query.finish()
        return query
    }

    @Test func theMostComeFirst() {
        let rows = (0..<5_000).map { row($0, up: ($0 * 7_919) % 5_000) }
        let first = query(["count": "10"], rows)
        #expect(first.page.map(\.up) == Array((4_990..<5_000).reversed()))
        let later = query(["count": "10", "offset": "300", "order": "up", "sort": "up"], rows)
        #expect(later.page.map(\.up) == Array(300..<310))
        let few = Array(rows.prefix(2_002))
        #expect(query(["offset": "2000", "count": "50"], few).page.count == 2)
        #expect(query(["offset": "2000"], Array(rows.prefix(100))).page.isEmpty)
    }

    @Test func ageCountsFromTheBeginning() {
        let rows = (1...100).map { row($0) }
        #expect(query(["sort": "age", "count": "1"], rows).page.first?.id == "c1")
        #expect(query(["sort": "age", "order": "up", "count": "1"], rows).page.first?.id == "c100")
    }

    @Test func aFilterFindsParts() {
        let rows = (0..<300).map { row($0, target: $0 % 3 == 0 ? "News.example:443" : "b:1") }
        let found = query(["filter": "NEWS", "count": "200"], rows)
        #expect(found.page.count == 100)
        #expect(query(["filter": "nothing"], rows).page.isEmpty)
        #expect(query(["filter": "full", "count": "200"], rows).page.count == 200)
    }

    @Test func whatMakesNoSenseIsLeftAside() {
        let order = StreamOrder([
            "sort": "password", "order": "sideways", "offset": "-7",
            "count": "99999999999999999999",
            "filter": String(repeating: "x", count: 10_000)
        ])
        #expect(order.key == .bytes && order.isDescending && order.offset == 0 && order.count == 50)
        #expect(order.filter.count == StreamOrder.maximumFilter)
        #expect(
            StreamOrder(["count": "5000", "offset": "999999"]).count == StreamOrder.maximumCount)
    }
}
