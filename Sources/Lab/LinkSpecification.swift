import Measures

/// An uplink as a person writes it: `8M/30ms`, rate and round-trip time.
public struct LinkSpecification: Hashable, Sendable, CustomStringConvertible {
    /// The same in both directions.
    public var rate: Rate
    /// Both directions together, of an empty link.
    public var roundTrip: Interval

    /// `roundTrip` is halved for each direction.
    public init(rate: Rate, roundTrip: Interval) {
        self.rate = rate
        self.roundTrip = roundTrip
    }

    /// The paper's links.
    public static let wifi = LinkSpecification(
        rate: .megabitsPerSecond(8), roundTrip: .milliseconds(30))
    /// The paper's other link.
    public static let cellular = LinkSpecification(
        rate: .megabitsPerSecond(2), roundTrip: .milliseconds(100))

    /// Reads `8M/30ms`: bit/s with k, M or G, and a time with us, ms or s; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let rate = Rate(bits: parts[0]), rate > .zero,
            let roundTrip = Interval(text: parts[1]), roundTrip.seconds <= 60
        else { return nil }
        self.init(rate: rate, roundTrip: roundTrip)
    }

    public var description: String { "\(rate.bitsText)/\(roundTrip.text)" }
}

extension Rate {
    /// Reads bit/s: `250k`, `8M`, `1.5M`, `1G`; at most 100 Gbit/s. Nil for anything else.
    init?(bits text: some StringProtocol) {
        let units: [Character: Double] = ["k": 1e3, "M": 1e6, "G": 1e9]
        let unit = text.last.flatMap { units[$0] }
        guard let number = plainNumber(unit == nil ? String(text) : String(text.dropLast())) else {
            return nil
        }
        let bits = number * (unit ?? 1)
        guard bits <= 100e9 else { return nil }
        self.init(bytesPerSecond: Int64(bits / 8))
    }

    /// `8 Mbit/s`, `250 kbit/s`.
    var label: String {
        let bits = Double(bytesPerSecond) * 8
        return bits >= 1e6 ? "\(trimmed(bits / 1e6)) Mbit/s" : "\(trimmed(bits / 1e3)) kbit/s"
    }

    var bitsText: String {
        let bits = Double(bytesPerSecond) * 8
        return bits >= 1e6 ? "\(trimmed(bits / 1e6))M" : "\(trimmed(bits / 1e3))k"
    }
}

extension Interval {
    /// Reads `30ms`, `1.5s`, `200us`, `0`; never negative, at most an hour. Nil for anything else.
    init?(text: some StringProtocol) {
        if text == "0" { self = .zero; return }
        for (unit, nanoseconds) in [("us", 1e3), ("ms", 1e6), ("s", 1e9)] where text.hasSuffix(unit)
        {
            guard let number = plainNumber(String(text.dropLast(unit.count))) else { continue }
            guard number * nanoseconds <= 3.6e12 else { return nil }
            self.init(nanoseconds: Int64(number * nanoseconds))
            return
        }
        return nil
    }

    /// `30 ms`, `1.5 s`, for people.
    var label: String {
        nanoseconds >= 1_000_000_000 ? "\(trimmed(seconds)) s" : "\(trimmed(milliseconds)) ms"
    }

    var text: String {
        if nanoseconds >= 1_000_000_000 { return "\(trimmed(seconds))s" }
        return "\(trimmed(milliseconds))ms"
    }
}

/// Digits with at most one point: what `Double` reads without signs, exponents, infinities.
func plainNumber(_ text: String) -> Double? {
    guard !text.isEmpty, text.count <= 12,
        text.utf8.allSatisfy({ ($0 >= 48 && $0 <= 57) || $0 == 46 }),
        text != "."
    else { return nil }
    return Double(text)
}

/// At most two digits after the point, without trailing zeros.
func trimmed(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    if hundredths % 100 == 0 { return "\(hundredths / 100)" }
    if hundredths % 10 == 0 { return "\(hundredths / 100).\(hundredths / 10 % 10)" }
    return "\(hundredths / 100).\(hundredths / 10 % 10)\(hundredths % 10)"
}
