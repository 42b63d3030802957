import Glibc

/// Figures of the engine, printed as ratios and per-segment costs measured side by side in one run:
///
///     benchmarks [--json] [codec] [record] [connection] [endpoint] [hellos] [goodput] [floor]
///                [worst[:TEXT]] [rules]
///
/// Without a name all are run; with TEXT those of the worst datagrams whose name holds it. Build
/// with `-c release`. What the real programs cost on loopback, in CPU seconds per gigabyte, is
/// measured by `Tests/Benchmarks/programs.py`.
@main struct Benchmarks {
    static let all: [(name: String, run: @Sendable () -> [Figure])] = [
        ("codec", CodecBenchmark.run),
        ("record", RecordBenchmark.run),
        ("connection", ConnectionBenchmark.run),
        ("endpoint", EndpointBenchmark.run),
        ("hellos", HelloBenchmark.run),
        ("goodput", GoodputBenchmark.run),
        ("floor", FloorBenchmark.run),
        ("worst", { WorstBenchmark.run("") }),
        ("rules", RuleBenchmark.run)
    ]

    static func main() {
        var names = Array(CommandLine.arguments.dropFirst())
        let json = names.contains("--json")
        names.removeAll { $0 == "--json" }
        if let part = names.first(where: { $0.hasPrefix("worst:") }) {
            for figure in WorstBenchmark.run(String(part.dropFirst(6))) { print(figure.line) }
            return
        }
        if let unknown = names.first(where: { name in !all.contains { $0.name == name } }) {
            print(
                "no benchmark is called \(unknown); there are "
                    + all.map(\.name).joined(separator: ", "))
            exit(2)
        }
        var figures: [Figure] = []
        for (name, run) in all where names.isEmpty || names.contains(name) {
            for figure in run() {
                figures.append(figure)
                if !json { print(figure.line) }
            }
            fflush(nil)
        }
        if json { print("[" + figures.map(\.json).joined(separator: ",\n ") + "]") }
    }
}

/// One measured number.
struct Figure {
    var name: String
    var value: Double
    var unit: String
    /// What it should reach, with the direction: "≥ 0.90", "0".
    var aim = ""

    private var number: String {
        let scaled = (value * 1000).rounded() / 1000
        return scaled == scaled.rounded() ? String(Int(scaled)) : String(scaled)
    }
    var line: String {
        let padded = name + String(repeating: " ", count: max(1, 58 - name.count))
        return padded + number + " " + unit + (aim.isEmpty ? "" : "   (aim \(aim))")
    }
    var json: String { "{\"name\": \"\(name)\", \"value\": \(number), \"unit\": \"\(unit)\"}" }
}

/// CPU time of this thread in nanoseconds: what others do on the machine does not count.
func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
}

/// Nanoseconds per call: the best of several rounds of `count`.
func nanoseconds(count: Int, rounds: Int = 7, _ body: (Int) -> Void) -> Double {
    var best = Double.infinity
    for _ in 0..<rounds {
        let start = threadTime()
        for i in 0..<count { body(i) }
        best = min(best, (threadTime() - start) / Double(count))
    }
    return best
}

/// Keeps the optimiser from dropping what only a benchmark computes.
@inline(never) @_optimize(none) func blackHole(_ value: UInt8) {}
