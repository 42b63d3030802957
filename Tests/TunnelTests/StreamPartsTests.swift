import Measures
import Testing

@testable import Tunnel

/// The values of which a stream and its session's host are made, each by itself.
@Suite struct StreamPartsTests {
    @Test func joinsAreTriedAgainAfterTimesThatDoubleUpToAMaximum() {
        var joining = StreamJoining()
        let waits = (0..<20).map { _ in joining.nextTimeout() }
        #expect(waits[0] == Limits.firstJoinRetry && waits.last == Limits.maximumJoinRetry)
        for (earlier, later) in zip(waits, waits.dropFirst()) {
            #expect(later == min(earlier * 2, Limits.maximumJoinRetry))
        }
    }

    @Test func aTurnHasWorkWhileAnyQueueHas() throws {
        let world = World(seed: 40)
        world.run(.seconds(1))
        let session = try #require(world.proxy.currentSession)
        var work = TurnWork()
        #expect(work.isEmpty)
        let queues: [WritableKeyPath<TurnWork, [Session]>] = [
            \.sessionsToFlush, \.sessionsWithDatagrams, \.sessionsWithChanges,
            \.sessionsWithTimers
        ]
        for queue in queues {
            work[keyPath: queue] = [session]
            #expect(!work.isEmpty)
            work[keyPath: queue] = []
            #expect(work.isEmpty)
        }
        work.sessionsToFlush = [session]
        work.events.append(.sessionOpened(session: 0, user: ""))
        #expect(!work.isEmpty)
        work.removeStreams()
        #expect(work.isEmpty)
    }
}
