import Buffers
import Foundation
import Measures
import Testing

@testable import Wire

/// Bytes from hex digits; other characters are skipped.
func unhex(_ hex: String) -> [UInt8] {
    let digits = hex.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map {
        UInt8(digits[$0] << 4 | digits[$0 + 1])
    }
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { String(format: "%02x", $0) }.joined()
}

extension SegmentOptions {
    /// Reads a block of options alone.
    init(_ block: [UInt8], flags: ControlBits) throws(WireError) {
        self.init()
        // A fresh allocation of the exact size, so that a sanitizer sees a read beyond it.
        let copy = UnsafeMutableRawPointer.allocate(byteCount: max(block.count, 1), alignment: 1)
        defer { copy.deallocate() }
        copy.copyMemory(from: block, byteCount: block.count)
        try read(copy, count: block.count, flags: flags)
    }

    var tightBytes: [UInt8] {
        var out = [UInt8](repeating: 0xee, count: 256)
        let n = out.withUnsafeMutableBytes { write(to: $0.baseAddress!, padded: false) }
        return Array(out[..<n])
    }
}

extension ControlBits {
    init(letters: some StringProtocol) {
        self = []
        for letter in letters {
            switch letter {
            case "S": insert(.syn)
            case "A": insert(.ack)
            case "R": insert(.rst)
            case "F": insert(.fin)
            default: break
            }
        }
    }
}

/// The lines of a file in Tests/Vectors, without comments.
func vectorLines(_ name: String) throws -> [String] {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
    let text = try String(
        contentsOf: tests.appendingPathComponent("Vectors/" + name), encoding: .utf8)
    return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map(String.init)
}

struct OptionVector: CustomTestStringConvertible, Sendable {
    var name: String
    var flags: ControlBits
    var bytes: [UInt8]
    var testDescription: String { name }

    /// Tests/Vectors/mptcp-options.txt
    static let all: [OptionVector] = {
        ((try? vectorLines("mptcp-options.txt")) ?? []).map { line in
            let words = line.split(separator: " ")
            return OptionVector(
                name: String(words[0]), flags: ControlBits(letters: words[1]),
                bytes: unhex(String(words[2])))
        }
    }()

    static func named(_ name: String) throws -> SegmentOptions {
        let vector = try #require(all.first { $0.name == name })
        return try SegmentOptions(vector.bytes, flags: vector.flags)
    }
}

extension Pieces {
    /// Calls `body` with the bytes in two pieces, split at `at`.
    static func of<R>(
        _ bytes: [UInt8], splitAt at: Int = 0, _ body: (Pieces) throws -> R
    ) rethrows -> R {
        try bytes.withUnsafeBytes { all in
            try body(
                Pieces(
                    first: UnsafeRawBufferPointer(rebasing: all[..<at]),
                    second: UnsafeRawBufferPointer(rebasing: all[at...])))
        }
    }
}
