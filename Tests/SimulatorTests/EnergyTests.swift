import Measures
import Multipath
import Testing

@testable import Simulator

/// The radio's state machine, worked by hand.
@Suite struct RadioMeterTests {
    /// Round numbers: idle 0.1 W; 2 W for 1 s to wake; 1 W for 2 s, 0.5 W for 3 s; 1 and 2 J a
    /// Mbit.
    private static let text = """
        name test  # a comment
        idle 100
        promotion 2000 1000
        level high 1000 2000
        level low 500 3000 promotion 1500 400
        up 1000
        down 2000
        """
    private func meter() throws -> RadioMeter {
        RadioMeter(try RadioProfile(Self.text), from: .zero)
    }
    private func second(_ s: Double) -> Instant { .zero + Interval(seconds: s) }
    private func isNear(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 1e-9 }

    @Test func restCostsIdlePower() throws {
        var meter = try meter()
        meter.advance(to: second(60))
        #expect(isNear(meter.energy, 6) && meter.promotions == 0)
    }

    @Test func onePacketSent() throws {
        var meter = try meter()
        // 125,000 bytes are one Mbit.
        meter.packet(125_000, isUp: true, at: second(10))
        meter.advance(to: second(30))
        // 10 s idle, 1 s waking, 2 s high, 3 s low, 14 s idle, 1 J for the bits.
        #expect(isNear(meter.energy, 1 + 2 + 2 + 1.5 + 1.4 + 1), "\(meter.energy)")
        #expect(isNear(meter.energyOfBits, 1) && meter.promotions == 1)
    }

    @Test func onePacketReceived() throws {
        var meter = try meter()
        meter.packet(125_000, isUp: false, at: second(10))
        meter.advance(to: second(30))
        // It woke the radio a second ago: 9 s idle, 1 s waking, 2 s high, 3 s low, 15 s idle, 2 J.
        #expect(isNear(meter.energy, 0.9 + 2 + 2 + 1.5 + 1.5 + 2), "\(meter.energy)")
    }

    @Test func packetsKeepItAwake() throws {
        var meter = try meter()
        for i in 0..<20 { meter.packet(0, isUp: i % 2 == 0, at: second(10 + 1.5 * Double(i))) }
        meter.advance(to: second(100))
        // Sent at 10 s; awake from 11 s to the last at 38.5 s, then the tail to 43.5 s.
        #expect(isNear(meter.energy, 1 + 2 + 27.5 + 2 + 1.5 + 5.65), "\(meter.energy)")
        #expect(meter.promotions == 1)
    }

    @Test func fromTheLowerLevelItClimbsAgain() throws {
        var meter = try meter()
        meter.packet(0, isUp: true, at: second(0))
        // High from 1 to 3 s, low from then: at 4 s it goes up for 0.4 s.
        meter.packet(0, isUp: true, at: second(4))
        meter.advance(to: second(4.4))
        #expect(isNear(meter.energy, 2 + 2 + 0.5 + 0.6), "\(meter.energy)")
        meter.advance(to: second(20))
        #expect(isNear(meter.energy, 5.1 + 2 + 1.5 + 1.06), "\(meter.energy)")
        #expect(meter.promotions == 1)  // from idle
        // Received: what lies before it was at most as long as the level lasted.
        var other = try self.meter()
        other.packet(0, isUp: true, at: second(0))
        other.packet(0, isUp: false, at: second(3.1))
        #expect(isNear(other.energy, 2 + 2 + 0.1 * 1.5), "\(other.energy)")
    }

    @Test func onWhatIsWrong() {
        for text in [
            "name a\nlevel x 1", "level x 1 1", "name a", "name a\nlevel x 1 1\nidle -1",
            "name a\nlevel x 1 1 promotion 2", "name a\nlevel x 1 1\nwhat 1",
            "name a\nlevel x 1 1\nidle nan", "name a\nlevel x 1 1e300"
        ] {
            #expect(throws: RadioProfile.Problem.self) { try RadioProfile(text) }
        }
    }
}

