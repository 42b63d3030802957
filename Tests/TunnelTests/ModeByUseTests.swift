import Measures
import Multipath
import Testing

@testable import Tunnel

/// The mode that follows from use: when it goes up, when it comes back, and that it does not flap.
@Suite struct ModeByUseTests {
    /// A machine and its clock, an interval at a time.
    private struct Clocked {
        var machine = ModeByUse()
        var now = Instant.zero + .seconds(100)
        var changes = 0
        var isMoving = false

        /// So many seconds of intervals in which the same moved.
        mutating func run(_ seconds: Double, transfer: Int = 0, exchanges: Int = 0, calls: Int = 0)
        {
            for _ in 0..<Int(seconds * 2) {
                now += ModeByUse.interval
                var seen = ModeByUse.Observation()
                seen.transferBytes = transfer
                seen.exchanges = exchanges
                seen.steadyFlows = calls
                seen.isMoving = isMoving
                if machine.observe(seen, at: now) != nil { changes += 1 }
            }
        }
    }

    @Test func restsOnOnePath() {
        var it = Clocked()
        it.run(60)
        #expect(it.machine.mode == .single && !it.machine.isWatching)
    }

    @Test func keepalivesAndSmallExchangesStaySingle() {
        var it = Clocked()
        for _ in 0..<100 {
            it.run(0.5, exchanges: 3)
            it.run(9.5)
        }
        // A page: one and a half seconds of bytes, with exchanges about it, every twenty seconds.
        for _ in 0..<50 {
            it.run(1, exchanges: 2)
            it.run(1.5, transfer: 500_000, exchanges: 1)
            it.run(17.5)
        }
        #expect(it.changes == 0)
    }

    @Test func aTransferThatLastsIsFull() {
        var it = Clocked()
        it.run(2, transfer: 100_000)
        #expect(it.machine.mode == .single)
        it.run(0.5, transfer: 100_000)
        #expect(it.machine.demand == .transfer && it.machine.mode == .full)
        // A server's pause is none.
        it.run(1)
        #expect(it.machine.mode == .full)
        it.run(1, transfer: 100_000)
        it.run(2)
        #expect(it.machine.mode == .single)
    }

    /// Where pages take 3 s, what takes as long is one; after ten minutes without that is forgotten.
    @Test func whatWasShortTellsWhatLasts() {
        var it = Clocked()
        for pause in [20.0, 30, 20] {
            it.run(3, transfer: 100_000)
            it.run(pause)
        }
        // The first of them was taken for more.
        #expect(it.changes == 2)
        it.run(4, transfer: 100_000)
        #expect(it.machine.mode == .single)
        it.run(0.5, transfer: 100_000)
        #expect(it.machine.mode == .full)
        // Short by now, it counts; five seconds last in any case.
        it.run(600)
        it.run(4.5, transfer: 100_000)
        it.run(20)
        it.run(4.5, transfer: 100_000)
        #expect(it.machine.mode == .single)
        it.run(0.5, transfer: 100_000)
        #expect(it.machine.mode == .full)
        // A long one is none of the short.
        it.run(601)
        it.run(60, transfer: 100_000)
        it.run(60)
        it.run(2.5, transfer: 100_000)
        #expect(it.machine.mode == .full)
    }

    /// After two pauses of a length the second path is there for the next page, not before and no
    /// longer than for that; one that does not come ends it.
    @Test func slowPagesAtAnEvenPaceAreFull() {
        var it = Clocked()
        for pause in [20.0, 20, 17] {
            it.run(2, transfer: 300_000)
            it.run(pause)
        }
        #expect(it.changes == 0)
        it.run(0.5)
        #expect(it.machine.mode == .full && it.machine.demand == .pages)
        it.run(2.5)
        for _ in 0..<10 {
            // Shorter by now, since both carry it.
            it.run(1.5, transfer: 300_000)
            #expect(it.machine.mode == .full)
            it.run(2)
            #expect(it.machine.mode == .single)
            it.run(15)
            #expect(it.machine.mode == .single && it.machine.isWatching)
            it.run(3)
            #expect(it.machine.mode == .full)
        }
        it.run(2.5)
        #expect(it.machine.mode == .single && !it.machine.isWatching)
        let changes = it.changes
        it.run(2, transfer: 300_000)
        it.run(60)
        #expect(it.changes == changes)
    }

    /// Who reads for other times each, or too long, or what is quick, tells nothing of the next.
    @Test(
        arguments: [
            ([12, 17, 29, 8, 40], 2), ([70, 70, 70, 70], 2), ([20, 20, 20, 20], 1.5)
        ] as [([Double], Double)])
    func otherPagesStaySingle(pauses: [Double], length: Double) {
        var it = Clocked()
        for _ in 0..<5 {
            for pause in pauses {
                it.run(length, transfer: 300_000)
                it.run(pause)
            }
        }
        #expect(it.changes == 0)
    }

