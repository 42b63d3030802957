import Measures
import Testing

@testable import Tunnel

/// A session whose concentrator another process follows, as a value.
@Suite struct GoingAwayTests {
    private let start = Instant.zero + .seconds(1_000)
    private enum Name { case no, announced, replaced }

    private func name(_ state: GoingAway) -> Name {
        switch state {
        case .no: .no
        case .announced: .announced
        case .replaced: .replaced
        }
    }
    private func announced() -> GoingAway {
        .announced(since: start, again: Repeater())
    }
    private let replaced = GoingAway.replaced(lookAt: .distantFuture)

    @Test func itIsAnnouncedOnceAndAnsweredOnlyThen() {
        for (state, says, after) in [
            (GoingAway.no, true, Name.announced), (announced(), false, .announced),
            (replaced, false, .replaced)
        ] {
            var state = state
            let isNew = state.announce(at: start)
            #expect(isNew == says && name(state) == after)
        }
        for (state, after) in [
            (GoingAway.no, Name.no), (announced(), .replaced), (replaced, .replaced)
        ] {
            var state = state
            state.answered()
            #expect(name(state) == after, "an answer to nothing says nothing")
        }
    }

    @Test func itIsSaidAgainEverMoreRarelyUntilItIsAnswered() {
        var state = GoingAway.no, now = start, waits: [Interval] = []
        let use = GoingAway.Use(isEmpty: false, lastArrival: start)
        _ = state.announce(at: now)
        for _ in 0..<20 {
            state.said(at: now)
            let due = state.deadline(use)
            #expect(state.due(use, at: due - .microseconds(1)) == .nothing)
            #expect(state.due(use, at: due) == .sayAgain)
            waits.append(due - now)
            now = due
        }
        #expect(waits.first == Limits.firstGoAway && waits.last == Limits.maximumSignalInterval)
        for (earlier, later) in zip(waits, waits.dropFirst()) {
            #expect(later == min(earlier * 2, Limits.maximumSignalInterval))
        }
        state.answered()
        #expect(state.deadline(use) == .distantFuture)
        #expect(state.due(use, at: now + .seconds(86_400)) == .nothing, "connections go on")
    }

    @Test func theSessionIsOverWhenNothingIsInIt() {
        let late = start + .seconds(40)
        let empty = GoingAway.Use(isEmpty: true, lastArrival: late)
        #expect(GoingAway.no.deadline(empty) == .distantFuture)
        #expect(GoingAway.no.due(empty, at: late + .seconds(86_400)) == .nothing)
        let end = late + Limits.replacedLook
        #expect(replaced.deadline(empty) == end)
        #expect(replaced.due(empty, at: end - .microseconds(1)) == .nothing)
        #expect(replaced.due(empty, at: end) == .isOver)
        // one that was not answered waits for the answer, too
        let unanswered = start + Limits.unansweredGoAway
        let unheard = GoingAway.Use(isEmpty: true, lastArrival: start - .seconds(600))
        #expect(announced().due(unheard, at: unanswered - .microseconds(1)) != .isOver)
        #expect(announced().due(unheard, at: unanswered) == .isOver)
        let heard = GoingAway.Use(isEmpty: true, lastArrival: unanswered)
        #expect(announced().due(heard, at: unanswered) != .isOver, "it may still repeat its last")
    }

    @Test func aProxyHearsItOnceAndNotTooSoon() {
        var state = GoingAway.no
        let early = state.heard(age: Limits.minimumGoAwayAge - .microseconds(1), at: start)
        #expect(early == .nothing && name(state) == .no)
        let first = state.heard(age: Limits.minimumGoAwayAge, at: start)
        #expect(first == .report && name(state) == .announced)
        let second = state.heard(age: .seconds(999), at: start)
        #expect(second == .nothing)
        var gone = replaced
        let again = gone.heard(age: .zero, at: start)
        #expect(again == .answer && name(gone) == .replaced, "the answer was lost")
    }

    @Test func aProxyAsksForAnotherSessionAtOnceAndLooksAfterASilentOne() {
        func deadline(_ state: GoingAway, handshaking: Bool = false, silent: Bool) -> Instant? {
            state.handshakeDeadline(
                isHandshaking: handshaking, isSilent: silent, lastArrival: start)
        }
        #expect(deadline(.no, silent: true) == nil)
        #expect(deadline(announced(), silent: false) == .zero)
        #expect(deadline(announced(), handshaking: true, silent: true) == .distantFuture)
        let look = GoingAway.replaced(lookAt: start + .seconds(99))
        #expect(deadline(look, silent: false) == .distantFuture)
        #expect(deadline(look, silent: true) == start + .seconds(99))
        #expect(
            deadline(.replaced(lookAt: .zero), silent: true)
                == start + Limits.handshakeAfterSilence)
    }
}
