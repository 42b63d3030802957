import Measures

/// What the demo prints at its end.
struct DemoSummary {
    private let options: Demo.Options
    private let record: DemoRecord

    init(_ options: Demo.Options, _ record: DemoRecord) {
        self.options = options
        self.record = record
    }

    var lines: [String] { ["", verdict] + timing + [""] + shares + [""] }

    private var verdict: String {
        let count = grouped(record.bytes)
        if record.isVerified {
            return "  ✓ \(count) bytes, every one right: SHA-256 \(record.hash.prefix(16))…"
        }
        if record.bytes == options.size {
            return "  ✗ \(count) bytes, but not the right ones: SHA-256 \(record.hash.prefix(16))…,"
                + " not \(record.expectedHash.prefix(16))…"
        }
        return
            "  ✗ \(count) of \(grouped(options.size)) bytes; curl ended with status \(record.curlStatus)"
    }

    private var timing: [String] {
        let goodput = Double(record.bytes) * 8 / max(record.duration.seconds, 1e-3) / 1e6
        var lines = [
            "    \(oneDigit(record.duration.seconds)) s in all,"
                + " \(oneDigit(goodput)) Mbit/s for the application"
        ]
        if let first = record.firstByte { lines[0] += ", first byte after \(milliseconds(first))" }
        if record.lostAt != nil {
            lines.append(
                "    handover: no byte for \(milliseconds(record.handoverGap)) at most"
                    + " in the second after the loss")
        }
        lines.append(
            "    longest gap \(milliseconds(record.longestGap)),"
                + " \(oneDigit(record.gapStart.seconds)) s into the download")
        return lines
    }

    /// A table: what each uplink carried in each phase, headers included.
    private var shares: [String] {
        let phases = record.phases.filter { $0.end > $0.start }
        var head = pad("", 14), rows = [pad("    WiFi", 14), pad("    cellular", 14)]
        for phase in phases {
            head += pad("\(phase.name), \(oneDigit((phase.end - phase.start).seconds)) s", 26)
            let sum = max(phase.bytes.reduce(0, +), 1)
            for uplink in 0..<2 {
                let bytes = phase.bytes[uplink]
                let rate = Double(bytes) * 8 / (phase.end - phase.start).seconds / 1e6
                rows[uplink] += pad("\(oneDigit(rate)) Mbit/s  \(percent(bytes, of: sum))", 26)
            }
        }
        return [head] + rows
    }

    private func percent(_ part: Int, of whole: Int) -> String {
        "\(Int((Double(part) * 100 / Double(whole)).rounded())) %"
    }

    private func milliseconds(_ interval: Interval) -> String {
        interval < .seconds(1)
            ? "\(Int(interval.milliseconds.rounded())) ms" : "\(trimmed(interval.seconds)) s"
    }

    /// 8000000 as 8,000,000.
    private func grouped(_ number: Int) -> String {
        var out = ""
        for (i, c) in String(number).reversed().enumerated() {
            if i > 0, i % 3 == 0 { out.append(",") }
            out.append(c)
        }
        return String(out.reversed())
    }
}