    /// A page that is asked for sooner than it was expected has one path to its end.
    @Test func aPageAheadOfItsTimeStaysSingle() {
        var it = Clocked()
        for pause in [20.0, 20, 17] {
            it.run(2, transfer: 300_000)
            it.run(pause)
        }
        it.run(2, transfer: 300_000)
        it.run(3)
        #expect(it.changes == 0)
    }

    /// Pages that come as expected are no return of what had ended: the quiet time stays as it is.
    @Test func pagesAreNoFlapping() {
        var it = Clocked()
        for _ in 0..<4 {
            it.run(2, transfer: 300_000)
            it.run(12)
        }
        it.run(6, transfer: 300_000)
        #expect(it.machine.demand == .transfer)
        it.run(2)
        #expect(it.machine.mode == .single)
    }

    /// Where pauses are short the mode stays up from one transfer to the next, from the third on:
    /// the quiet time has doubled twice by then, to 6 s.
    @Test func shortPausesAreBridged() {
        var it = Clocked()
        for transfer in 1...10 {
            it.run(6, transfer: 300_000)
            #expect(it.machine.mode == .full)
            it.run(4)
            #expect(it.machine.mode == (transfer < 3 ? .single : .full), "\(transfer)")
        }
        #expect(it.changes == 5)
        it.run(1.5)
        #expect(it.machine.mode == .full)
        it.run(0.5)
        #expect(it.machine.mode == .single)
    }

    /// What trickles, slower than any modem, is no transfer.
    @Test func aTrickleIsNoTransfer() {
        var it = Clocked()
        it.run(60, transfer: 1_000)
        #expect(it.changes == 0)
    }

    @Test(arguments: [(true, HandoverMode.full), (false, .backup)])
    func aCallCountsAtOnceAndForItsPauses(isMoving: Bool, mode: HandoverMode) {
        var it = Clocked()
        it.isMoving = isMoving
        it.run(1, calls: 1)
        #expect(it.machine.demand == .call && it.machine.mode == mode)
        it.run(3)
        #expect(it.machine.mode == mode)
        it.run(1, calls: 1)
        it.run(4)
        #expect(it.machine.mode == .single)
    }

    @Test func typingIsInteractive() {
        var it = Clocked()
        it.run(2, exchanges: 1)
        #expect(it.machine.mode == .single)
        it.run(2, exchanges: 1)
        #expect(it.machine.demand == .interactive && it.machine.mode == .backup)
        // Thinking for nine seconds is not the end of it.
        it.run(9)
        #expect(it.machine.mode == .backup)
        it.run(1)
        #expect(it.machine.mode == .single)
    }

    /// Of two demands the greater counts, and the smaller one goes on where that ends.
    @Test func aCallAboveADownload() {
        var it = Clocked()
        it.run(6, transfer: 100_000)
        it.run(5, transfer: 100_000, calls: 1)
        #expect(it.machine.demand == .call)
        it.run(5, transfer: 100_000)
        #expect(it.machine.demand == .transfer)
        #expect(it.changes == 1)
    }

    /// Bursts with pauses just longer than the quiet time: each return makes it twice as patient.
    @Test func doesNotFlap() {
        var it = Clocked()
        for _ in 0..<30 {
            it.run(5.5, transfer: 100_000)
            it.run(2.5)
        }
        #expect(it.changes < 6, "\(it.changes) changes in four minutes")
        // And forgets that after half a minute's rest.
        it.run(60)
        it.run(6, transfer: 100_000)
        it.run(2)
        #expect(it.machine.mode == .single)
    }

    @Test func somebodyLooks() {
        var it = Clocked()
        it.machine.hint = .inUse
        it.run(2, exchanges: 1)
        #expect(it.machine.mode == .backup)
        it.run(3, transfer: 50_000)
        #expect(it.machine.mode == .full)
        it.run(30)
        #expect(it.machine.mode == .single)
    }

    @Test func nobodyLooks() {
        var it = Clocked()
        it.machine.hint = .idle
        it.run(30, transfer: 100_000, exchanges: 3)
        #expect(it.changes == 0)
        it.run(2, calls: 1)
        #expect(it.machine.mode == .backup)
        it = Clocked()
        it.machine.hint = .idle
        for _ in 0..<5 {
            it.run(2, transfer: 300_000)
            it.run(20)
        }
        #expect(it.changes == 0)
        // The screen goes dark during a download: it is not waited for any more.
        it = Clocked()
        it.run(6, transfer: 100_000)
        it.machine.hint = .idle
        it.run(0.5, transfer: 100_000)
        #expect(it.machine.mode == .single)
    }
}

/// The same in a session: what opens, what is sent, what is said.
@Suite struct ModeByUseSessionTests {
    private func world(_ seed: UInt64) -> World {
        let world = World(seed: seed)
        world.proxy.followUse(at: world.now)
        world.run(.seconds(1))
        return world
    }

