import Testing

@testable import Concentrator
@testable import Shell

/// Who may begin, and who waits for whom.
@Suite struct TurnsTests {
    private final class Log { var begun: [String] = [] }

    private func enter(_ turns: Turns, _ user: String, _ name: String, _ log: Log) -> Turns.Place {
        let place = turns.enter(user) { log.begun.append(name) }
        if place.isRunning { log.begun.append(name) }
        return place
    }

    @Test func oneUserLeavesRoom() {
        let turns = Turns(.init(inAll: 8, perUser: 100)), log = Log()
        let many = (0..<50).map { enter(turns, "a", "a\($0)", log) }
        #expect(turns.running == 4 && turns.waiting == 46)
        let other = enter(turns, "b", "b", log)
        #expect(other.isRunning, "the next user finds room at once")
        let third = (0..<5).map { enter(turns, "c", "c\($0)", log) }
        #expect(third[0].isRunning && turns.running <= 8)
        many.forEach { $0.leave() }
        #expect(
            turns.running == 5 && turns.waiting == 1,
            "b, and as many of c as leave one more their room")
        other.leave()
        third.forEach { $0.leave() }
        #expect(turns.running == 0 && turns.waiting == 0)
    }

    @Test func usersTakeTurns() {
        let turns = Turns(.init(inAll: 2, perUser: 2)), log = Log()
        var running = [enter(turns, "x", "x0", log), enter(turns, "y", "y0", log)]
        var waiting = (0..<3).map { enter(turns, "a", "a\($0)", log) }
        waiting += (0..<3).map { enter(turns, "b", "b\($0)", log) }
        running.forEach { $0.leave() }
        running = []
        // Those of both users end by turns.
        for i in [0, 3, 1, 4, 2, 5] { waiting[i].leave() }
        waiting = waiting.filter(\.isRunning)
        #expect(waiting.isEmpty)
        #expect(log.begun == ["x0", "y0", "a0", "b0", "a1", "b1", "a2", "b2"])
    }

    @Test func whoGivesUpIsForgotten() {
        let turns = Turns(.init(inAll: 1, perUser: 1)), log = Log()
        let first = enter(turns, "a", "first", log)
        for i in 0..<10_000 { enter(turns, i % 2 == 0 ? "a" : "b", "n\(i)", log).leave() }
        let last = enter(turns, "b", "last", log)
        #expect(turns.waiting == 1 && log.begun == ["first"])
        first.leave()
        first.leave()
        #expect(log.begun == ["first", "last"] && turns.running == 1)
        last.leave()
        #expect(turns.running == 0)
    }

    /// What begins may end within its beginning, and ask for more.
    @Test func beginningWithinAnEnd() {
        let turns = Turns(.init(inAll: 1, perUser: 1)), log = Log()
        let first = enter(turns, "a", "first", log)
        var kept: [Turns.Place] = []
        for i in 0..<100 {
            var own: Turns.Place?
            own = turns.enter("b\(i)") {
                log.begun.append("b\(i)"); own?.leave()
            }
            kept.append(own!)
        }
        first.leave()
        #expect(log.begun.count == 101 && turns.running == 0 && turns.waiting == 0)
    }
}
