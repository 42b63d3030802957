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
        #expect(
            first && !work.couldAfford(ArrivalWork.maximum)
                && work.couldAfford(ArrivalWork.maximum - 4_000))
        let dearest = work.affords(ArrivalWork.maximum)
        #expect(!dearest && work.isExhausted)
    }

    @Test func whatDidNotComeToBeIsGivenBack() {
        var work = ArrivalWork()
        let first = work.affords(40_000)
        work.refund(39_000)
        work.refund(-5)
        #expect(first && work.spent == 1_000 && work.couldAfford(ArrivalWork.maximum - 1_000))
    }

    @Test func whatCostsMoreCountsForMore() {
        var segment = Segment()
        #expect(ArrivalWork.sent(segment) == ArrivalWork.sentSegment)
        segment.options.present = .sack
        #expect(ArrivalWork.sent(segment) == 2 * ArrivalWork.sentSegment)
        segment.options.present = .fastClose
        #expect(ArrivalWork.sent(segment) == ArrivalWork.sentAbort)
        segment.options.present = .multipathCapable
        #expect(ArrivalWork.sent(segment) == ArrivalWork.sentOpening)
        segment.options.present = .join
        #expect(ArrivalWork.sent(segment) == ArrivalWork.sentOpening)
        segment.options.present = []
        segment.flags = [.rst, .ack]
        #expect(ArrivalWork.sent(segment) == ArrivalWork.sentReset)
        segment.flags = .syn
        #expect(ArrivalWork.sent(segment) == ArrivalWork.sentSYN)
    }

    /// An honest datagram is read to its end, of whichever segments it is full: each of a
    /// connection that is in no cache.
    @Test func whatASenderPutsIntoADatagramIsRead() {
        let first = ArrivalWork.frame + ArrivalWork.firstSegment
        let kinds = [
            // and a path has changed
            (sent: ArrivalWork.sentSegment, cost: first + ArrivalWork.notice),
            (sent: ArrivalWork.sentReset, cost: first + ArrivalWork.subflowEnd),
            (sent: ArrivalWork.sentReset, cost: ArrivalWork.subflowReset),
            (
                sent: 2 * ArrivalWork.sentSegment,
                cost: first + SACKBlocks.capacity * ArrivalWork.block
            ),
            (sent: ArrivalWork.sentOpening, cost: first + ArrivalWork.opening),
            (sent: ArrivalWork.sentAbort, cost: first + 4 * ArrivalWork.subflowEnd)
        ]
        for kind in kinds { #expect(kind.cost <= kind.sent) }
        #expect(
            Limits.openingsPerDatagram * ArrivalWork.sentSYN <= ArrivalWork.maximumSent
                && (Limits.openingsPerDatagram + 1) * ArrivalWork.sentSYN > ArrivalWork.maximumSent)
        // With two paths' states.
        #expect(ArrivalWork.maximumSent <= ArrivalWork.maximum)
        #expect(
            20 * ArrivalWork.sentSegment + 2 * ArrivalWork.state <= ArrivalWork.maximum)
        #expect(
            ArrivalWork.maximumFlowEnds * ArrivalWork.flowEnd <= ArrivalWork.maximumSent)
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
        #expect(order.handedOver(by: 5, isOrdered: true, hasRoom: false) == 3)
        #expect(
            DatagramFrame.cost(0x42) == ArrivalWork.datagram + ArrivalWork.piece)
    }

    /// The same of a session's flows: also where the datagram says again what opened its flow,
    /// where there is no memory to hold it, and where it takes another flow's number.
    @Test func whatADatagramDragsAlongIsPaidFor() {
        let flows = DatagramFlows(isInitiator: false)
        _ = flows.open(association: 1, owner: 0, policy: .auto)
        let payload = [UInt8](repeating: 1, count: 200)
        func frame(_ sequence: UInt32, opening port: UInt16? = nil) -> DatagramFrame {
            DatagramFrame(
                flow: 7, sequence: sequence, isOrdered: true,
                opening: port.map {
                    .init(association: 1, target: Target(host: .name("far.example"), port: $0))
                },
                payload: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        func receive(_ frame: DatagramFrame) {
            var frame = frame
            payload.withUnsafeBytes {
                frame.payload = $0
                flows.receive(frame, path: 0, packet: 1, at: .zero) { _, _, _ in }
            }
        }
        #expect(flows.hiddenCost(of: frame(0, opening: 9)) == 0)
        receive(frame(0, opening: 9))
        for sequence in 2..<102 as Range<UInt32> { receive(frame(sequence)) }
        let passed = 100 * ArrivalWork.passed
        #expect(flows.hiddenCost(of: frame(200)) == passed)
        #expect(flows.hiddenCost(of: frame(1)) == 100 * ArrivalWork.handedOver + passed)
        #expect(flows.hiddenCost(of: frame(1, opening: 9)) == 100 * ArrivalWork.handedOver + passed)
        #expect(
            flows.hiddenCost(of: frame(1, opening: 8))
                == ArrivalWork.flowEnd + 100 * ArrivalWork.givenBack)
        let closed = FlowFrame(.closed, flow: 7)
        #expect(flows.costOfEnd(by: closed) == ArrivalWork.flowEnd + 100 * ArrivalWork.givenBack)
        #expect(flows.costOfEnd(by: FlowFrame(.closed, flow: 6)) == nil)
    }
}
