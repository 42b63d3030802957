import CQREncode
import Glibc

/// A text as a QR code (ISO/IEC 18004), for a terminal.
public struct QRCode {
    /// Modules on each side, without the margin.
    public let size: Int
    /// Row by row; true: dark.
    private let modules: [Bool]

    /// Nil for what is too long for a code of medium correction, 2,331 bytes.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard !bytes.isEmpty,
            let code = QRcode_encodeData(Int32(bytes.count), bytes, 0, QR_ECLEVEL_M)
        else { return nil }
        defer { QRcode_free(code) }
        let size = Int(code.pointee.width)
        guard size > 0, let data = code.pointee.data else { return nil }
        self.size = size
        modules = (0..<size * size).map { data[$0] & 1 != 0 }
    }

    /// Whether the module is dark; outside of the code there is a margin, which is light.
    public func isDark(row: Int, column: Int) -> Bool {
        (0..<size).contains(row) && (0..<size).contains(column) && modules[row * size + column]
    }

    /// Lines of half blocks, two rows of modules each, with a margin of two. In colours of their
    /// own, since what is light on one terminal is dark on another.
    public var lines: [String] {
        let margin = 2
        return stride(from: -margin, to: size + margin, by: 2).map { row in
            let blocks = (-margin..<size + margin).map { column -> String in
                switch (
                    isDark(row: row, column: column), isDark(row: row + 1, column: column)
                ) {
                case (true, true): " "
                case (true, false): "▄"
                case (false, true): "▀"
                case (false, false): "█"
                }
            }
            return "\u{1b}[97;40m" + blocks.joined() + "\u{1b}[0m"
        }
    }
}
