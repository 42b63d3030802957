import Glibc
import Measures
import Rules
import Wire

/// What a rule with 100,000 names and one with as many ranges cost: memory, and a decision about a
/// flow that the last entry, or none, fits.
enum RuleBenchmark {
    private static let entries = 100_000

    static func run() -> [Figure] {
        let before = residentBytes()
        var names = Rule.Destinations(), ranges = Rule.Destinations()
        for i in 0..<entries {
            _ = names.names.insert(
                "host\(i).example\(i % 997).net", i % 3 == 0 ? .suffix : .exact)
        }
        let afterNames = residentBytes()
        for i in 0..<entries {
            let address =
                i % 4 == 0
                ? IPAddress(v6High: 0x2001_0db8_0000_0000 + UInt64(i), low: 0)
                : IPAddress(v4: UInt32(truncatingIfNeeded: 0x0100_0000 + i * 512))
            ranges.ranges.insert(Subnet(address, prefix: i % 4 == 0 ? 64 : 24))
        }
        ranges.ranges.sort()
        let afterRanges = residentBytes()
        var ofNames = Rule(.block), ofRanges = Rule(.block)
        ofNames.destinations = names
        ofRanges.destinations = ranges
        let byName = RuleSet([ofNames]), byRange = RuleSet([ofRanges])
        let hosts = (0..<1_000).map { i in
            i % 2 == 0
                ? "a.b.host\(i * 97).example\(i * 97 % 997).net" : "www.other\(i).example.org"
        }
        let addresses = (0..<1_000).map { i in
            IPAddress(v4: UInt32(truncatingIfNeeded: 0x0100_0000 + i * 97 * 512 + i % 2 * 256))
        }
        return [
            Figure(
                name: "rules: 100,000 names", value: Double(afterNames - before) / 1e6,
                unit: "MB", aim: "<= 50"),
            Figure(
                name: "rules: 100,000 ranges", value: Double(afterRanges - afterNames) / 1e6,
                unit: "MB", aim: "<= 50"),
            Figure(
                name: "rules: a decision by name", value: cost(byName, hosts.map { .name($0) }),
                unit: "ns", aim: "<= 1000"),
            Figure(
                name: "rules: a decision by address",
                value: cost(byRange, addresses.map { .address($0) }), unit: "ns", aim: "<= 1000")
        ]
    }

    /// Nanoseconds of a decision, the least of five rounds.
    private static func cost(_ rules: RuleSet, _ hosts: [Target.Host]) -> Double {
        let flows = hosts.map {
            FlowFacts(
                .tcp, entry: .captured, source: IPAddress(v4: 0x7f00_0001),
                target: Target(host: $0, port: 443))
        }
        var best = Double.infinity, fits = 0
        for _ in 0..<5 {
            let began = clock()
            for _ in 0..<100 {
                for flow in flows where rules.decide(flow).rule != nil { fits += 1 }
            }
            let seconds = Double(clock() - began) / Double(CLOCKS_PER_SEC)
            best = min(best, seconds * 1e9 / Double(100 * flows.count))
        }
        precondition(fits > 0, "half of them fit")
        return best
    }

    private static func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let text = String(
            decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        let fields = text.split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * 4096 : 0
    }
}
