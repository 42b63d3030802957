import Foundation
import Measures
import Proxy

/// Keys of an uplink's `allowance`.
enum AllowanceKey: String, CaseIterable { case bytes, period, day }

/// The words for an allowance's period.
enum PeriodWord: String, CaseIterable { case day, week, month }

extension Field {
    /// `AMOUNT CURRENCY` for each GB, such as `2.50 EUR`.
    func price() -> Tariff.Price? {
        guard let text = text() else { return nil }
        let words = text.split(separator: " ").map(String.init)
        guard words.count == 2, let amount = Double(words[0]), amount.isFinite, amount >= 0,
            amount <= 1e9, (1...12).contains(words[1].count), words[1].allSatisfy(\.isLetter)
        else {
            return wrong("\"\(text)\" is no price of a GB, such as 2.50 EUR")
        }
        return Tariff.Price(amount: amount, currency: words[1])
    }

    /// A size alone, for a month from its first day on, or a table.
    func allowance() -> Tariff.Allowance? {
        if case .text = item.content {
            return volume().map { Tariff.Allowance(bytes: $0, period: .month(from: 1)) }
        }
        guard let table = Table<AllowanceKey>(self) else { return nil }
        let bytes = table.required(.bytes, "say how much, such as 10GB")?.volume()
        guard let word = table[.period].map({ $0.choice(PeriodWord.self) }) ?? .month else {
            return nil
        }
        let period: AllowancePeriod?
        switch word {
        case .day:
            if let field = table[.day] { field.complain("is for a week or a month") }
            period = .day
        case .week:
            period = (table[.day].map { $0.number(in: 1...7) } ?? 1).map { .week(from: $0) }
        case .month:
            period = (table[.day].map { $0.number(in: 1...31) } ?? 1).map { .month(from: $0) }
        }
        guard let bytes, let period else { return nil }
        return Tariff.Allowance(bytes: bytes, period: period)
    }

    /// Bytes as providers write them: 10GB, 500 MB, 1.5 GB.
    private func volume() -> Int? {
        guard let text = text() else { return nil }
        guard let bytes = ByteVolume.read(text), bytes >= 1_000_000 else {
            return wrong("\"\(text)\" is no volume from 1MB on, such as 500MB or 10GB")
        }
        return bytes
    }

    /// `backup`, `stop` or `slow RATE`.
    func onEmpty() -> Tariff.OnEmpty? {
        guard let text = text() else { return nil }
        let words = text.split(separator: " ").map(String.init)
        switch (words.first, words.count) {
        case ("backup", 1): return .backup
        case ("stop", 1): return .stop
        case ("slow", 2...3):
            let rate = ByteVolume.rate(words.dropFirst().joined())
            if let rate, rate.bytesPerSecond >= 2_000 { return .slow(rate) }
            return wrong("\"\(text)\" has no rate from 16kbit/s on, such as slow 64kbit/s")
        default: return wrong("\"\(text)\" is none of backup, stop, slow RATE (slow 64kbit/s)")
        }
    }
}

/// Volumes and rates as providers write them, in powers of ten.
public enum ByteVolume {
    /// 12.3GB, 500 MB, 1000000; nil for anything else, and for what is no volume.
    public static func read(_ text: String) -> Int? {
        let units = ["TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1, "": 1]
        return number(text, units).map { Int($0) }
    }

    /// 64kbit/s, 1.5 Mbit/s.
    static func rate(_ text: String) -> Rate? {
        let units = ["bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6]
        return number(text, units).map { Rate(bytesPerSecond: Int64($0 / 8)) }
    }

    /// A number that is not negative, with one of `units` behind it, below 10^15.
    private static func number(_ text: String, _ units: [String: Double]) -> Double? {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = String(text.dropFirst(digits.count).drop { $0 == " " })
        guard let value = Double(digits), let factor = units[unit], value * factor < 1e15 else {
            return nil
        }
        return value * factor
    }
}

extension ProxyConfiguration {
    /// What is wrong with prices and policy together.
    static func checkMoney(
        _ uplinks: [ProxySettings.UplinkChoice], _ policy: CostPolicy, _ field: Field?,
        _ prices: Field?
    ) {
        let tariffs = uplinks.compactMap(\.tariff)
        let currencies = Set(tariffs.compactMap { $0.price?.currency }).sorted()
        if currencies.count > 1 {
            prices?.complain(
                "prices in \(currencies.joined(separator: " and ")) can't be compared; use one currency"
            )
        }
        guard let field, policy != .ignore else { return }
        if currencies.isEmpty {
            field.complain("no uplink has a price; give one to those that cost something")
        }
        let open = uplinks.first { $0.tariff?.price != nil && $0.tariff?.allowance == nil }
        if policy == .cap, let open {
            field.complain(
                "cap holds an uplink to its allowance, and \(open.selector) has a price and none")
        }
    }
}
