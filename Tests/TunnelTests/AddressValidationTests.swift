import Measures
import Testing

@testable import Tunnel

/// What an address gets and is asked until it has shown that it receives.
@Suite struct AddressValidationTests {
    static let home = address(1), elsewhere = address(2), third = address(3)
    static func address(_ last: UInt32) -> PathAddress {
        PathAddress(
            remote: SocketAddress(IPAddress(v4: 0xc000_0200 + last), port: 4000),
            local: .unspecifiedV4, uplink: 0)
    }
    private let now = Instant.zero + .seconds(10), wait = Interval.milliseconds(100)

    /// A validated path that leads home; or one of which nothing is known but that `bytes` came.
    private func validated() -> AddressValidation { AddressValidation(isValidated: true) }
    private func fresh(_ bytes: Int) -> AddressValidation {
        var validation = AddressValidation(isValidated: false)
        _ = arrive(&validation, bytes, Self.home, at: now)
        return validation
    }
    private func arrive(
        _ validation: inout AddressValidation, _ bytes: Int, _ source: PathAddress,
        isNewest: Bool = true, nonce: Int64 = -7, at now: Instant
    ) -> AddressValidation.Arrival {
        validation.arrived(
            bytes, from: source, isNewest: isNewest, current: Self.home, wait: wait, at: now
        ) { AddressCheck(address: source, nonce: nonce) }
    }
    private func budget(_ bytes: Double = 1e6) -> TokenBucket {
        TokenBucket(rate: 0, burst: bytes)
    }

    // MARK: What comes

    /// Whether the path is validated, another address asked, where it came from, whether it is the
    /// newest.
    @Test func whatAnArrivalCallsFor() {
        let rows: [(Bool, Bool, PathAddress, Bool, AddressValidation.Arrival)] = [
            (true, false, Self.home, true, .nothing),
            (true, false, Self.elsewhere, true, .isNew(leadsThere: false)),
            (true, false, Self.elsewhere, false, .nothing),
            (true, true, Self.elsewhere, true, .heard(asks: true)),
            (true, true, Self.elsewhere, false, .heard(asks: true)),
            (true, true, Self.home, true, .nothing),
            (true, true, Self.home, false, .nothing),
            (true, true, Self.third, true, .isNew(leadsThere: false)),
            (true, true, Self.third, false, .nothing),
            (false, false, Self.home, true, .isNew(leadsThere: true)),
            (false, false, Self.home, false, .nothing),
            (false, true, Self.elsewhere, true, .heard(asks: true)),
            (false, true, Self.third, true, .isNew(leadsThere: true))
        ]
        for (i, row) in rows.enumerated() {
            let (isValidated, isAskingElsewhere, source, isNewest, expected) = row
            var validation = AddressValidation(isValidated: isValidated)
            if isAskingElsewhere { _ = arrive(&validation, 100, Self.elsewhere, at: now) }
            let asked = validation.check?.address
            let means = arrive(&validation, 50, source, isNewest: isNewest, at: now)
            #expect(means == expected && validation.isValidated == isValidated, "row \(i)")
            switch expected {
            case .isNew: #expect(validation.check?.address == source, "row \(i)")
            case .heard: #expect(validation.check?.received == 150, "row \(i)")
            case .nothing:
                // The proxy has not moved.
                let isBack = source == Self.home && isNewest
                #expect(validation.check?.address == (isBack ? nil : asked), "row \(i)")
            }
        }
    }

