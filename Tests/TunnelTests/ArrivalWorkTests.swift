import Testing

@testable import Tunnel
@testable import Wire

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

    @Test func whatCostsMoreWeighsMore() {
        var segment = Segment()
        #expect(ArrivalWork.weight(of: segment) == 1)
        segment.options.present = .sack
        #expect(ArrivalWork.weight(of: segment) == 2)
        segment.options.present = .fastClose
        #expect(ArrivalWork.weight(of: segment) == ArrivalWork.abortWeight)
        segment.options.present = .multipathCapable
        #expect(ArrivalWork.weight(of: segment) == ArrivalWork.openingWeight)
        segment.options.present = []
        segment.flags = [.rst, .ack]
        #expect(ArrivalWork.weight(of: segment) == 2)
        segment.flags = .syn
        #expect(ArrivalWork.weight(of: segment) == ArrivalWork.openingWeight)
    }

    /// An honest datagram is read to its end, of whichever segments it is full: each of a
    /// connection that is in no cache.
    @Test func whatASenderPutsIntoADatagramIsRead() {
        let first = ArrivalWork.frame + ArrivalWork.firstSegment
        let kinds = [
            // and a path has changed
            (weight: 1, cost: first + ArrivalWork.notice),
            (weight: 2, cost: first + ArrivalWork.subflowEnd),
            (weight: 2, cost: first + SACKBlocks.capacity * ArrivalWork.block),
            (weight: ArrivalWork.openingWeight, cost: first + ArrivalWork.opening),
            (weight: ArrivalWork.abortWeight, cost: first + 2 * ArrivalWork.subflowEnd)
        ]
        for kind in kinds {
            let count = ArrivalWork.maximumWeight / kind.weight
            #expect(count * kind.cost <= ArrivalWork.maximum, "weight \(kind.weight)")
        }
        #expect(
            ArrivalWork.maximumFlowEnds * ArrivalWork.flowEnd <= ArrivalWork.maximum)
    }

    /// A gap that is filled is paid for with all that waited for it.
    @Test func whatWaitsIsPaidFor() {
        var order = Resequencer()
        let store = DatagramStore(share: nil)
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        for sequence: UInt32 in [0, 2, 3, 4] {
            order.receive(none, sequence: sequence, isOrdered: true, store, at: .zero) { _ in }
        }
        #expect(order.handedOver(by: 1, isOrdered: true) == 3)
        #expect(order.handedOver(by: 5, isOrdered: true) == 0)
        #expect(order.handedOver(by: 5, isOrdered: false) == 3)
        #expect(
            DatagramFrame.cost(0x42) == ArrivalWork.datagram + ArrivalWork.piece)
    }
}
