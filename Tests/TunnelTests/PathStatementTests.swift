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

    @Test func aPathIsOpenedAndClosed() {
        var statement = PathStatement()
        #expect(!statement.isKnown)
        let opens = statement.take(frame(1), isOpen: false)
        #expect(opens == .init(opens: true) && statement.isKnown)
        let same = statement.take(frame(1), isOpen: true)
        let older = statement.take(frame(0), isOpen: true)
        #expect(same == nil && older == nil)
        let backup = statement.take(frame(2), isOpen: true)
        #expect(backup == .init(), "its part changed, nothing else")
        let silent = statement.take(frame(3, silent: true), isOpen: true)
        #expect(silent == .init(isSilent: true))
        let closes = statement.take(frame(4, open: false, silent: true), isOpen: true)
        #expect(closes == .init(closes: true))
    }

    /// The removal between them was lost.
    @Test func anotherIncarnationEndsTheOneBefore() {
        var statement = PathStatement()
        _ = statement.take(frame(1), isOpen: false)
        let again = statement.take(frame(3, incarnation: 2), isOpen: true)
        #expect(again == .init(closes: true, opens: true))
        #expect(statement.incarnation == 2)
    }

    @Test func anUnannouncedPathIsNotEndedByItsFirstStatement() {
        var statement = PathStatement()
        let first = statement.take(frame(65_535), isOpen: true)
        #expect(first == .init())
        let wrapped = statement.take(frame(1), isOpen: true)
        #expect(wrapped == .init(), "generations are compared modulo 2^16")
    }
}
