import Measures

extension LineTrial {
    private static func at(_ seconds: Double) -> Instant {
        .zero + .nanoseconds(Int64(seconds * 1e9))
    }

    private static func line(
        _ megabits: Double, _ roundTrip: Double, queue: Int = 1_600_000
    ) -> LinkConditions {
        LinkConditions(
            rate: Rate(bytesPerSecond: Int64(megabits * 125_000)),
            delay: .nanoseconds(Int64(roundTrip * 5e5)), queueLimit: queue)
    }

    private static func trial(
        _ name: String, _ up: LinkConditions, _ down: LinkConditions, end: Double,
        streams: [StreamPlan] = [], isUpload: Bool = false, beside: LinkConditions? = nil,
        _ changes: [(at: Double, change: Fault.Change)] = []
    ) -> LineTrial {
        var uplinks = [UplinkPlan(up: up, down: down)]
        if let beside { uplinks.append(UplinkPlan(beside)) }
        let bulk = Supply.bulk(2_000_000_000)
        var scenario = Scenario(
            uplinks: uplinks,
            streams: streams.isEmpty
                ? [
                    isUpload
                        ? StreamPlan(initiator: bulk, listener: .nothing)
                        : StreamPlan(initiator: .nothing, listener: bulk)
                ] : streams)
        scenario.faults = changes.map { Fault(at: at($0.at), uplink: 0, change: $0.change) }
        return LineTrial(name: name, scenario: scenario, isUpload: isUpload, end: at(end))
    }

    private static func both(_ c: LinkConditions) -> Fault.Change { .conditions(up: c, down: c) }

