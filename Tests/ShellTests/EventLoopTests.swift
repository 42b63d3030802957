import Glibc
import Measures
import Testing
@testable import Shell

@Suite struct EventLoopTests {
    @Test func timersFireInOrderAndNotEarly() throws {
        let loop = try EventLoop()
        var fired: [Int] = []
        let start = loop.now()
        let late = loop.timer { fired.append(2); loop.stop() }
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
        #expect(order == "abh" || order == "bah")
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

    @Test func signalsArriveInTheLoop() throws {
        let loop = try EventLoop()
        var got = 0
        loop.onSignal(SIGUSR2) { got += 1; loop.stop() }
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
        watch?.onReadable = { watch?.cancel(); watch = nil; loop.stop() }
        watch?.wantsRead = true
        write(ends[1], "x", 1)
        loop.run()
        #expect(watch == nil)
    }
}
