import Glibc
import Measures
import Testing

@testable import Shell

@Suite struct EventLoopTests {
    @Test func timersFireInOrderAndNotEarly() throws {
        let loop = try EventLoop()
        var fired: [Int] = []
        let start = loop.now()
        let late = loop.timer {
            fired.append(2); loop.stop()
        }
        let early = loop.timer { fired.append(1) }
        late.arm(after: .milliseconds(20))
        early.arm(after: .milliseconds(5))
        loop.run()
        #expect(fired == [1, 2])
        #expect(loop.now() - start >= .milliseconds(20))
        #expect(late.deadline == .distantFuture)
    }

    @Test func hooksRunOnceAfterAllReadyEvents() throws {
        let loop = try EventLoop()
        var order = ""
        let a = loop.timer { order += "a" }, b = loop.timer { order += "b" }
        loop.afterEvents { order += "h" }
        let at = loop.now() + .milliseconds(5)
        a.arm(at: at)
        b.arm(at: at)
        #expect(loop.run(until: .seconds(2)) { order.contains("b") })
        // The first one before anything was ready, for what was done before `run`.
        #expect(order == "habh" || order == "hbah")
    }

    @Test func aRequestedTurnDoesNotWait() throws {
        let loop = try EventLoop()
        var turns = 0
        loop.afterEvents {
            turns += 1
            if turns < 3 { loop.turnAgain() } else { loop.stop() }
        }
        loop.turnAgain()
        let start = loop.now()
        loop.run()
        #expect(turns == 3)
        #expect(loop.now() - start < .milliseconds(500))
    }

    /// Two hundred handlers are ready, of 0.4 ms each: the hooks come between them, each handler
    /// runs once all the same, and nothing is waited for meanwhile.
    @Test func manyReadyHandlersAreNotOneTurn() throws {
        let loop = try EventLoop(), count = 200
        var ran: [Int] = [], atHooks: [Int] = [], cuts = 0
        let timers = (0..<count).map { number in
            loop.timer {
                ran.append(number)
                let end = loop.now() + .microseconds(400)
                while loop.now() < end {}
            }
        }
        let at = loop.now() + .milliseconds(1)
        for timer in timers { timer.arm(at: at) }
        loop.afterEvents {
            atHooks.append(ran.count)
            if loop.dispatchWasCut { cuts += 1 }
        }
        #expect(loop.run(until: .seconds(20)) { ran.count == count })
        #expect(ran.sorted() == Array(0..<count))
        // As many as fill the time of a dispatch, and one more.
        let most = zip(atHooks, [0] + atHooks).map { $0 - $1 }.max() ?? count
        #expect(most <= 14, "\(most) between two hooks")
        #expect(cuts >= count / 14)
    }

    @Test func theLongestTurnOfTheLastMinutesIsKnown() {
        var turns = LongestTurn()
        func note(_ milliseconds: Int64, at second: Int64) {
            turns.note(.milliseconds(milliseconds), at: .zero + .seconds(second))
        }
        func value(_ second: Int64) -> Interval { turns.value(at: .zero + .seconds(second)) }
        #expect(value(5) == .zero)
        note(7, at: 1_000)
        note(3, at: 1_001)
        #expect(value(1_059) == .milliseconds(7))
        // The minute behind it knows it still, the next one no more.
        note(2, at: 1_070)
        #expect(value(1_110) == .milliseconds(7))
        note(1, at: 1_131)
        #expect(value(1_132) == .milliseconds(2))
        // Nothing ran for long.
        #expect(value(1_255) == .zero)
        note(4, at: 2_000)
        #expect(value(2_001) == .milliseconds(4))
    }

    /// The loop goes round while a text is made; texts come in their order, and whoever gets one
    /// may ask for another.
    @Test func longTextsHoldNobodyUp() throws {
        let loop = try EventLoop(), side = SideWork(loop: loop)
        var ends: [Int32] = [0, 0], got: [String] = [], rounds = 0
        #expect(pipe(&ends) == 0)
        defer { ends.forEach { close($0) } }
        // It is made as soon as the loop has gone round often enough.
        let reading = ends[0], writing = ends[1]
        let long: SideWork.Text = {
            var watch = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
            return poll(&watch, 1, 20_000) == 1 ? "long" : "held up"
        }
        let beat = loop.timer {}
        loop.afterEvents {
            rounds += 1
            if rounds == 20 { _ = write(writing, "x", 1) }
            beat.arm(after: .milliseconds(1))
        }
        side.make(long) {
            got.append($0)
            side.make {
                "last"
            } done: {
                got.append($0)
            }
        }
        side.make {
            "short"
        } done: {
            got.append($0)
        }
        loop.turnAgain()
        #expect(loop.run(until: .seconds(30)) { got.count == 3 })
        #expect(got == ["long", "short", "last"])
    }

    @Test func signalsArriveInTheLoop() throws {
        let loop = try EventLoop()
        var got = 0
        loop.onSignal(SIGUSR2) {
            got += 1; loop.stop()
        }
        kill(getpid(), SIGUSR2)
        loop.run()
        #expect(got == 1)
    }

    @Test func aHandlerMayReleaseItsWatch() throws {
        let loop = try EventLoop()
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        defer { close(ends[0]); close(ends[1]) }
        var watch: FileWatch? = loop.watch(ends[0])
        watch?.onReadable(for: loop) {
            watch?.cancel(); watch = nil; $0.stop()
        }
        watch?.wantsRead = true
        write(ends[1], "x", 1)
        loop.run()
        #expect(watch == nil)
    }

    /// What a callback uses lives for as long as the callback runs, whatever it lets go.
    private final class Owner {
        let loop: EventLoop
        var watch: FileWatch?
        var timer: LoopTimer?
        var keeper: Keeper?
        var log: [String] = []
        init(_ loop: EventLoop) { self.loop = loop }
        /// Lets everything go that keeps this object, then uses it.
        func leave() {
            keeper?.owner = nil
            watch?.cancel()
            watch = nil
            timer = nil
            log.append("after")
            loop.stop()
        }
    }
    private final class Keeper { var owner: Owner? }

    @Test(arguments: [true, false]) func anOwnerLivesThroughItsOwnRelease(_ byTimer: Bool) throws {
        let loop = try EventLoop()
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        defer { close(ends[0]); close(ends[1]) }
        let keeper = Keeper()
        weak var seen: Owner?
        do {
            let owner = Owner(loop)
            owner.keeper = keeper
            keeper.owner = owner
            seen = owner
            if byTimer {
                owner.timer = loop.timer(for: owner) {
                    $0.leave(); $0.leave()
                }
                owner.timer?.arm(after: .zero)
            } else {
                owner.watch = loop.watch(ends[0])
                owner.watch?.onReadable(for: owner) {
                    $0.leave(); $0.leave()
                }
                owner.watch?.wantsRead = true
                write(ends[1], "x", 1)
            }
        }
        loop.run()
        #expect(keeper.owner == nil && seen == nil, "and not longer")
    }

    @Test func theCallbackOfAnOwnerThatIsGoneDoesNothing() throws {
        let loop = try EventLoop()
        var called = false
        var owner: Keeper? = Keeper()
        let timer = loop.timer(for: owner!) { _ in called = true }
        owner = nil
        timer.arm(after: .zero)
        _ = loop.run(until: .milliseconds(20)) { called }
        #expect(!called)
    }
}