    /// All of them.
    public static var all: [LineTrial] {
        var all: [LineTrial] = []
        let bulk = Supply.bulk(2_000_000_000)
        func down(_ n: Int = 1, at t: Double = 0) -> [StreamPlan] {
            (0..<n).map { _ in StreamPlan(at: at(t), initiator: .nothing, listener: bulk) }
        }
        // Rates that change.
        for factor in [2, 5, 13, 40, 100] {
            let a = line(12.8, 40)
            let b = line(12.8 / Double(factor), 40)
            all.append(trial("slower-\(factor)", a, a, end: 40, [(4, both(b)), (25, both(a))]))
            all.append(trial("slower-\(factor)-in-startup", a, a, end: 30, [(0.35, both(b))]))
            all.append(
                trial(
                    "slower-\(factor)-drop", a, a, end: 40,
                    [
                        (
                            4,
                            both(
                                b.with {
                                    $0.queueLimit = max(9000, b.rate!.bytes(in: .milliseconds(300)))
                                })
                        ), (25, both(a))
                    ]))
            all.append(
                trial(
                    "slower-\(factor)-up", a, a, end: 40, isUpload: true,
                    [(4, both(b)), (25, both(a))]))
            all.append(
                trial(
                    "slower-\(factor)-beside", a, a, end: 40, beside: line(5, 60),
                    [(4, both(b)), (25, both(a))]))
            all.append(
                trial(
                    "slower-\(factor)-streams", a, a, end: 40, streams: down(4),
                    [(4, both(b)), (25, both(a))]))
        }
        for t in [0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0] {
            let a = line(12.8, 40), b = line(0.32, 40)
            all.append(trial("early-40-\(t)", a, a, end: 30, [(t, both(b))]))
        }
        for period in [2.0, 5, 10] {
            let a = line(20, 30), b = line(0.5, 30)
            var changes: [(at: Double, change: Fault.Change)] = []
            var t = 4.0, slow = true
            while t < 44 { changes.append((t, both(slow ? b : a))); slow.toggle(); t += period }
            all.append(trial("swings-\(period)", a, a, end: 44, changes))
        }
        // Round trips that change.
        let short = line(8, 4), long = line(8, 124)
        all.append(trial("longer", short, short, end: 30, [(4, both(long)), (16, both(short))]))
        var changes: [(at: Double, change: Fault.Change)] = []
        for i in 0..<12 {
            changes.append((4 + Double(i) * 3, both(line(8, i % 2 == 0 ? 200 : 20))))
        }
        all.append(trial("swinging-rtt", short, short, end: 40, changes))
        changes = []
        for i in 0..<60 { changes.append((4 + Double(i) * 0.6, both(line(8, 40 + Double(i) * 5)))) }
        all.append(
            trial("rising-rtt", line(8, 40), line(8, 40), end: 40, changes))
        all.append(trial("jumps-and-slower", short, short, end: 30, [(4, both(line(1, 124)))]))
        all.append(
            trial("jumps-and-faster", line(1, 4), line(1, 4), end: 30, [(4, both(line(40, 124)))]))
        // Kinds of lines.
        all.append(trial("asymmetrical", line(0.3, 40), line(10, 40), end: 20))
        all.append(
            trial(
                "asymmetrical-both", line(0.3, 40), line(10, 40), end: 30,
                streams: down() + [StreamPlan(initiator: bulk, listener: .nothing)]))
        all.append(trial("satellite", line(20, 600), line(20, 600), end: 40))
        all.append(
            trial(
                "satellite-slower", line(20, 600), line(20, 600), end: 60,
                [(15, both(line(2, 600))), (40, both(line(20, 600)))]))
        all.append(trial("gigabit", line(1000, 1), line(1000, 1), end: 5))
        all.append(
            trial("gigabit-slower", line(1000, 1), line(1000, 1), end: 10, [(2, both(line(25, 1)))])
        )
        all.append(trial("dial-up", line(0.05, 100), line(0.05, 100), end: 60))
        let shallow = line(8, 40, queue: 6000)
        all.append(trial("shallow", shallow, shallow, end: 20))
        // From a deep queue to a shallow one at a fortieth.
        all.append(
            trial(
                "policed", line(12.8, 40), line(12.8, 40), end: 30,
                [(4, both(line(0.32, 40, queue: 6000)))]))
        // Acknowledgements that come in clumps.
        for ms in [50.0, 100, 300] {
            changes = []
            var t = 4.0
            while t < 24 {
                changes.append((t, .outage(.stall, .up)))
                changes.append((t + ms / 1000, .outage(.none, .up)))
                t += ms / 1000 + 0.005
            }
            all.append(trial("clumps-\(Int(ms))", line(12.8, 40), line(12.8, 40), end: 24, changes))
            changes = []
            t = 4.0
            while t < 24 {
                changes.append((t, .outage(.stall, .down)))
                changes.append((t + ms / 1000, .outage(.none, .down)))
                t += ms / 500
            }
            all.append(trial("slots-\(Int(ms))", line(12.8, 40), line(12.8, 40), end: 24, changes))
        }
        // Limited by the application, or by who reads.
        func steady(_ bytesPerSecond: Int) -> [StreamPlan] {
            [
                StreamPlan(
                    initiator: .nothing,
                    listener: .constantRate(
                        chunk: bytesPerSecond / 50, period: .milliseconds(20), total: 1_000_000_000)
                )
            ]
        }
        let a = line(12.8, 40), slow = line(0.32, 40), half = line(0.64, 40)
        all.append(
            trial(
                "application", a, a, end: 40, streams: steady(60_000),
                [(10, both(slow)), (25, both(a))]))
        all.append(
            trial(
                "application-fits", a, a, end: 40, streams: steady(35_000),
                [(10, both(slow)), (25, both(a))]))
        var reading = down()
        reading[0].initiatorReader = .slow(Rate(bytesPerSecond: 60_000))
        all.append(
            trial("reader", a, a, end: 40, streams: reading, [(10, both(slow)), (25, both(a))]))
        all.append(
            trial("reader-half", a, a, end: 40, streams: reading, [(10, both(half)), (25, both(a))])
        )
        // Much, nothing for a minute, and a line that became slower meanwhile.
        let later = [
            StreamPlan(initiator: .nothing, listener: .bulk(6_000_000)),
            StreamPlan(at: at(60), initiator: .nothing, listener: bulk)
        ]
        all.append(
            trial(
                "silence-slower", a, a, end: 90, streams: later,
                [(40, both(slow)), (59, both(slow))]))
        all.append(
            trial(
                "silence-faster", slow, slow, end: 90,
                streams: [
                    StreamPlan(initiator: .nothing, listener: .bulk(300_000)),
                    StreamPlan(at: at(60), initiator: .nothing, listener: bulk)
                ],
                [(40, both(a)), (59, both(a))]))
        // One stream that pauses and goes on: requests of the same connection.
        let pages = [
            StreamPlan(
                initiator: .requests(count: 400, size: 300, responseSize: 200_000),
                listener: .responses(count: 400, size: 200_000, requestSize: 300))
        ]
        all.append(trial("pages", a, a, end: 40, streams: pages, [(10, both(slow)), (25, both(a))]))
        // Losses and disorder.
        for loss in [0.01, 0.05, 0.1, 0.3] {
            all.append(
                trial(
                    "loss-\(loss)", a.with { $0.loss = .random(loss) },
                    a.with { $0.loss = .random(loss) }, end: 20))
            let s = slow.with { $0.loss = .random(loss) }
            all.append(trial("loss-\(loss)-slower", a, a, end: 30, [(4, both(s))]))
        }
        for ms in [2, 5, 15] as [Int64] {
            let d = a.with {
                $0.reordering = 0.2; $0.reorderDelay = .milliseconds(ms)
            }
            all.append(
                trial("disorder-\(ms)", d, d, end: 20, [(10, both(d.with { $0.rate = slow.rate }))])
            )
        }
        return all + sizes
    }

