import Measures
import Subflow
import Testing

/// RFC 2018, 2883, 5681, 5682, 6298, 6582, 8985, 9937.
@Suite struct RecoveryTests {
    /// Five segments in flight, the window at ten, the round trip 100 ms.
    static func fiveInFlight(_ configuration: SubflowConfiguration = Script.plain) -> Script {
        let s = Script(configuration)
        s.inject("A", seq: 1, ack: 1)
        s.toSend = 5000
        #expect(s.out().count == 5 && s.subflow.bytesInFlight == 5000)
        s.wait(100)
        return s
    }

    @Test func blocksAreReported() {
        let s = Script()
        s.inject("A", seq: 1001, ack: 1, length: 1000)
        #expect(s.arrival.text == 0..<1000 && s.out() == ["A seq=1 ack=1 sack=1001-2001"])
        s.inject("A", seq: 3001, ack: 1, length: 1000)
        #expect(s.out() == ["A seq=1 ack=1 sack=3001-4001,1001-2001"])
        s.inject("A", seq: 1, ack: 1, length: 1000)
        #expect(s.out() == ["A seq=1 ack=2001 sack=3001-4001"])
        s.inject("A", seq: 1, ack: 1, length: 1000)
        #expect(s.arrival.isUnacceptable && s.out() == ["A seq=1 ack=2001 sack=1-1001,3001-4001"])
        s.inject("A", seq: 2001, ack: 1, length: 1000)
        #expect(s.out() == ["A seq=1 ack=4001"])
    }

