import Measures
import Multipath
import Simulator
import Testing

/// A backup radio that nobody needs is left asleep: its path sends nothing.
@Suite struct IdleBackupTests {
    private static let applications: [(String, HandoverTrial.Application)] = [
        ("download", .download), ("upload", .upload), ("stream", .paperStream),
        ("voice", .paperVoice)
    ]

    /// Datagrams on the cellular link, counted from 8 s after the application's beginning, when
    /// the path is known, to a loss that is far away.
    @Test(arguments: [HandoverMode.backup, .single], applications.map(\.0))
    func nothingWhileAnotherWorks(mode: HandoverMode, name: String) {
        let application = Self.applications.first { $0.0 == name }!.1
        var trial = HandoverTrial(application, mode, .visible, seed: 3)
        trial.lossAfter = .seconds(100)
        trial.tail = .milliseconds(1)
        trial.cellular.radio = .init(sleepsAfter: .seconds(3), wakeTime: .seconds(2))
        var times: [Double] = []
        let from = HandoverTrial.start + .seconds(8)
        _ = trial.run { world in
            let before = world.observer
            world.observer = { now, fromProxy, uplink, bytes in
                before?(now, fromProxy, uplink, bytes)
                if uplink == 1, now >= from, now < trial.lossAt {
                    times.append(Double(now.nanoseconds) / 1e9)
                }
            }
        }
        #expect(times.isEmpty, "\(name), \(mode): \(times.count) datagrams: \(times)")
    }

    /// Nobody waits for anything: the cellular link sees nothing until WiFi is lost, and then a
    /// keepalive every 20 s; one that is kept warm sees them all the time.
    @Test(arguments: [false, true]) func nothingAtAllWhileIdle(isWarm: Bool) {
        var trial = HandoverTrial(
            .stream(chunk: 1, period: .seconds(3600)), .backup, .visible, seed: 3)
        trial.lossAfter = .seconds(200)
        trial.tail = .seconds(101)
        trial.cellular.isWarm = isWarm
        var before = 0, after = 0
        let from = HandoverTrial.start + .seconds(8)
        let record = trial.run { world in
            world.observer = { now, _, uplink, _ in
                guard uplink == 1, now >= from else { return }
                if now < trial.lossAt { before += 1 }
                if now > trial.lossAt + .seconds(10) { after += 1 }
            }
        }
        #expect(record.failure == nil)
        #expect(isWarm ? (2 * 9...2 * 11).contains(before) : before == 0, "\(before)")
        // A keepalive every 20 s is a question and an answer.
        #expect((2 * 4...2 * 8).contains(after), "\(after)")
    }

    /// The backup path's NAT has forgotten it while all was idle, and WiFi falls silent in the
    /// middle of a download: the proxy's word makes the binding anew.
    @Test func whatTheNATForgotCostsARoundTripAtMost() {
        func gap(forgets: Bool, seed: UInt64) -> Interval {
            let at = Instant.zero + .seconds(66) + .milliseconds(Int64(seed) * 23)
            var cellular = UplinkPlan(.cellular)
            cellular.isBackup = true
            var scenario = Scenario(
                uplinks: [UplinkPlan(.wifi), cellular],
                streams: [
                    StreamPlan(at: .zero + .seconds(1), initiator: .nothing, listener: .bulk(1)),
                    StreamPlan(
                        at: .zero + .seconds(60), initiator: .nothing, listener: .bulk(20_000_000))
                ])
            scenario.faults = [
                Fault(at: .zero + .seconds(50), uplink: 1, change: .rebind),
                Fault(at: at, uplink: 0, change: .outage(.blackHole, .both))
            ]
            if !forgets { scenario.faults.removeFirst() }
            var options = World.Options()
            options.mode = .backup
            let world = World(scenario, seed: seed, options: options)
            world.streams[1].initiator.log.keepsArrivals = true
            world.run(until: at + .seconds(5), mayStop: true)
            #expect(world.failure == nil)
            return world.streams[1].initiator.log.longestGap(from: at, to: at + .seconds(4))
        }
        for seed in 1...5 as ClosedRange<UInt64> {
            let usual = gap(forgets: false, seed: seed), more = gap(forgets: true, seed: seed)
            // The cellular link's round trip, and what a challenge takes.
            #expect(more < usual + .milliseconds(150), "\(usual) and \(more), seed \(seed)")
        }
    }
}
