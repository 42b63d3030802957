import Glibc
import Measures
import Multipath
import Simulator
import Subflow
import Wire

/// `simulate soak|one|segments …`: the simulator as a program, so that thousands of seeds run in
/// release mode.
///
///     simulate soak [--seeds A..B] [--world segments|tunnel|calls|flows|long] [--twice]
///     simulate one --seed N [--world segments|tunnel|calls|flows|long] [--trace]
///     simulate handovers [MODE] [APPLICATION] [LOSS] [--seeds A..B]
///     simulate signals [--seeds A..B] [--twice] [--trace]
///     simulate silences [--seeds A..B] [--trace]
///     simulate hashes [--seeds A..B]
///     simulate lines [NAME...]
///     simulate energy [WIFI CELLULAR] [wifi|cellular|both] [MODE] [warm] [spaced] [--seed N]
///     simulate commute [WIFI CELLULAR] [--seeds A..B]
///     simulate day [WIFI CELLULAR] [--seeds A..B]
///     simulate fairness [--seeds A..B] [--congestion NAME] [--round-trips MS,MS]
///         [--rates MBIT,...] [--queue MS] [--measured S] [--lines shared|separate|contended]
///     simulate handovers [MODE] [APPLICATION] [visible|silent] [return] [arrives] --seed N
/// --trace
@main struct Simulate {
    struct Arguments {
        var seeds: Range<UInt64> = 0..<200
        var world = "tunnel"
        var twice = false
        var trace = false
        var quiet = false
        /// Of all connections, where not as drawn.
        var congestion: CongestionAlgorithm?
        /// Of the two subflows of `fairness`.
        var roundTrips: [Interval]?
        /// Of `fairness`: Mbit/s of a line, what its queue holds, and for how long is measured.
        var rates = [1.0, 2, 5, 10, 20]
        /// See `rates`.
        var queue: Interval?
        /// See `rates`.
        var measured: Interval?
        /// Of `fairness`; nil: all.
        var topology: FairnessTrial.Topology?

        init?(_ words: [String]) {
            var i = 0
            func value() -> String? { i += 1; return i < words.count ? words[i] : nil }
            while i < words.count {
                switch words[i] {
                case "--seeds":
                    guard let parts = value()?.split(separator: "."),
                        parts.count == 2,
                        let a = UInt64(parts[0]),
                        let b = UInt64(parts[1]),
                        a < b
                    else { return nil }
                    seeds = a..<b
                case "--seed":
                    guard let text = value(), let a = UInt64(text) else { return nil }
                    seeds = a..<(a + 1)
                case "--world":
                    guard let name = value(),
                        ["segments", "tunnel", "calls", "flows", "long"].contains(name)
                    else {
                        return nil
                    }
                    world = name
                case "--twice": twice = true
                case "--trace": trace = true
                case "--quiet": quiet = true
                case "--congestion":
                    guard let name = value(), let a = CongestionAlgorithm(rawValue: name) else {
                        return nil
                    }
                    congestion = a
                case "--round-trips":
                    guard let parts = value()?.split(separator: ","), parts.count == 2,
                        let a = Int64(parts[0]), let b = Int64(parts[1]), a > 0, b > 0
                    else { return nil }
                    roundTrips = [.milliseconds(a), .milliseconds(b)]
                case "--rates":
                    let parts = value()?.split(separator: ",").map { Double($0) } ?? []
                    rates = parts.compactMap { $0 }.filter { $0 >= 0.1 && $0 <= 1000 }
                    guard !rates.isEmpty, rates.count == parts.count else { return nil }
                case "--queue":
                    guard let text = value(), let ms = Int64(text), (1...60_000).contains(ms)
                    else { return nil }
                    queue = .milliseconds(ms)
                case "--measured":
                    guard let text = value(), let s = Int64(text), (1...100_000).contains(s)
                    else { return nil }
                    measured = .seconds(s)
                case "--lines":
                    guard let name = value(), let known = FairnessTrial.Topology(rawValue: name)
                    else { return nil }
                    topology = known
                case "full", "backup", "single", "download", "upload", "stream", "visible",
                    "silent", "return", "asleep", "voice", "video", "voice-download":
                    break
                default: return nil
                }
                i += 1
            }
        }
    }

