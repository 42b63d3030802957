import Buffers
import Measures
import Testing

@testable import Multipath

/// The sending half of a connection's data by itself: what goes again, and when.
@Suite struct DataSenderTests {
    private let start = Instant.zero + .seconds(100)

    /// `written` bytes of which `scheduled` have left.
    private func made(written: Int, scheduled: Int, edge: UInt64 = 1 << 20) -> DataSender {
        var sender = DataSender(first: DataSequence(1_000), limit: 1 << 20, initialEdge: edge)
        let bytes = [UInt8](repeating: 7, count: written)
        _ = bytes.withUnsafeBytes { sender.ring.append($0) }
        sender.scheduled(scheduled)
        return sender
    }

    private func ranges(_ spans: [(UInt64, UInt64)]) -> OffsetRanges {
        var ranges = OffsetRanges()
        for (start, end) in spans { ranges.insert(start, end) }
        return ranges
    }

    private func spans(_ ranges: OffsetRanges) -> [[UInt64]] {
        ranges.spans.map { [$0.start, $0.end] }
    }

    /// A DATA_ACK by its number: whether it is one, and what it acknowledges.
    @Test(
        arguments: [
            (1_000, true, 0), (1_001, true, 1), (1_400, true, 400), (1_401, false, 0),
            (999, true, 0), (5_000, false, 0)
        ] as [(UInt64, Bool, UInt64)])
    func whatWasNeverSentIsNotAcknowledged(number: UInt64, isOne: Bool, acknowledged: UInt64) {
        var sender = made(written: 1_000, scheduled: 400)
        let taken = sender.acknowledge(DataSequence(number))
        let upTo = sender.acknowledged
        #expect(taken == isOne && upTo == acknowledged)
    }

    @Test func theNumberBehindTheLastByteIsThatOfTheEnd() {
        var sender = made(written: 400, scheduled: 400)
        let early = sender.isFinDue
        sender.finish()
        let due = sender.isFinDue
        let taken = sender.acknowledge(DataSequence(1_400))
        let alone = sender.isOnlyFinUnacknowledged
        let whole = sender.acknowledge(DataSequence(1_401))
        let isOver = sender.isFinAcknowledged, upTo = sender.acknowledged
        #expect(!early && due && taken && alone && whole && isOver && upTo == 400)
    }

    /// By the right edges that were heard, from number and bytes: how much may go.
    @Test(
        arguments: [
            ([], 100), ([(1_000, 300)], 300), ([(1_000, 300), (1_000, 200)], 300),
            ([(1_200, 300)], 500), ([(1_000, 5_000)], 1_000), ([(1_000, 0)], 100)
        ] as [([(UInt64, Int)], Int)])
    func theWindowsEdgeNeverMovesBack(windows: [(UInt64, Int)], sendable: Int) {
        var sender = made(written: 1_000, scheduled: 0, edge: 100)
        for (number, bytes) in windows {
            sender.openWindow(from: DataSequence(number), bytes: bytes)
        }
        let room = sender.sendable, isBlocked = sender.isWindowBlocked
        #expect(room == sendable && !isBlocked)
        sender.scheduled(room)
        let isBlockedThen = sender.isWindowBlocked
        #expect(isBlockedThen == (sendable < 1_000))
    }

    @Test func whatIsAcknowledgedMeanwhileDoesNotGoAgain() {
        var sender = made(written: 1_000, scheduled: 1_000)
        sender.reinject(ranges([(0, 200), (300, 500)]))
        sender.deferReinjection(ranges([(600, 800)]), at: start)
        _ = sender.acknowledge(DataSequence(1_400))
        let again = spans(sender.reinjections), later = spans(sender.deferred)
        #expect(again == [[400, 500]] && later == [[600, 800]])
        _ = sender.acknowledge(DataSequence(1_700))
        let left = spans(sender.deferred), isEmpty = sender.reinjections.isEmpty
        #expect(left == [[700, 800]] && isEmpty)
        sender.reinject(100, 750)
        let fresh = spans(sender.reinjections)
        #expect(fresh == [[700, 750]], "nor what is noted later")
    }

    /// So long after the path's end a segment came, on a subflow of 30 ms, as the last word about
    /// it or not: whether what may have arrived goes again.
    @Test(arguments: [
        (0, false, false), (29, false, false), (30, false, true), (500, false, true),
        (0, true, true), (29, true, true)
    ])
    func whatWasDeferredGoesOnceThePeerCanKnow(after: Int64, saysWhatCame: Bool, goes: Bool) {
        var sender = made(written: 1_000, scheduled: 1_000)
        sender.reinject(500, 600)
        sender.deferReinjection(ranges([(100, 300)]), at: start)
        sender.heard(
            minimumRTT: .milliseconds(30), saysWhatCame: saysWhatCame,
            at: start + .milliseconds(after))
        let again = spans(sender.reinjections), isLeft = !sender.deferred.isEmpty
        #expect(again == (goes ? [[100, 300], [500, 600]] : [[500, 600]]))
        #expect(isLeft == !goes)
    }

    /// The newest bytes go apart until an acknowledgement can know of them.
    @Test(arguments: [(29, false), (30, true)] as [(Int64, Bool)])
    func theNewestBytesGoApartWhileTheirLossIsUncertain(after: Int64, isKnown: Bool) {
        var sender = made(written: 1_000, scheduled: 1_000)
        sender.reinject(100, 300)
        sender.beginUncertainLoss(newestFrom: 800, at: start)
        let apart = sender.newest
        #expect(apart == .init(start: 800, end: 1_000))
        sender.heard(
            minimumRTT: .milliseconds(30), saysWhatCame: false, at: start + .milliseconds(after))
        let again = spans(sender.reinjections), newest = sender.newest
        #expect(again == (isKnown ? [[100, 300], [800, 1_000]] : [[100, 300]]))
        #expect((newest == nil) == isKnown)
    }

    /// So many segments that go again before each new one.
    @Test func newDataTakesItsTurnAmongReinjections() {
        var loss = UncertainLoss()
        var turns = ""
        for i in 0..<14 {
            if i == 1 { loss.begins(at: start) }
            turns += loss.prefersNewData ? "n" : "r"
            if loss.prefersNewData { loss.wentNew() } else { loss.wentAgain() }
        }
        #expect(turns == "rrrrrrnrrrrrnr")
        loss.resolve()
        for _ in 0..<9 { loss.wentAgain() }
        #expect(!loss.prefersNewData)
    }

    @Test func whatALivingSubflowMayRepeatStays() {
        var sender = made(written: 1_000, scheduled: 1_000)
        _ = sender.acknowledge(DataSequence(1_600))
        sender.discard(heldFrom: 250)
        let held = sender.ring.base
        sender.discard(heldFrom: .max)
        let rest = sender.ring.base
        sender.discard(heldFrom: 100)
        let still = sender.ring.base
        #expect(held == 250 && rest == 600 && still == 600)
    }
}