    @Test func threeDeliveredMeanLost() {
        let s = Self.fiveInFlight()
        s.inject("A", seq: 1, ack: 1, sack: [1001..<4001])
        #expect(s.arrival.newlyDelivered == 3000 && s.subflow.isInRecovery)
        #expect(s.out() == ["data seq=1 ack=1 len=1000"])
        s.wait(100)
        s.inject("A", seq: 1, ack: 5001)
        #expect(
            !s.subflow.isInRecovery && s.subflow.congestionWindow == 5000
                && !s.subflow.hasUnacknowledged)
        #expect(s.subflow.statistics.recoveries == 1 && s.subflow.statistics.timeouts == 0)
    }

    /// What tells whether full segments of a path arrive: what was sent once, since then, as long.
    @Test func whatHasBeenDeliveredIsKnown() {
        let s = Self.fiveInFlight()
        let begun = s.now - .milliseconds(100)
        #expect(!s.subflow.hasDelivered(1000, since: begun))
        s.inject("A", seq: 1, ack: 1, sack: [1001..<4001])
        #expect(s.subflow.hasDelivered(1000, since: begun))
        #expect(!s.subflow.hasDelivered(1001, since: begun))
        #expect(!s.subflow.hasDelivered(1000, since: begun + .nanoseconds(1)))
        #expect(s.out() == ["data seq=1 ack=1 len=1000"])
        s.wait(100)
        // Sent again: which of the two has arrived is not known for certain.
        s.inject("A", seq: 1, ack: 5001)
        #expect(!s.subflow.hasDelivered(1000, since: begun))
    }

    @Test func oneDeliveredWaitsForTheReorderingWindow() {
        let s = Self.fiveInFlight()
        s.inject("A", seq: 1, ack: 1, sack: [1001..<2001])
        #expect(s.out() == [])
        s.wait(24)
        #expect(s.out() == [])
        s.wait(1)
        #expect(s.out() == ["data seq=1 ack=1 len=1000"])
    }

    @Test func reorderingIsNotLoss() {
        let s = Self.fiveInFlight()
        s.inject("A", seq: 1, ack: 1, sack: [1001..<2001])
        s.wait(20)
        s.inject("A", seq: 1, ack: 5001)
        s.wait(1000)
        #expect(s.out() == [] && s.subflow.statistics.recoveries == 0)
    }

    @Test func lostRetransmissionIsFoundWithoutATimeout() {
        let s = Self.fiveInFlight()
        s.toSend = 3000
        s.inject("A", seq: 1, ack: 1, sack: [1001..<5001])
        #expect(s.out().first == "data seq=1 ack=1 len=1000")
        s.wait(100)
        // what went after the retransmission arrived
        s.inject("A", seq: 1, ack: 1, sack: [1001..<6001])
        s.wait(30)
        #expect(s.out().contains("data seq=1 ack=1 len=1000") && s.subflow.statistics.timeouts == 0)
    }

    @Test func falseRecoveryIsUndone() {
        let s = Self.fiveInFlight()
        s.inject("A", seq: 1, ack: 1, sack: [1001..<4001])
        _ = s.out()
        s.inject("A", seq: 1, ack: 4001)
        s.inject("A", seq: 1, ack: 5001, sack: [1..<1001])
        #expect(
            s.subflow.statistics.spuriousRecoveries == 1 && s.subflow.congestionWindow >= 10_000)
    }

    @Test func withoutSACKThreeDuplicates() {
        var c = Script.plain
        c.selectiveAcknowledgement = false
        let s = Self.fiveInFlight(c)
        s.inject("A", seq: 1, ack: 1)
        s.inject("A", seq: 1, ack: 1)
        #expect(s.out() == [])
        s.inject("A", seq: 1, ack: 1)
        #expect(s.out() == ["data seq=1 ack=1 len=1000"])
        s.wait(100)
        s.inject("A", seq: 1, ack: 2001)  // a second hole
        #expect(s.out() == ["data seq=2001 ack=1 len=1000"])
        s.wait(100)
        s.inject("A", seq: 1, ack: 5001)
        #expect(!s.subflow.isInRecovery && s.subflow.congestionWindow == 5000)
    }

    // MARK: Tail loss probe and time-out

    @Test func tailLossIsProbed() {
        let s = Script()
        s.toSend = 3000
        _ = s.out()
        s.wait(199)
        #expect(s.out() == [])
        s.wait(1)
        #expect(
            s.out() == ["data seq=2001 ack=1 len=1000"] && s.subflow.statistics.tailLossProbes == 1)
        s.wait(100)
        s.inject("A", seq: 1, ack: 1, sack: [2001..<3001])
        #expect(s.out() == ["data seq=1 ack=1 len=1000"])
        s.wait(100)
        s.inject("A", seq: 1, ack: 1001, sack: [2001..<3001])
        #expect(s.out() == ["data seq=1001 ack=1 len=1000"])
    }

    @Test func newDataIsTheProbeWhereThereIsSome() {
        var c = Script.plain
        c.initialWindowSegments = 2
        let s = Script(c)
        s.toSend = 3000
        #expect(s.out().count == 2)
        s.wait(200)
        #expect(s.out() == ["data seq=2001 ack=1 len=1000"])
    }

    @Test func timeoutsDouble() {
        let s = Script()
        #expect(s.subflow.retransmissionTimeout == .milliseconds(300))  // 100 + 4 · 50
        s.toSend = 1000
        _ = s.out()
        s.wait(225)  // two round trips and the peer's delayed ACK
        #expect(s.out() == ["data seq=1 ack=1 len=1000"])
        for wait in [300, 600, 1200] {
            s.wait(Int64(wait) - 1)
            #expect(s.out() == [])
            s.wait(1)
            #expect(s.out() == ["data seq=1 ack=1 len=1000"])
        }
        #expect(s.subflow.backoffs == 3 && s.subflow.congestionWindow == 1000)
        s.inject("A", seq: 1, ack: 1001)
        #expect(s.subflow.backoffs == 0 && s.subflow.smoothedRTT == .milliseconds(100))  // Karn
    }

    @Test func falseTimeoutIsUndone() {
        let s = Script()
        s.toSend = 3000
        _ = s.out()
        s.wait(200)
        _ = s.out()
        s.wait(300)
        #expect(s.out() == ["data seq=1 ack=1 len=1000"] && s.subflow.statistics.timeouts == 1)
        s.inject("A", seq: 1, ack: 2001)
        #expect(
            s.subflow.statistics.spuriousRecoveries == 1 && s.subflow.congestionWindow >= 10_000)
        #expect(s.subflow.lostCount == 0 && s.out() == [])
    }

    @Test func givesUp() {
        let s = Script()
        s.toSend = 1000
        _ = s.out()
        for _ in 0..<1199 { s.wait(100); _ = s.out() }
        #expect(s.subflow.state == .established)
        s.wait(100)
        #expect(
            s.subflow.state == .closed && s.subflow.failure == .timedOut
                && s.subflow.outstandingCount == 1)
    }

    @Test func closedWindowIsProbed() {
        let s = Script()
        s.inject("A", seq: 1, ack: 1, window: 0)
        s.toSend = 100
        #expect(s.out() == [])
        s.wait(300)
        #expect(s.out() == ["A seq=0 ack=1"])
        s.wait(599)
        #expect(s.out() == [])
        s.wait(1)
        #expect(s.out() == ["A seq=0 ack=1"])
        s.inject("A", seq: 1, ack: 1, window: 25)
        #expect(s.out() == ["data seq=1 ack=1 len=100"])
    }

    // MARK: Window and pacing

    @Test func slowStartAndApplicationLimit() {
        let s = Script()
        s.inject("A", seq: 1, ack: 1)
        s.toSend = 20_000
        #expect(s.out().count == 10)
        s.wait(100)
        s.inject("A", seq: 1, ack: 10_001)
        #expect(s.subflow.congestionWindow == 20_000)
        #expect(s.out().count == 10)
        s.wait(100)
        for _ in 0..<20 {
            s.inject("A", seq: 1, ack: Script.localISS.distance(to: s.subflow.sendNext))
            s.toSend = 1000
            _ = s.out()
            s.wait(50)
        }
        #expect(s.subflow.congestionWindow <= 30_000)  // the window was never needed
    }

    @Test func pacingSpreadsTheWindow() {
        var c = Script.plain
        c.paced = true
        let s = Script(c)
        s.inject("A", seq: 1, ack: 1)
        s.toSend = 10_000
        #expect(s.subflow.pacingRate == Rate(bytesPerSecond: 200_000))  // 2 · 10 segments / 100 ms
        // A segment takes 5 ms: one is a burst, and one more for the time before.
        #expect(s.out().count == 2)
        s.wait(4)
        #expect(s.out() == [])
        s.wait(1)
        #expect(s.out().count == 1)
    }

    @Test func idleCostsNothing() {
        let s = Script()
        s.toSend = 1000
        _ = s.out()
        s.wait(100)
        s.inject("A", seq: 1, ack: 1001)
        s.wait(5000)
        #expect(s.out() == [] && s.subflow.deadline == .distantFuture)
    }
}
