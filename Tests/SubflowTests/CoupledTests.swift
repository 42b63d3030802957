import Measures
import Testing

@testable import Subflow

/// LIA, OLIA and BALIA against their defining texts, worked by hand.
@Suite struct CoupledRuleTests {
    private typealias Path = CongestionCoupling.Path
    private static let segment = 1000.0

    private func path(_ segments: Double, _ milliseconds: Double, distance: Double = 0) -> Path {
        Path(window: segments * Self.segment, rtt: milliseconds / 1000, lossDistance: distance)
    }
    private func isNear(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-9 * max(1, abs(b)) }
    private func shift(_ paths: [Path]) -> Double {
        CoupledRule.shift(paths, segment: Self.segment)
    }
    /// For one segment acknowledged, in segments.
    private func growth(_ rule: CoupledRule, _ paths: [Path]) -> Double {
        rule.increase(paths, acknowledged: Self.segment, segment: Self.segment) / Self.segment
    }

    /// RFC 6356 section 3, equation 2: alpha = total * max(w/rtt^2) / (sum of w/rtt)^2.
    @Test func alphaByHand() {
        // Two alike, 10 segments and 100 ms: 20 * (10/0.01) / (100 + 100)^2 = 1/2.
        #expect(isNear(CoupledRule.alpha([path(10, 100), path(10, 100)]), 0.5 / 1))
        // 10 at 100 ms, 20 at 50 ms: 30 * max(1000, 8000) / (100 + 400)^2 = 0.96.
        #expect(isNear(CoupledRule.alpha([path(10, 100), path(20, 50)]), 0.96))
        // One alone: 10 * 1000 / 100^2 = 1, which is TCP.
        #expect(isNear(CoupledRule.alpha([path(10, 100)]), 1))
    }

    @Test func liaIsTheLesserOfBoth() {
        // Two alike: alpha / total = 0.5 / 20, and not 1 / 10.
        #expect(isNear(growth(.lia, [path(10, 100), path(10, 100)]), 0.5 / 20))
        // 2 at 100 ms beside 30 at 10 ms: alpha = 32 * 300000 / (20 + 3000)^2 = 1.0526; alpha / 32
        // is 0.0329, which is above 1 / 30 for neither: the small window takes it, too.
        let alpha = 32.0 * 300_000 / (3020 * 3020)
        #expect(isNear(growth(.lia, [path(2, 100), path(30, 10)]), alpha / 32))
        #expect(isNear(growth(.lia, [path(30, 10), path(2, 100)]), min(alpha / 32, 1.0 / 30)))
    }

    /// draft-khalili section 2: w/rtt^2 / (sum of w/rtt)^2 + alpha / w.
    @Test func oliaByHand() {
        // Two alike in windows: no path to move to, alpha is zero. 1000 / 200^2 = 1/40.
        let alike = [path(10, 100, distance: 5), path(10, 100, distance: 5)]
        #expect(isNear(growth(.olia, alike), 1.0 / 40))
        // The second is better (more bytes between losses) and smaller: it gains 1/(2*1)/w, the
        // first gives as much.
        let small = path(5, 100, distance: 90), great = path(10, 100, distance: 10)
        #expect(isNear(shift([small, great]), 0.5))
        #expect(isNear(shift([great, small]), -0.5))
        #expect(isNear(growth(.olia, [small, great]), 500.0 / (150 * 150) + 0.5 / 5))
        #expect(isNear(growth(.olia, [great, small]), 1000.0 / (150 * 150) - 0.5 / 10))
        // The best path has the greatest window already: nothing is moved.
        let best = path(10, 100, distance: 90), worse = path(5, 100, distance: 10)
        #expect(shift([best, worse]) == 0 && shift([worse, best]) == 0)
        // Neither best nor greatest: nothing, beside one that gains and one that gives.
        let third = path(7, 100, distance: 20)
        #expect(shift([third, small, great]) == 0)
        #expect(isNear(shift([small, great, third]), 1.0 / 3))
    }

    /// draft-walid section 3: x/rtt / (sum x)^2 * (1 + a)/2 * (4 + a)/5, a = max x / x.
    @Test func baliaByHand() {
        let alike = [path(10, 100), path(10, 100)]
        #expect(isNear(growth(.balia, alike), 1000.0 / (200 * 200)))
        #expect(isNear(CoupledRule.balia.kept(alike), 0.5))
        // 10 at 100 ms (100/s) beside 20 at 50 ms (400/s): a = 4.
        let slow = [path(10, 100), path(20, 50)], fast = [path(20, 50), path(10, 100)]
        #expect(isNear(growth(.balia, slow), 1000.0 / (500 * 500) * 2.5 * 1.6))
        #expect(isNear(growth(.balia, fast), 8000.0 / (500 * 500)))
        // The slow one falls by 1.5 halves, the fast one by one.
        #expect(isNear(CoupledRule.balia.kept(slow), 0.25))
        #expect(isNear(CoupledRule.balia.kept(fast), 0.5))
        #expect(CoupledRule.lia.kept(slow) == 0.5 && CoupledRule.olia.kept(slow) == 0.5)
    }

