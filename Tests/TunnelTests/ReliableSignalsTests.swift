import Measures
import Multipath
import Testing

@testable import Tunnel

/// When signals are said, and where the path of a pair belongs.
@Suite struct ReliableSignalsTests {
    private let start = Instant.zero + .seconds(100)

    private func around(
        isPending: Bool = true, _ timeout: Interval? = .milliseconds(80)
    ) -> ReliableSignals.Circumstances {
        .init(isPending: isPending, shortestTimeout: timeout)
    }

    @Test func theyAreSaidAgainUntilAllAreEchoed() {
        var signals = ReliableSignals()
        #expect(!signals.isRunning && signals.dueAt == .distantFuture)
        var now = start
        let first = signals.raised(around(), at: now)
        #expect(first == .say(again: now + .milliseconds(80)) && signals.isRunning)
        var waits: [Int64] = []
        for _ in 0..<6 {
            now = signals.dueAt
            guard case .say(let again) = signals.due(around(), at: now) else { break }
            waits.append((again - now).nanoseconds / 1_000_000)
        }
        #expect(waits == [160, 320, 640, 1_280, 2_000, 2_000])
        // Something new is said in its own time.
        let news = signals.raised(around(), at: now)
        #expect(news == .say(again: now + .milliseconds(80)))
        signals.echoed(isPending: true)
        #expect(signals.isRunning, "another one waits")
        signals.echoed(isPending: false)
        #expect(!signals.isRunning)
        let nothing = signals.due(around(isPending: false), at: now)
        #expect(nothing == .none)
    }

    @Test func theFirstWaitIsThatOfTheQuickestPathAndNotTooShort() {
        var signals = ReliableSignals()
        let short = signals.raised(around(.milliseconds(3)), at: start)
        #expect(short == .say(again: start + Limits.minimumSignalInterval))
        let alone = signals.raised(around(nil), at: start)
        #expect(alone == .say(again: start + Limits.initialTimeout), "no path is open")
        signals.stop()
        #expect(!signals.isRunning)
    }

    // MARK: Beside other datagrams

    @Test func whatBulkHasNoSpaceForGetsADatagramOfItsOwnNowAndThen() {
        var statement = PathStatement()
        statement.renew()
        statement.say()
        #expect(statement.isDue)
        statement.flushed(hasSignals: true, at: start)
        #expect(!statement.isDue && statement.isPending)
        let early = statement.foundNoSpace(at: start + Limits.signalBesideBulk)
        #expect(!early && !statement.isDue)
        let late = statement.foundNoSpace(at: start + Limits.signalBesideBulk + .nanoseconds(1))
        #expect(late && statement.isDue)
        statement.suppress()
        #expect(!statement.isDue)
    }

    // MARK: Where a path belongs

    private func path(_ id: PathID, _ uplink: UplinkNumber, port: UInt16 = 443) -> Path {
        let remote = SocketAddress(IPAddress(v4: 0xc000_0201), port: port)
        return Path(
            id: id, uplinkName: "",
            address: PathAddress(remote: remote, local: .unspecifiedV4, uplink: uplink),
            datagramLimit: 1_400, isValidated: true)
    }

    private func place(
        _ table: PathTable, _ uplink: UplinkNumber, there: Set<UplinkNumber> = []
    ) -> String {
        let remote = SocketAddress(IPAddress(v4: 0xc000_0201), port: 443)
        return switch table.place(from: uplink, to: remote, isThere: { there.contains($0) }) {
        case .existing(let path): "existing \(path.id)"
        case .abandoned(let path): "abandoned \(path.id)"
        case .empty(let id): "empty \(id)"
        case nil: "none"
        }
    }

    @Test func aPairHasTheNumberItHad() {
        var table = PathTable()
        #expect(place(table, 0) == "empty 0")
        table[0] = path(0, 7)
        table[2] = path(2, 1)
        table[3] = path(3, 1, port: 444)
        #expect(place(table, 1) == "existing 2")
        #expect(place(table, 5) == "empty 1", "nobody's before somebody's")
    }

    @Test func whereAllAreTakenOneThatNothingUsesIsGivenAgain() {
        var table = PathTable()
        for id in PathTable.all { table[id] = path(id, 9) }
        let all = place(table, 1)
        #expect(all == "abandoned 0")
        #expect(place(table, 1, there: [9]) == "none", "its uplink may come back to it")
        _ = table[0]?.monitor.enter(.usable, at: start)
        table[1]?.statement.renew()
        #expect(place(table, 1) == "abandoned 2", "one is open, of one its end is not known")
    }
}
