import Testing

@testable import Tunnel

/// How much one datagram may make us do.
@Suite struct ArrivalWorkTests {
    @Test func whatIsBeyondTheMaximumIsRefused() {
        var work = ArrivalWork()
        for _ in 0..<ArrivalWork.maximum / 1_000 {
            let isAfforded = work.affords(1_000)
            #expect(isAfforded)
        }
        #expect(!work.isExhausted)
        let isAfforded = work.affords(1_000)
        #expect(!isAfforded && work.isExhausted)
    }

    /// Or it would be refused each time it comes again.
    @Test func theDearestIsAffordedBehindLittle() {
        var work = ArrivalWork()
        let first = work.affords(2_000), dearest = work.affords(2 * ArrivalWork.maximum)
        #expect(first && dearest)
        let least = work.affords(1)
        #expect(!least)
    }

    @Test func theDearestIsRefusedBehindMuch() {
        var work = ArrivalWork()
        let first = work.affords(4_000)
        #expect(first && !work.couldAfford(ArrivalWork.maximum) && work.couldAfford(40_000))
        let dearest = work.affords(ArrivalWork.maximum)
        #expect(!dearest && work.isExhausted)
    }

    @Test func whatDidNotComeToBeIsGivenBack() {
        var work = ArrivalWork()
        let first = work.affords(40_000)
        work.refund(39_000)
        work.refund(-5)
        #expect(first && work.spent == 1_000 && work.couldAfford(45_000))
    }
}
