/// The fuzzer's bytes, read as a program: zeros behind the end.
struct Input {
    private let bytes: UnsafeRawBufferPointer
    private(set) var at = 0
    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isEmpty: Bool { at >= bytes.count }
    var left: Int { bytes.count - at }

    mutating func byte() -> UInt8 {
        guard at < bytes.count else { return 0 }
        defer { at += 1 }
        return bytes[at]
    }
    mutating func bit() -> Bool { byte() & 1 != 0 }
    /// 0 ..< n, n at most 65,536.
    mutating func below(_ n: Int) -> Int {
        n <= 256 ? Int(byte()) % max(n, 1) : Int(word(UInt16.self)) % n
    }
    mutating func word<T: FixedWidthInteger & UnsignedInteger>(_: T.Type = T.self) -> T {
        var value: T = 0
        for _ in 0..<MemoryLayout<T>.size { value = value << 8 | T(byte()) }
        return value
    }
    /// Up to `n` bytes.
    mutating func take(_ n: Int) -> [UInt8] {
        let end = min(bytes.count, at + max(n, 0))
        defer { at = end }
        return Array(bytes[at..<end])
    }
    /// As many bytes as the next byte says.
    mutating func string() -> [UInt8] { take(Int(byte())) }
    mutating func rest() -> [UInt8] { take(left) }
}

/// Calls `body` with a copy of the bytes in an allocation of exactly their size, so that the
/// address sanitizer sees a read beyond either end.
func withExact<R>(
    _ bytes: some Collection<UInt8>, _ body: (UnsafeMutableRawBufferPointer) throws -> R
) rethrows -> R {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    return try body(copy)
}