    static func main() {
        let words = Array(CommandLine.arguments.dropFirst())
        if words.first == "lines" {
            Lines.run(Array(words.dropFirst()))
            exit(0)
        }
        guard let command = words.first,
            [
                "soak", "one", "handovers", "signals", "silences", "hashes", "fairness", "energy",
                "day", "commute"
            ].contains(command),
            var arguments = Arguments(
                words.dropFirst().filter {
                    !["energy", "day", "commute"].contains(command) || !Energy.isWord($0)
                })
        else {
            print(
                "usage: simulate soak [--seeds A..B] [--world segments|tunnel|calls|flows|long] [--twice] [--quiet]\n"
                    + "       simulate one --seed N [--world segments|tunnel|calls|flows|long] [--trace]\n"
                    + "       simulate handovers [MODE] [APPLICATION] [LOSS] [--seeds A..B | [return] [arrives] --seed N --trace]\n"
                    + "       simulate signals [--seeds A..B] [--twice] [--trace]\n"
                    + "       simulate silences [--seeds A..B] [--trace]\n"
                    + "       simulate hashes [--seeds A..B]\n"
                    + "       simulate lines [NAME...]\n"
                    + "       simulate energy [WIFI CELLULAR] [wifi|cellular|both] [MODE] [warm] [spaced] [--seed N]\n"
                    + "       simulate commute [WIFI CELLULAR] [--seeds A..B]\n"
                    + "       simulate day [WIFI CELLULAR] [--seeds A..B]\n"
                    + "       simulate fairness [--seeds A..B] [--congestion NAME] [--round-trips MS,MS]\n"
                    + "                [--rates MBIT,...] [--queue MS] [--measured S] [--lines shared|separate|contended]\n"
                    + "soak and one take --congestion, too")
            exit(2)
        }
        if command == "handovers", words.contains("--trace") {
            Handovers.trace(words, seed: arguments.seeds.lowerBound)
            exit(0)
        }
        if command == "handovers" {
            exit(
                Handovers.run(
                    words, seeds: words.contains("--seeds") ? arguments.seeds : 0..<9) ? 0 : 1)
        }
        if command == "silences" { exit(Silences.run(arguments) ? 0 : 1) }
        if command == "signals" { exit(Signals.run(arguments) ? 0 : 1) }
        if command == "energy" {
            exit(Energy.run(words, seed: arguments.seeds.lowerBound) ? 0 : 1)
        }
        if command == "commute" {
            if !words.contains("--seeds") { arguments.seeds = 0..<3 }
            exit(Commutes.run(words, seeds: arguments.seeds) ? 0 : 1)
        }
        if command == "day" {
            if !words.contains("--seeds") { arguments.seeds = 0..<1 }
            exit(Days.run(words, seeds: arguments.seeds) ? 0 : 1)
        }
        if command == "fairness" {
            if !words.contains("--seeds") { arguments.seeds = 0..<3 }
            Fairness.run(arguments)
            exit(0)
        }
        if command == "hashes" {
            printHashes(seeds: words.contains("--seeds") ? arguments.seeds : 0..<1000)
            exit(0)
        }
        exit(run(arguments) ? 0 : 1)
    }

    /// The traces' hashes of both worlds, a line each: Tests/Vectors/trace-hashes.txt has them of
    /// the behaviour that a rearrangement must not change.
    static func printHashes(seeds: Range<UInt64>) {
        var arguments = Arguments([])!
        for world in ["tunnel", "segments"] {
            arguments.world = world
            for seed in seeds {
                print(world, seed, String(simulate(seed, arguments).trace.hash, radix: 16))
            }
        }
    }

    static func run(_ arguments: Arguments) -> Bool {
        var passed = 0, failed = 0, bytes = 0, rated = 0, leastShare = Double.infinity
        var simulated = Interval.zero
        let start = wallClock()
        for seed in arguments.seeds {
            let result = simulate(seed, arguments)
            simulated += result.length
            bytes += result.bytes
            if result.leastShare < .infinity { rated += 1 }
            leastShare = min(leastShare, result.leastShare)
            var failure = result.failure
            if failure == nil, arguments.twice, simulate(seed, arguments).trace != result.trace {
                failure = "not the same trace again"
            }
            if let failure {
                failed += 1
                print("seed \(seed): \(failure)")
                fflush(nil)
            } else {
                passed += 1
                if arguments.trace {
                    print(
                        "seed \(seed): \(result.length.seconds) s, \(result.bytes) bytes, trace \(result.trace.hash)"
                    )
                }
            }
        }
        let taken = wallClock() - start
        let speed = Int(simulated.seconds / max(taken, 1e-9))
        print(
            "\(passed) passed, \(failed) failed (\(arguments.world): \(bytes) bytes checked, \(Int(simulated.seconds)) s simulated, "
                + "\(speed) times real time"
                + (rated > 0
                    ? ", rate due in \(rated), least \((leastShare * 1000).rounded() / 1000)" : "")
                + ")")
        return failed == 0
    }

    struct Result {
        var failure: String?
        var trace: Trace
        var length: Interval
        var bytes: Int
        /// Of a line's rate; infinite where nothing was due (`World.leastRateShare`).
        var leastShare = Double.infinity
    }