    /// Whatever the windows and round trips, LIA never grows faster than TCP on a path, and the
    /// whole grows no faster than TCP would on the best of them (the aim of RFC 6356 section 1.1).
    @Test func boundsOnDrawnPaths() {
        var random = SeededRandom(seed: 13)
        for _ in 0..<2000 {
            let count = 1 + Int(random.next() % 4)
            let paths = (0..<count).map { _ in
                path(2 + 500 * random.unit(), 1 + 600 * random.unit(), distance: random.unit())
            }
            for i in paths.indices {
                var order = paths
                order.swapAt(0, i)
                let alone = Self.segment / order[0].window
                let lia = growth(.lia, order)
                #expect(lia <= alone * (1 + 1e-9) && lia > 0)
                for rule in [CoupledRule.olia, .balia] {
                    #expect(growth(rule, order).isFinite)
                }
                #expect(growth(.balia, order) > 0)
                let kept = CoupledRule.balia.kept(order)
                #expect(kept >= 0.25 && kept <= 0.5)
            }
            // Acknowledgements come at w/rtt on each: the segments that all windows together gain
            // in a second, beside one a round trip, as TCP on the path with the shortest.
            let gained = paths.indices.reduce(0.0) { sum, i in
                var order = paths
                order.swapAt(0, i)
                let rate = order[0].window / order[0].rtt / Self.segment
                return sum + growth(.lia, order) * rate
            }
            let best = paths.map { 1 / $0.rtt }.max()!
            #expect(gained <= best * (1 + 1e-9))
        }
    }
}

@Suite struct CoupledControllerTests {
    private static let segment = 1000

    private func sample(
        _ bytes: Int, at now: Instant, rtt: Interval = .milliseconds(100)
    )
        -> AcknowledgementSample
    {
        var sample = AcknowledgementSample()
        sample.now = now
        sample.bytes = bytes
        sample.rtt = rtt
        sample.smoothedRTT = rtt
        sample.minimumRTT = rtt
        sample.isWindowLimited = true
        return sample
    }

    /// Out of slow start, with `segments` in the window.
    private func controller(
        _ algorithm: CongestionAlgorithm, segments: Int
    )
        -> CongestionController
    {
        let c = CongestionController.make(
            algorithm, segmentSize: Self.segment, initialWindow: 2 * segments * Self.segment)
        c.congestionEvent(inFlight: 0, at: .zero)
        #expect(c.window == segments * Self.segment)
        return c
    }

    @Test(arguments: [CongestionAlgorithm.lia, .olia, .balia])
    func aloneItIsNewReno(_ algorithm: CongestionAlgorithm) {
        let coupled = controller(algorithm, segments: 20)
        let plain = controller(.newReno, segments: 20)
        coupled.couple(with: CongestionCoupling())
        var random = SeededRandom(seed: 5)
        var now = Instant.zero
        for round in 0..<4000 {
            now += .milliseconds(5)
            let acknowledgement = sample(Self.segment * (1 + Int(random.next() % 2)), at: now)
            coupled.acknowledged(acknowledgement)
            plain.acknowledged(acknowledgement)
            // NewReno grows by a whole segment a window, the others by parts of it.
            let difference = abs(coupled.window - plain.window)
            #expect(difference <= 2 * Self.segment, "\(round): \(coupled.window) \(plain.window)")
            if round % 701 == 700 {
                for c in [coupled, plain] { c.congestionEvent(inFlight: c.window, at: now) }
            }
            if round % 1801 == 1800 {
                for c in [coupled, plain] { c.timedOut(inFlight: c.window, at: now) }
                #expect(coupled.window == Self.segment)
            }
        }
    }

    /// Two like subflows together grow by half a segment for every window acknowledged on both: as
    /// one TCP of both windows would, that is acknowledged twice as much a round trip.
    @Test(arguments: [CongestionAlgorithm.lia, .olia, .balia])
    func twoGrowAsOne(_ algorithm: CongestionAlgorithm) {
        let coupling = CongestionCoupling()
        let pair = [controller(algorithm, segments: 40), controller(algorithm, segments: 40)]
        for c in pair { c.couple(with: coupling) }
        var now = Instant.zero
        // The others must know of each: one acknowledgement without a window's worth.
        for c in pair { c.acknowledged(sample(1, at: now)) }
        let before = pair.map(\.window)
        // A quarter of a segment each for 40 acknowledged: five segments in twenty windows of 42.
        for _ in 0..<(20 * 42) {
            now += .milliseconds(2)
            for c in pair { c.acknowledged(sample(Self.segment, at: now)) }
        }
        for (c, start) in zip(pair, before) {
            let grown = (c.window - start) / Self.segment
            #expect(grown >= 4 && grown <= 6, "\(grown)")
        }
    }

    /// What carries nothing any more, or is gone, no longer holds the others back.
    @Test func idleAndEndedOnesAreNotCounted() {
        let coupling = CongestionCoupling()
        let busy = controller(.lia, segments: 40)
        busy.couple(with: coupling)
        var other: CongestionController? = controller(.lia, segments: 40)
        other?.couple(with: coupling)
        // Eight windows: two segments beside the other, eight alone.
        func growth(at now: Instant) -> Int {
            let before = busy.window
            for _ in 0..<(8 * 44) { busy.acknowledged(sample(Self.segment, at: now)) }
            return (busy.window - before) / Self.segment
        }
        other?.acknowledged(sample(1, at: .zero))
        #expect(growth(at: .zero) <= 3)
        #expect(growth(at: .zero + CongestionCoupling.idleAfter + .milliseconds(1)) >= 6)
        other?.acknowledged(sample(1, at: .zero + .seconds(10)))
        #expect(growth(at: .zero + .seconds(10)) <= 3)
        other = nil
        #expect(growth(at: .zero + .seconds(10)) >= 6)
    }
}
