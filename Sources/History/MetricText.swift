/// Prometheus's text format, version 0.0.4: families of metrics, each with its help and type.
public struct MetricText {
    /// What a family holds.
    public enum Kind: String, Sendable { case counter, gauge, histogram }

    /// One value of a family.
    public struct Sample {
        /// In their order, as `name="value"`, escaped; empty: none.
        var labels: String
        var value: String

        /// Without labels; in seconds, in bytes, or as a ratio.
        public init(_ value: Double) { self.init([:], value) }

        /// A value without labels.
        public init(_ value: Int) { self.init([:], value) }

        /// Labels in pairs, and the value in seconds, in bytes, or as a ratio.
        public init(_ labels: KeyValuePairs<String, String>, _ value: Double) {
            self.labels = MetricText.labels(labels)
            self.value = MetricText.number(value)
        }

        /// Labels in pairs, and a whole number.
        public init(_ labels: KeyValuePairs<String, String>, _ value: Int) {
            self.labels = MetricText.labels(labels)
            self.value = "\(value)"
        }

        /// With labels that stand written already.
        public init(written labels: Substring, _ value: Int) {
            self.labels = String(labels)
            self.value = "\(value)"
        }
    }

    /// The text made so far.
    public private(set) var text = ""
    /// Family names may not come twice.
    private var known: Set<String> = []
    private let prefix: String

    /// `prefix` is put in front of every name.
    public init(prefix: String) { self.prefix = prefix }

    /// A family, where it has a sample and was not written before.
    public mutating func add(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
        guard !samples.isEmpty, begin(name, kind, help) else { return }
        for sample in samples {
            text += prefix + name
            if !sample.labels.isEmpty { text += "{\(sample.labels)}" }
            text += " \(sample.value)\n"
        }
    }

    /// A family of histograms.
    public mutating func add(
        _ name: String, _ help: String,
        _ histograms: [(labels: KeyValuePairs<String, String>, histogram: Histogram)]
    ) {
        guard !histograms.isEmpty, begin(name, .histogram, help) else { return }
        for (labels, histogram) in histograms {
            let own = Self.labels(labels)
            let comma = own.isEmpty ? "" : ","
            var sum = 0
            for (place, count) in histogram.counts.enumerated() {
                sum &+= count
                let bound =
                    place < histogram.bounds.count ? Self.number(histogram.bounds[place]) : "+Inf"
                text += "\(prefix)\(name)_bucket{\(own)\(comma)le=\"\(bound)\"} \(sum)\n"
            }
            let braces = own.isEmpty ? "" : "{\(own)}"
            text += "\(prefix)\(name)_sum\(braces) \(Self.number(histogram.sum))\n"
            text += "\(prefix)\(name)_count\(braces) \(sum)\n"
        }
    }

    private mutating func begin(_ name: String, _ kind: Kind, _ help: String) -> Bool {
        guard known.insert(name).inserted else { return false }
        let help = Self.escaped(help, quotes: false)
        text += "# HELP \(prefix)\(name) \(help)\n# TYPE \(prefix)\(name) \(kind.rawValue)\n"
        return true
    }

    private static func labels(_ labels: KeyValuePairs<String, String>) -> String {
        labels.map { "\($0)=\"\(escaped($1))\"" }.joined(separator: ",")
    }

    /// A label's value, whatever it holds; a help text, where quotes are to stay. By scalars: a
    /// line's end behind a carriage return, or a quote with an accent on it, is a character of its
    /// own.
    static func escaped(_ text: String, quotes: Bool = true) -> String {
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": out.append(contentsOf: "\\n".unicodeScalars)
            case "\\": out.append(contentsOf: "\\\\".unicodeScalars)
            case "\"" where quotes: out.append(contentsOf: "\\\"".unicodeScalars)
            default: out.append(scalar)
            }
        }
        return String(out)
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        // Whole ones without ".0", as bounds are compared as text.
        return value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
    }
}