@Suite struct RadioProfileTests {
    @Test func theShippedOnes() throws {
        let names = RadioProfile.shipped.map(\.name)
        #expect(
            names == [
                "3g-huang", "3g-balasubramanian", "3g-n950", "lte-huang", "wifi-huang",
                "wifi-balasubramanian", "wifi-n950"
            ])
        func profile(_ name: String) throws -> RadioProfile {
            try #require(RadioProfile.named(name))
        }
        // What the sources say, beside what the files were made from.
        #expect(try profile("3g-n950").tail == .seconds(7))
        #expect(try profile("3g-balasubramanian").tail == .milliseconds(12_500))
        #expect(abs(try profile("3g-balasubramanian").promotion.energy - 3.5) < 1e-9)
        #expect(abs(try profile("3g-balasubramanian").tailEnergy - 7.75) < 1e-9)
        // And what its authors work out from it: 50 kB, received at 1 Mbit/s, cost 12.5 J.
        var meter = RadioMeter(try profile("3g-balasubramanian"), from: .zero)
        let asked = Instant.zero + .seconds(100)
        meter.packet(0, isUp: true, at: asked)
        for i in 0..<50 {
            meter.packet(1_000, isUp: false, at: asked + .seconds(2) + .milliseconds(8) * Int64(i))
        }
        meter.advance(to: asked + .seconds(20))
        let energy = meter.energy - 2 - 0.02 * 5
        #expect(abs(energy - 12.5) < 0.25, "\(energy) J")
        #expect(try profile("lte-huang").tail == .milliseconds(11_576))
        let tail = try profile("3g-huang").tail
        #expect(abs(tail.seconds - (8.0882 + 0.8242)) < 1e-6)
        // 1210.7 mW for 260.1 ms.
        #expect(abs(try profile("lte-huang").promotion.energy - 0.314_903) < 1e-5)
    }

    /// "If only one packet is transferred, the energy usage considering both promotion and tail
    /// energy for LTE, 3G and WiFi is 12.76 J, 7.38 J and 0.04 J" (Huang et al.). The first 100 ms
    /// are at the power of what is carried here.
    @Test(arguments: [
        ("lte-huang", 12.76, 0.03), ("3g-huang", 7.38, 0.005), ("wifi-huang", 0.04, 0.005)
    ])
    func onePacketCosts(_ name: String, _ joules: Double, _ tolerance: Double) throws {
        let profile = try #require(RadioProfile.named(name))
        let energy = profile.promotion.energy + profile.tailEnergy
        #expect(abs(energy - joules) < tolerance, "\(energy) J")
    }
}

@Suite struct EnergyTrialTests {
    private func trial(_ uses: EnergyTrial.Uses) throws -> EnergyTrial {
        let radios = try ["wifi-n950", "3g-n950"].map { try #require(RadioProfile.named($0)) }
        return EnergyTrial(
            uses, rate: .megabitsPerSecond(1), radios: radios, size: 100_000, count: 2,
            pause: .seconds(5))
    }

    /// 100 kB at 1 Mbit/s take 0.8 s and more; with two pauses 11.7 s and more.
    @Test func pausesAndTails() throws {
        let wifi = try trial(.wifi).run(), cellular = try trial(.cellular).run()
        #expect(wifi.failure == nil && cellular.failure == nil)
        #expect(wifi.bits == 1_600_000)
        #expect(wifi.duration > .seconds(11) && wifi.duration < .seconds(13))
        // The radio that isn't used is idle.
        #expect(wifi.energies[1].promotions == 0 && cellular.energies[0].promotions == 0)
        // WiFi sleeps in the pauses, 3G never: 7 s of tail.
        #expect(wifi.energies[0].promotions >= 2 && cellular.energies[1].promotions == 1)
        let least = (cellular.duration - .seconds(2)).seconds * 0.8179
        #expect(cellular.energies[1].joules > least, "\(cellular.energies[1].joules)")
        #expect(wifi.energies[0].joules < 0.25 * cellular.energies[1].joules)
    }

    @Test func theSameTraceGivesTheSameEnergy() throws {
        let trial = try trial(.both), outcome = trial.run()
        #expect(outcome.failure == nil)
        let again = outcome.trace.energies(
            trial.radios, from: EnergyTrial.start, to: EnergyTrial.start + outcome.duration)
        #expect(again == outcome.energies)
        // Two halves are the whole.
        let middle = EnergyTrial.start + outcome.duration / 2
        let halves = [
            outcome.trace.energies(trial.radios, from: EnergyTrial.start, to: middle),
            outcome.trace.energies(
                trial.radios, from: middle, to: EnergyTrial.start + outcome.duration)
        ]
        for radio in 0..<2 {
            let sum = halves[0][radio].joules + halves[1][radio].joules
            // A promotion that an arrival shows may have begun before the middle.
            #expect(abs(sum - outcome.energies[radio].joules) < 0.3)
        }
    }
}