    @Test func aQuestionIsRepeatedOnceItMayBeLost() {
        var validation = validated()
        _ = arrive(&validation, 1000, Self.elsewhere, at: now)
        #expect(validation.ask() && validation.check?.isDue == true)
        // It has yet to leave.
        #expect(
            arrive(&validation, 10, Self.elsewhere, at: now + .seconds(1)) == .heard(asks: false))
        #expect(validation.sendChallenge(100, at: now) == Self.elsewhere)
        let early = now + wait - .nanoseconds(1)
        #expect(arrive(&validation, 10, Self.elsewhere, at: early) == .heard(asks: false))
        #expect(arrive(&validation, 10, Self.elsewhere, at: now + wait) == .heard(asks: true))
        var none = validated()
        #expect(!none.ask() && none.sendChallenge(100, at: now) == nil)
    }

    // MARK: Answers

    @Test func onlyWhoWasAskedProvesAnything() {
        var validation = validated()
        _ = arrive(&validation, 1000, Self.elsewhere, nonce: -7, at: now)
        _ = validation.sendChallenge(100, at: now)
        let later = now + .milliseconds(30)
        #expect(validation.answered(-8, from: Self.elsewhere, at: later) == nil)
        #expect(validation.answered(-7, from: Self.home, at: later) == nil)
        #expect(validation.answered(-7, from: Self.third, at: later) == nil)
        let answer = validation.answered(-7, from: Self.elsewhere, at: later)
        #expect(answer?.proof == .moves(to: Self.elsewhere))
        #expect(answer?.roundTrip == .milliseconds(30))
        #expect(validation.isComplete)
        #expect(validation.answered(-7, from: Self.elsewhere, at: later) == nil)
    }

    @Test func anAnswerToOneOfTwoQuestionsMeasuresNothing() {
        var validation = fresh(1000)
        _ = validation.sendChallenge(100, at: now)
        _ = validation.sendChallenge(100, at: now + wait)
        let answer = validation.answered(-7, from: Self.home, at: now + wait * 2)
        #expect(answer?.proof == .confirms && answer?.roundTrip == nil)
        #expect(validation.isComplete)
    }

    // MARK: What may leave

    /// Three times what came, less the space of a question, and the question itself up to all of
    /// it.
    @Test func noMoreThanThreeTimesWhatCame() {
        var validation = fresh(1000), shared = budget()
        let data = 3000 - Limits.challengeSpace
        #expect(validation.admit(data + 1, &shared, at: now) == .waits)
        #expect(validation.admit(data, &shared, at: now) == .leaves)
        #expect(validation.admit(1, &shared, at: now) == .waits)
        #expect(validation.sendChallenge(Limits.challengeSpace + 1, at: now) == nil)
        #expect(validation.sendChallenge(Limits.challengeSpace, at: now) == Self.home)
        #expect(validation.sendChallenge(1, at: now) == nil)
        #expect(validation.check?.sent == 3000)
    }

    @Test func allAddressesShareABudget() {
        var shared = budget(500), first = fresh(1000), second = fresh(1000)
        #expect(first.admit(400, &shared, at: now) == .leaves)
        #expect(second.admit(400, &shared, at: now) == .waits)
        #expect(second.admit(100, &shared, at: now) == .leaves)
    }

    @Test func nobodyIsKnownThere() {
        var validation = AddressValidation(isValidated: false), shared = budget()
        #expect(validation.admit(1, &shared, at: now) == .isLost)
    }

    /// In order, and nothing overtakes what is held.
    @Test func whatIsHeldLeavesAsMoreComes() {
        var validation = fresh(100), shared = budget()
        for i in 0..<Limits.heldDatagrams {
            #expect(validation.admit(250, &shared, at: now) == .waits)
            validation.hold([UInt8](repeating: UInt8(truncatingIfNeeded: i), count: 250), at: now)
        }
        #expect(validation.admit(1, &shared, at: now) == .isLost)
        #expect(validation.takeHeld(&shared, at: now) == [])
        _ = arrive(&validation, 100, Self.home, at: now)
        #expect(validation.takeHeld(&shared, at: now).map(\.bytes[0]) == [0, 1])
        #expect(validation.admit(1, &shared, at: now) == .waits)
        _ = validation.answered(-7, from: Self.home, at: now)
        #expect(
            validation.takeHeld(&shared, at: now).map(\.bytes[0])
                == (2..<Limits.heldDatagrams).map { UInt8(truncatingIfNeeded: $0) })
        #expect(validation.held.isEmpty)
    }

    @Test func whatWasHeldForLongIsNotSentAnyMore() {
        var validation = fresh(100), shared = budget()
        validation.hold([1], at: now)
        validation.hold([2], at: now + .nanoseconds(1))
        _ = validation.answered(-7, from: Self.home, at: now)
        let late = now + Limits.maximumHold + .nanoseconds(1)
        #expect(validation.takeHeld(&shared, at: late).map(\.bytes) == [[2]])
    }

    @Test func copiesGoWhereTheProxyMayBe() {
        var validation = validated(), shared = budget()
        #expect(validation.copyAddress(10, &shared, at: now) == nil)
        _ = arrive(&validation, 1000, Self.elsewhere, at: now)
        let data = 3000 - Limits.challengeSpace
        #expect(validation.copyAddress(data, &shared, at: now) == Self.elsewhere)
        validation.copied(data)
        #expect(validation.copyAddress(1, &shared, at: now) == nil)
        // Of a path that was never validated nothing is copied: it leads there already.
        #expect(fresh(1000).copyAddress(1, &shared, at: now) == nil)
    }

    // MARK: What is forgotten

    @Test func aClosedPathComesBackFromElsewhere() {
        var moved = validated()
        _ = arrive(&moved, 1000, Self.elsewhere, nonce: -7, at: now)
        #expect(moved.close(at: Self.home, nonce: -9) == Self.elsewhere)
        #expect(!moved.isValidated && moved.check?.nonce == -7)
        var still = validated()
        #expect(still.close(at: Self.home, nonce: -9) == Self.home)
        #expect(!still.isValidated && still.check?.nonce == -9 && still.check?.received == 0)
        var unknown = fresh(1000)
        #expect(unknown.close(at: Self.home, nonce: -9) == Self.home)
        #expect(unknown.check?.nonce == -7)
    }
}
