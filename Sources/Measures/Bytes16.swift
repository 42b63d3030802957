/// 16 bytes whose order means nothing: a MAC, a cookie, a challenge. Compared in constant time by
/// `==`.
public struct Bytes16: Hashable, Sendable {
    /// The first and the last eight bytes, each as it lies in memory.
    public var a: UInt64, b: UInt64  // bytes in memory order

    /// Sixteen bytes of zero.
    public static let zero = Bytes16(a: 0, b: 0)

    /// From the two halves as they lie in memory.
    public init(a: UInt64, b: UInt64) { self.a = a; self.b = b }

    /// The 16 bytes that begin at `offset`.
    @inlinable public init(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        a = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        b = bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)
    }

    /// Stores the 16 bytes; `out` has room for them, at any alignment.
    @inlinable public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: a, as: UInt64.self)
        out.storeBytes(of: b, toByteOffset: 8, as: UInt64.self)
    }

    /// Every byte is looked at, whichever differs.
    @inlinable public static func == (x: Bytes16, y: Bytes16) -> Bool {
        (x.a ^ y.a) | (x.b ^ y.b) == 0
    }
}