    static func simulate(_ seed: UInt64, _ arguments: Arguments) -> Result {
        let scenario: Scenario =
            switch arguments.world {
            case "calls": .drawnCalls(seed: seed)
            case "long": .drawnLong(seed: seed)
            default: .drawn(seed: seed)
            }
        if arguments.trace { describe(scenario) }
        if arguments.world == "segments" {
            var configuration = SegmentWorld.drawnConfiguration(seed: seed)
            if let chosen = arguments.congestion { configuration.subflow.congestion = chosen }
            let world = SegmentWorld(scenario, seed: seed, configuration: configuration)
            if arguments.trace { traceSegments(world) }
            world.run()
            return Result(
                failure: world.failure, trace: world.trace, length: world.now - .zero,
                bytes: world.ends.initiator.read + world.ends.listener.read)
        }
        var options: World.Options =
            arguments.world == "long" ? .drawnLong(seed: seed) : .drawn(seed: seed)
        if let chosen = arguments.congestion { options.connection.subflow.congestion = chosen }
        if arguments.world == "flows" { options.associations = 1 + Int(seed % 6) }
        let world = World(scenario, seed: seed, options: options)
        if arguments.trace { traceDatagrams(world) }
        world.run()
        return Result(
            failure: world.failure, trace: world.trace, length: world.now - .zero,
            bytes: arguments.world == "flows" ? world.datagramsReturned : world.bytesRead,
            leastShare: world.leastRateShare)
    }

    static func describe(_ scenario: Scenario) {
        for (i, uplink) in scenario.uplinks.enumerated() {
            print(
                "uplink \(i): up \(uplink.up)\n          down \(uplink.down) radio \(uplink.radio as Any)"
            )
        }
        for (i, stream) in scenario.streams.enumerated() { print("stream \(i): \(stream)") }
        for fault in scenario.faults {
            print("fault at \(stamp(fault.at)): uplink \(fault.uplink) \(fault.change)")
        }
    }

    static func stamp(_ at: Instant) -> String {
        let text = String(at.nanoseconds / 1000 % 1_000_000)
        return
            "\(at.nanoseconds / 1_000_000_000).\(String(repeating: "0", count: 6 - text.count))\(text)"
    }

    static func traceSegments(_ world: SegmentWorld) {
        world.noted = { print(stamp($0), "--", $1) }
        world.observer = { now, fromInitiator, path, segment, payload in
            print("\(stamp(now)) \(path)\(fromInitiator ? ">" : "<") " + describe(segment, payload))
        }
    }

    static func describe(_ segment: borrowing Segment, _ payload: Int) -> String {
        let options = segment.options, flags = segment.flags.rawValue
        var line = "\(segment.sourcePort):\(segment.destinationPort) "
        for (bit, name) in [(UInt8(2), "S"), (1, "F"), (4, "R"), (16, "A")] where flags & bit != 0 {
            line += name
        }
        line +=
            " seq \(segment.sequence.value) ack \(segment.acknowledgement.value) win \(segment.window) len \(payload)"
        if options.present.contains(.sack) {
            for i in 0..<options.sack.count {
                line += " [\(options.sack[i].start.value),\(options.sack[i].end.value))"
            }
        }
        if options.present.contains(.dss) {
            if let ack = options.dss.acknowledgement { line += " dack \(ack.low32)" }
            if let map = options.dss.mapping {
                line += " dsn \(map.dataSequence.low32) ssn \(map.subflowSequence) n \(map.length)"
            }
            if options.dss.dataFin { line += " DFIN" }
        }
        for (kind, name) in [
            (SegmentOptions.Kinds.multipathCapable, "CAPABLE"), (.join, "JOIN"),
            (.priority, "PRIO"),
            (.fastClose, "FASTCLOSE"), (.reset, "TCPRST")
        ] where options.present.contains(kind) {
            line += " " + name
        }
        return line
    }

    static func traceDatagrams(_ world: World, from: Instant = .zero, to: Instant = .distantFuture)
    {
        func isShown(_ now: Instant) -> Bool { from <= now && now <= to }
        world.noted = { now, text in if isShown(now) { print(stamp(now), "--", text) } }
        world.proxy.packetTrace = { segment, payload, path, _, now in
            guard isShown(now) else { return }
            print(
                "\(stamp(now)) proxy \(segment.destinationPort == 443 ? ">" : "<") "
                    + describe(segment, payload.count))
        }
        world.concentrator.packetTrace = { segment, payload, _, _, now in
            guard isShown(now) else { return }
            print(
                "\(stamp(now))                concentrator \(segment.destinationPort == 443 ? ">" : "<") "
                    + describe(segment, payload.count))
        }
        let observer = world.observer
        world.observer = { now, fromProxy, uplink, bytes in
            observer?(now, fromProxy, uplink, bytes)
            guard isShown(now) else { return }
            let number = Int(bytes[5]) << 16 | Int(bytes[6]) << 8 | Int(bytes[7])
            print(
                "\(stamp(now)) \(uplink)\(fromProxy ? ">" : "<") kind \(bytes[0] >> 4) epoch \(bytes[0] & 3) "
                    + "path \(bytes[1]) number \(number) size \(bytes.count)")
        }
    }

    static func wallClock() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
