import Testing

@testable import Tunnel
@testable import Wire

/// What the proxy says of a path, at both ends.
@Suite struct PathStatementTests {
    private func frame(
        _ generation: UInt16, incarnation: UInt8 = 1, open: Bool = true, silent: Bool = false
    ) -> PathStateFrame {
        PathStateFrame(
            path: 1, generation: generation, incarnation: incarnation, isOpen: open,
            isBackup: false, isSilent: silent, mode: 0)
    }

    @Test func onlyTheEchoOfTheLatestEndsTheRepetition() {
        var statement = PathStatement()
        statement.beginIncarnation()
        statement.renew()
        statement.renew()
        #expect(statement.generation == 2 && statement.incarnation == 1)
        let old = statement.echoed(1)
        #expect(!old && statement.isPending)
        let latest = statement.echoed(2)
        #expect(latest && !statement.isPending)
    }

    private let closed = PathStatement.Circumstances()
    private let open = PathStatement.Circumstances(isOpen: true, isUsable: true)
    private let announced = PathState.suspect(.unanswered)

    @Test func aPathIsOpenedAndClosed() {
        var statement = PathStatement()
        #expect(!statement.isKnown)
        let opens = statement.take(frame(1), closed)
        #expect(opens == .init(opens: announced) && statement.isKnown)
        let same = statement.take(frame(1), open)
        let older = statement.take(frame(0), open)
        #expect(same == nil && older == nil)
        let backup = statement.take(frame(2), open)
        #expect(backup == .init(), "its part changed, nothing else")
        let silent = statement.take(frame(3, silent: true), open)
        #expect(silent == .init(fallsSilent: true))
        let closes = statement.take(frame(4, open: false, silent: true), open)
        #expect(closes == .init(closes: true))
    }

    @Test func whatIsHeardOnThePathItselfWorks() {
        var statement = PathStatement()
        let heard = statement.take(frame(1), .init(isHeard: true))
        #expect(heard == .init(opens: .usable))
    }

    /// Only our direction is dead; with no other path, stopping would only stop what may arrive.
    @Test func aSilenceThatIsSaidByThePathItselfNeedsAnother() {
        var statement = PathStatement()
        let alone = statement.take(
            frame(1, silent: true), .init(isOpen: true, isUsable: true, isHeard: true))
        #expect(alone == .init())
        let other = statement.take(
            frame(2, silent: true),
            .init(isOpen: true, isUsable: true, isHeard: true, hasOther: true))
        #expect(other == .init(fallsSilent: true))
        let suspect = statement.take(frame(3, silent: true), .init(isOpen: true))
        #expect(suspect == .init(), "it does not work as it is")
    }

    /// The removal between them was lost.
    @Test func anotherIncarnationEndsTheOneBefore() {
        var statement = PathStatement()
        _ = statement.take(frame(1), closed)
        let again = statement.take(frame(3, incarnation: 2, silent: true), open)
        #expect(again == .init(closes: true, opens: announced))
        #expect(statement.incarnation == 2)
    }

    @Test func anUnannouncedPathIsNotEndedByItsFirstStatement() {
        var statement = PathStatement()
        let first = statement.take(frame(65_535), open)
        #expect(first == .init())
        let wrapped = statement.take(frame(1), open)
        #expect(wrapped == .init(), "generations are compared modulo 2^16")
    }
}
