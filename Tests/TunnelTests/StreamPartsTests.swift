import Measures
import Testing

@testable import Tunnel

/// The values of which a stream and its session's host are made, each by itself.
@Suite struct StreamPartsTests {
    let start = Instant.zero + .seconds(100)

    @Test func joinsAreTriedAgainAfterTimesThatDoubleUpToAMaximum() {
        var joining = StreamJoining(), waits: [Interval] = []
        for _ in 0..<20 {
            joining.retry(at: start)
            waits.append(joining.retryAt - start)
        }
        #expect(waits[0] == Limits.firstJoinRetry && waits.last == Limits.maximumJoinRetry)
        for (earlier, later) in zip(waits, waits.dropFirst()) {
            #expect(later == min(earlier * 2, Limits.maximumJoinRetry))
        }
    }

    @Test func aConnectionThatIsOpenedAnewLooksForJoinsAtOnce() {
        var joining = StreamJoining()
        joining.seenForJoins = 7
        joining.retry(at: start)
        joining.startAgain()
        #expect(
            joining.seenForJoins == 0 && joining.retryAt == .distantFuture && joining.retries == 1)
    }

    @Test func aTurnHasWorkWhileAnyQueueHas() {
        var work = TurnWork()
        #expect(work.isEmpty)
        let queues: [WritableKeyPath<TurnWork, [Int]>] = [
            \.sessionsToFlush, \.sessionsWithDatagrams, \.sessionsWithChanges
        ]
        for queue in queues {
            work[keyPath: queue] = [1]
            #expect(!work.isEmpty)
            work[keyPath: queue] = []
            #expect(work.isEmpty)
        }
        work.events.append(.sessionOpened(session: 0, user: ""))
        #expect(!work.isEmpty)
        work.removeStreams()
        #expect(work.isEmpty)
    }
}
