import Crypto

/// Bytes from hexadecimal digits.
func hex(_ text: String) -> [UInt8] {
    let digits = Array(text.utf8)
    precondition(digits.count % 2 == 0)
    return stride(from: 0, to: digits.count, by: 2).map {
        UInt8(String(decoding: digits[$0..<($0 + 2)], as: UTF8.self), radix: 16)!
    }
}

func key(_ text: String) -> Key32 { hex(text).withUnsafeBytes { Key32($0) } }

extension Key32 {
    var bytes: [UInt8] { withBytes { Array($0) } }
}