    /// Paths that are open at the proxy.
    private func open(_ world: World) -> Int {
        world.proxy.currentSession?.paths.count { $0?.isOpen == true } ?? 0
    }

    @Test func aDownloadOpensTheSecondPathAndItsEndClosesIt() {
        let world = world(1)
        // What stood open in full mode falls silent first.
        world.run(.seconds(5))
        #expect(open(world) == 1)
        world.open(port: 40_000)
        world.run(.seconds(2))
        #expect(
            open(world) == 1 && world.proxy.report(at: world.now).sessions[0].demand == .nothing)
        world.run(.seconds(5))
        let report = world.proxy.report(at: world.now).sessions[0]
        #expect(open(world) == 2 && report.mode == .full && report.demand == .transfer)
        let before = world.down[1].carried
        world.run(.seconds(1))
        #expect(world.down[1].carried - before > 500_000, "the second path carries nothing")
        #expect(world.concentrator.report(at: world.now).sessions[0].mode == .full)
        world.run(.seconds(60)) { world.clients.allSatisfy(\.isDone) }
        world.run(.seconds(8))
        #expect(open(world) == 1)
        #expect(world.clients.allSatisfy { $0.isDone && $0.wrong == 0 })
        #expect(
            world.log.filter { $0.hasPrefix("P mode") } == [
                "P mode full for transfer", "P mode single for nothing"
            ])
    }

    /// Nothing moves: no look, no timer, no datagram beyond a session's keepalives.
    @Test func anIdleSessionIsNotLookedAt() {
        let world = world(2)
        world.run(.seconds(10))
        #expect(world.proxy.currentSession?.timers.isSet(.use) == false)
        let sent = world.sent
        world.run(.seconds(60))
        #expect(world.sent - sent < 20)
    }

    /// Connections that are quiet don't join because another one's download lasts.
    @Test func theQuietStayWhereTheyAre() {
        let world = world(3)
        for _ in 0..<20 { world.open(port: 3) }
        world.run(.seconds(5))
        world.open(port: 30_000)
        world.run(.seconds(5))
        let joined = world.clients.dropLast().filter {
            ($0.stream.connection.livingSubflows) > 1
        }
        #expect(joined.isEmpty && world.clients.last?.stream.connection.livingSubflows == 2)
        // One whose time to look for subflows has come waits for its use, and not in a circle.
        let quiet = world.clients[0]
        quiet.stream.timers[.join] = world.now + .milliseconds(100)
        world.proxy.setUplinkRole(1, isBackup: true, at: world.now)
        world.run(.milliseconds(200))
        #expect(quiet.stream.joining.isDue && quiet.stream.deadline > world.now)
        #expect(quiet.stream.connection.livingSubflows == 1)
    }

    /// Who has lost an uplink, or got one, is on the move for three minutes; whose uplink was silent
    /// for one.
    @Test func whatGoesAndWhatComesIsAMove() {
        let world = world(6)
        func isMoving() -> Bool? {
            (world.proxy.currentSession?.use.movingUntil).map { world.now < $0 }
        }
        world.run(.seconds(200))
        #expect(isMoving() == false)
        let uplink = Uplink(number: 1, name: "up1")
        world.proxy.removeUplink(1, at: world.now)
        #expect(isMoving() == false, "its path was closed: nothing went that was in use")
        world.run(.seconds(200))
        world.proxy.addUplink(uplink, at: world.now)
        #expect(isMoving() == true)
        world.run(.seconds(181))
        #expect(isMoving() == false)
        let session = world.proxy.currentSession
        let path = session?.paths.compactMap { $0 }.first { $0.uplink == 0 && $0.isOpen }
        if let session, let path { session.fallSilent(path, at: world.now) }
        #expect(isMoving() == true)
        world.run(.seconds(61))
        #expect(isMoving() == false)
        world.proxy.removeUplink(0, at: world.now)
        #expect(isMoving() == true)
    }

    @Test func aFixedModeIsLeftAlone() {
        let world = World(seed: 4, mode: .single)
        world.run(.seconds(1))
        world.open(port: 60_000)
        world.run(.seconds(8))
        #expect(open(world) == 1 && world.proxy.currentSession?.use.isOn == false)
        world.proxy.followUse(at: world.now)
        world.run(.seconds(7))
        #expect(open(world) == 2)
        world.proxy.setMode(.single, at: world.now)
        world.run(.seconds(8))
        #expect(open(world) == 1 && world.proxy.report(at: world.now).sessions[0].demand == nil)
    }

    /// A connection whose listener gave it a mode says nothing about the others'.
    @Test func modesOfTheirOwnAreNoEvidence() {
        let world = world(5)
        world.run(.seconds(5))
        world.open(port: 30_000, mode: .single)
        world.run(.seconds(8))
        #expect(
            open(world) == 1 && world.proxy.report(at: world.now).sessions[0].demand == .nothing)
    }
}
