import Measures
import Subflow
import Testing

@Suite struct PipeTests {
    static func configuration(_ random: inout SeededRandom) -> SubflowConfiguration {
        var c = SubflowConfiguration()
        c.maximumSegmentSize = [536, 1000, 1400].randomElement(using: &random)!
        c.congestion = CongestionAlgorithm.allCases.randomElement(using: &random)!
        c.timestamps = random.chance(0.3)
        c.selectiveAcknowledgement = random.chance(0.85)
        c.windowScale = UInt8(random.next() % 10)
        c.windowScope = random.chance(0.5) ? .connection : .subflow
        c.paced = random.chance(0.7)
        c.minimumRTO = .milliseconds(random.chance(0.5) ? 200 : 50)
        return c
    }

    /// Everything arrives exactly once and both ends close, whatever the network does.
    @Test func hundredsOfSeeds() {
        for seed in UInt64(1)...400 {
            var random = SeededRandom(seed: seed)
            var ca = Self.configuration(&random), cb = Self.configuration(&random)
            ca.earlyData = random.chance(0.5)
            cb.earlyData = ca.earlyData
            cb.windowScope = ca.windowScope
            var faults = LinkFaults()
            faults.delay = .milliseconds(Int64(random.next() % 60 + 1))
            faults.jitter = random.chance(0.5) ? .milliseconds(Int64(random.next() % 40)) : .zero
            faults.loss = [0, 0.01, 0.05, 0.2].randomElement(using: &random)!
            faults.duplication = random.chance(0.3) ? 0.05 : 0
            faults.rate = random.chance(0.5) ? 250_000 : 0
            let totals = [0, 1, 1400, 20_000, 80_000]
            let pipe = Pipe(
                seed: seed &* 7919, a: totals.randomElement(using: &random)!,
                b: totals.randomElement(using: &random)!, configurationA: ca, configurationB: cb,
                faults: faults,
                sequence: UInt32(truncatingIfNeeded: 0 &- random.next() % 100_000))
            pipe.a.waitsForPeer = random.chance(0.3)
            let failure = pipe.run(until: Instant.zero + .seconds(600)) ?? pipe.verdict()
            #expect(failure == nil, "seed \(seed): \(failure ?? "")")
        }
    }

    @Test func sameSeedSameTrace() {
        func trace() -> UInt64 {
            var faults = LinkFaults()
            faults.loss = 0.05
            faults.jitter = .milliseconds(10)
            let pipe = Pipe(
                seed: 5, a: 100_000, b: 30_000, configurationA: SubflowConfiguration(),
                configurationB: SubflowConfiguration(), faults: faults, sequence: 77)
            _ = pipe.run(until: Instant.zero + .seconds(600))
            return pipe.trace
        }
        #expect(trace() == trace())
    }
}
