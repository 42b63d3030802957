/// A file of `braid figures`.
public struct FigureFile: Hashable, Sendable {
    /// Within the folder, with its ending.
    public var name: String
    /// CSV, SVG or WAV.
    public var bytes: [UInt8]
    /// A file of any kind.
    public init(name: String, bytes: [UInt8]) { self.name = name; self.bytes = bytes }
    /// A file of text, as UTF-8.
    public init(name: String, text: String) { self.init(name: name, bytes: Array(text.utf8)) }
    /// The bytes as UTF-8.
    public var text: String { String(decoding: bytes, as: UTF8.self) }
}

extension Double {
    /// With this many digits behind the point, halves rounded away from zero; "-0" is "0".
    func fixed(_ digits: Int) -> String {
        guard isFinite else { return "" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let scaled = (self * scale).rounded()
        guard digits > 0 else { return String(Int(scaled)) }
        let whole = Int(scaled.magnitude / scale), rest = String(Int(scaled.magnitude) % Int(scale))
        let zeros = String(repeating: "0", count: digits - rest.count)
        return (scaled < 0 ? "-" : "") + "\(whole).\(zeros)\(rest)"
    }

    /// The same without zeros at the end: what an axis or a coordinate shows.
    func short(_ digits: Int) -> String {
        var text = fixed(digits)
        guard digits > 0 else { return text }
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return text
    }
}

/// A table as comma-separated text (RFC 4180 without quotes: names have no commas), one line per
/// row.
struct CommaTable {
    private(set) var text: String
    private let columns: Int

    init(_ columns: [String]) {
        self.columns = columns.count
        text = columns.joined(separator: ",") + "\n"
    }

    /// A value that isn't there is an empty field.
    mutating func row(_ fields: [String]) {
        precondition(fields.count == columns)
        text += fields.joined(separator: ",") + "\n"
    }

    func file(_ name: String) -> FigureFile { FigureFile(name: name, text: text) }
}
