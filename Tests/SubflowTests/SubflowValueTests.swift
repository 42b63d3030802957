import Measures
import Testing
import Wire

@testable import Subflow

/// The values a subflow is made of, each by itself.
@Suite struct SubflowValueTests {
    private let start = Instant.zero + .seconds(100)

    // MARK: OfferedWindow

    @Test func aSYNsWindowIsNotScaledAndLaterOnesAre() {
        for (scale, step) in [(0, 1), (7, 128), (14, 16_384), (200, 16_384)] {
            var window = OfferedWindow()
            window.open(
                1_000, scale: UInt8(scale), sequence: SubflowSequence(1),
                acknowledgement: SubflowSequence(1))
            #expect(window.bytes == 1_000 && window.largest == 1_000)
            window.offer(1_000)
            #expect(window.bytes == 1_000 * step && window.largest == 1_000 * step)
            window.offer(3)
            #expect(window.bytes == 3 * step && window.largest == 1_000 * step)
        }
    }

    /// RFC 9293 section 3.10.7.4, across the end of the numbers as well.
    @Test(arguments: [
        (0, 0, true), (0, 1, true), (0, -1, false), (1, 0, true), (1, -1, true), (-1, 0, false),
        (-1, 5, false)
    ])
    func onlyANewerSegmentTellsTheWindow(sequence: Int, acknowledgement: Int, isTaken: Bool) {
        for base in [SubflowSequence(1_000), SubflowSequence(0), SubflowSequence(.max)] {
            var window = OfferedWindow()
            window.take(from: base, base)
            let taken = window.takeNewer(base + sequence, base + acknowledgement)
            #expect(taken == isTaken)
            // what was refused changes nothing
            let again = window.takeNewer(base + sequence, base + acknowledgement)
            #expect(again == isTaken)
            let old = window.takeNewer(base, base)
            #expect(old == (!isTaken || (sequence, acknowledgement) == (0, 0)))
        }
    }

    // MARK: WindowUse

    @Test func aWindowGrowsWhereItWasInTheWay() {
        var use = WindowUse(from: SubflowSequence(0))
        #expect(!use.mayGrow(window: 10_000, inSlowStart: true))
        use.sent(
            inFlight: 6_000, isLimited: false, unacknowledged: SubflowSequence(0),
            next: SubflowSequence(6_000))
        #expect(use.mayGrow(window: 10_000, inSlowStart: true), "half of it was used")
        #expect(!use.mayGrow(window: 12_000, inSlowStart: true))
        #expect(!use.mayGrow(window: 10_000, inSlowStart: false))
        use.limits()
        #expect(use.mayGrow(window: 10_000, inSlowStart: false))
        // still the same window of data
        use.sent(
            inFlight: 3_000, isLimited: false, unacknowledged: SubflowSequence(5_999),
            next: SubflowSequence(9_000))
        #expect(use.isLimited && use.largest == 6_000)
        // the next one
        use.sent(
            inFlight: 3_000, isLimited: false, unacknowledged: SubflowSequence(6_000),
            next: SubflowSequence(9_000))
        #expect(!use.isLimited && use.largest == 3_000)
    }

    // MARK: RecentTimestamp

    @Test func anOlderTimestampIsRefusedForTwentyFourDays() {
        var recent = RecentTimestamp()
        recent.take(UInt32.max - 1, at: start)
        for (said, isAdmitted) in [
            (UInt32.max - 1, true), (UInt32.max, true), (5, true), (UInt32.max - 2, false),
            (1 << 31, false), ((1 << 31) - 3, true)
        ] {
            #expect(recent.admits(said, at: start) == isAdmitted, "\(said)")
        }
        let days = start + .seconds(24 * 86_400)
        #expect(!recent.admits(7 + (1 << 31), at: days - .milliseconds(1)))
        #expect(recent.admits(7 + (1 << 31), at: days))
    }

    // MARK: NegotiatedOptions

    @Test(arguments: [
        SegmentOptions.Kinds(), .windowScale, .sackPermitted, .timestamps,
        [.windowScale, .sackPermitted, .timestamps]
    ])
    func anOptionIsUsedWhereBothOfferIt(_ theirs: SegmentOptions.Kinds) {
        for (timestamps, blocks) in [(false, false), (true, false), (false, true), (true, true)] {
            var configuration = SubflowConfiguration()
            configuration.timestamps = timestamps
            configuration.selectiveAcknowledgement = blocks
            var options = NegotiatedOptions(offering: configuration)
            #expect(options.timestamps == timestamps && options.windowScale)
            options.agree(to: theirs)
            #expect(options.timestamps == (timestamps && theirs.contains(.timestamps)))
            #expect(
                options.selectiveAcknowledgement == (blocks && theirs.contains(.sackPermitted)))
            #expect(options.windowScale == theirs.contains(.windowScale))
            #expect(options.octets == (options.timestamps ? 12 : 0))
        }
    }

    // MARK: SegmentSizeBounds

    @Test(
        arguments: [
            (nil, 0, 536), (nil, 12, 524), (1_460, 0, 1_200), (1_460, 12, 1_188), (1_000, 12, 988),
            (0, 0, 100), (5, 12, 88)
        ] as [(UInt16?, Int, Int)])
    func aSegmentIsNoLongerThanAnybodyAllows(offered: UInt16?, octets: Int, size: Int) {
        var configuration = SubflowConfiguration()
        configuration.maximumSegmentSize = 1_200
        configuration.minimumSegmentSize = 100
        var bounds = SegmentSizeBounds(configuration)
        #expect(bounds.size == 1_200)
        bounds.negotiate(offered, optionOctets: octets, configuration)
        #expect(bounds.size == size && bounds.negotiated == size)
        bounds.limit = 90
        #expect(bounds.size == min(size, 90) && bounds.negotiated == size)
        bounds.limit = 0
        #expect(bounds.size == 1, "something must go")
    }

    // MARK: PendingSegments

    @Test func aSYNIsRepeatedOnlyOnceItHasLeft() {
        var pending = PendingSegments()
        #expect(pending.opens)
        pending.repeatSYN()
        #expect(pending.opens, "it has not left yet")
        pending.doneWithSYN()
        #expect(pending.syn == .none && !pending.opens)
        pending.repeatSYN()
        #expect(pending.syn == .again && !pending.opens)
        pending.doneWithSYN()
        #expect(pending.syn == .none)
    }

    @Test func aFINIsSentOnce() {
        var pending = PendingSegments()
        pending.requestFIN()
        #expect(pending.fin == .requested)
        pending.sentFIN()
        pending.requestFIN()
        #expect(pending.fin == .sent)
    }

    @Test func nothingGoesWhenItIsClosedButTheResetOfAnAbort() {
        for keeps in [true, false] {
            var pending = PendingSegments()
            pending.requestFIN()
            pending.sentFIN()
            pending.probe = true
            pending.reset = .abort
            pending.close(keepsReset: keeps)
            #expect(pending.syn == .none && !pending.probe && pending.hasReset == keeps)
            #expect(pending.fin == .sent, "what was acknowledged stays so")
        }
    }
}