    /// Of datagrams: black holes, and what looks like one.
    private static var sizes: [LineTrial] {
        var all: [LineTrial] = []
        let a = line(12.8, 40)
        for loss in [0, 0.05, 0.1, 0.2, 0.3] {
            let l = a.with { $0.loss = loss == 0 ? .none : .random(loss) }
            for up in [false, true] {
                let way = up ? "-up" : ""
                all.append(
                    trial(
                        "hole-\(loss)\(way)", l, l, end: 20, isUpload: up, [(6, .mtu(1400, .both))])
                )
                all.append(trial("no-hole-\(loss)\(way)", l, l, end: 60, isUpload: up, []))
                all.append(
                    trial(
                        "hole-one-way-\(loss)\(way)", l, l, end: 20, isUpload: up,
                        [(6, .mtu(1400, up ? .up : .down))]))
            }
        }
        for s in [0.3, 1.0, 3, 10] {
            for (suffix, way) in [("", Fault.Direction.both), ("-down", .down), ("-up", .up)] {
                all.append(
                    trial(
                        "silence-\(s)\(suffix)", a, a, end: 40,
                        [(6, .outage(.blackHole, way)), (6 + s, .outage(.none, way))]))
            }
            all.append(
                trial(
                    "silence-\(s)-hole", a, a, end: 40,
                    [
                        (5.9, .mtu(1400, .both)), (6, .outage(.blackHole, .both)),
                        (6 + s, .outage(.none, .both))
                    ]))
        }
        var changes: [(at: Double, change: Fault.Change)] = []
        for i in 0..<8 { changes.append((4 + Double(i) * 7, .mtu(i % 2 == 0 ? 1350 : nil, .both))) }
        all.append(trial("swinging-size", a, a, end: 60, changes))
        all.append(
            trial(
                "narrower", a, a, end: 40,
                [
                    (4, .mtu(1450, .both)), (12, .mtu(1400, .both)), (20, .mtu(1320, .both)),
                    (28, .mtu(1280, .both))
                ]))
        all.append(
            trial("too-narrow", a, a, end: 20, beside: line(5, 60), [(6, .mtu(1200, .both))]))
        for ms in [5, 40, 150] as [Int64] {
            let d = a.with {
                $0.reordering = 0.2; $0.reorderDelay = .milliseconds(ms)
            }
            all.append(trial("late-\(ms)", d, d, end: 40))
            all.append(trial("late-\(ms)-hole", d, d, end: 20, [(6, .mtu(1400, .both))]))
        }
        all.append(
            trial(
                "slower-40-hole", a, a, end: 40, [(6, both(line(0.32, 40))), (7, .mtu(1400, .both))]
            ))
        let s = a.with { $0.queueLimit = 30_000 }
        all.append(
            trial(
                "streams-no-hole", s, s, end: 40,
                streams: (0..<8).map { _ in
                    StreamPlan(initiator: .nothing, listener: .bulk(2_000_000_000))
                }))
        return all
    }
}
