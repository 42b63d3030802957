import Foundation
import Testing

/// The limits that docs/security.md names: each row's declaration stands in the sources, and its
/// value is the one the page gives.
@Suite struct SecurityDocumentTests {
    struct Row: CustomTestStringConvertible, Sendable {
        var limit: String, value: String, file: String, declaration: String
        var testDescription: String { "\(file): \(declaration)" }
    }

    /// Table rows of the form `| what | default | File.swift: `declaration` | reason |`.
    static let rows: [Row] = WireDocument.text("docs/security.md").split(separator: "\n").compactMap
    { line in
        let cells = line.split(separator: "|", omittingEmptySubsequences: false)
            .map { $0.trimmingCharacters(in: .whitespaces) }
        guard line.hasPrefix("|"), cells.count == 6, cells[3].contains(".swift: `") else {
            return nil
        }
        let place = cells[3].components(separatedBy: ": ")
        return Row(
            limit: cells[1], value: cells[2], file: place[0],
            declaration: place.dropFirst().joined(separator: ": ").trimmingCharacters(in: ["`"]))
    }

    @Test(arguments: rows) func aLimitIsAsTheDocumentSays(_ row: Row) throws {
        let found = Self.files.filter { $0.hasSuffix("/\(row.file)") }
        #expect(found.count == 1, "\(row.file) is no file of the sources, or two")
        let text = found.map { WireDocument.text("Sources/\($0)") }.joined()
        #expect(text.contains(row.declaration), "\(row.file) has no `\(row.declaration)`")
        let value = row.declaration.components(separatedBy: "= ").last ?? ""
        #expect(
            Self.words(value).contains(row.value),
            "\(row.limit): the declaration says \(Self.words(value))")
    }

    @Test func thereAreLimits() { #expect(Self.rows.count >= 40) }

    @Test func rowsAreNotSaidTwice() {
        #expect(Set(Self.rows.map(\.testDescription)).count == Self.rows.count)
    }

    private static let files =
        FileManager.default
        .subpaths(atPath: WireDocument.root.appendingPathComponent("Sources").path) ?? []

    /// A literal as a person writes it: `65_536` 65,536; `Interval.seconds(10)` 10 s;
    /// `ByteCount.mebibytes(8)` 8 MiB;
    /// `8 << 20` 8 MiB or 8,388,608.
    static func words(_ literal: String) -> [String] {
        let units = [
            "seconds": "s", "milliseconds": "ms", "microseconds": "µs", "mebibytes": "MiB",
            "kibibytes": "KiB"
        ]
        for (name, unit) in units where literal.contains(".\(name)(") {
            return [grouped(number(literal.components(separatedBy: "(").last ?? "")) + " " + unit]
        }
        let parts = literal.components(separatedBy: " << ").map(number)
        guard parts.count == 2, let base = parts[0], let shift = parts[1] else {
            if let plain = parts[0] { return [grouped(plain)] }
            return [
                Double(literal.replacingOccurrences(of: "_", with: "")).map { grouped(Int($0)) }
                    ?? literal
            ]
        }
        let value = base << shift
        let unit =
            value % (1 << 20) == 0 ? grouped(value >> 20) + " MiB" : grouped(value >> 10) + " KiB"
        return [grouped(value), unit]
    }

    private static func number(_ text: String) -> Int? {
        Int(text.filter { $0.isNumber }).flatMap { text.contains(".") ? nil : $0 }
    }

    private static func grouped(_ value: Int?) -> String {
        var digits = String(value ?? -1), out = ""
        while digits.count > 3 {
            out = "," + digits.suffix(3) + out
            digits.removeLast(3)
        }
        return digits + out
    }
}
