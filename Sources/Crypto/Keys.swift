/// 32 bytes of key material; compared in constant time by `==`.
public struct Key32: Hashable, Sendable {
    public var a: UInt64, b: UInt64, c: UInt64, d: UInt64   // bytes in memory order
    public init(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == 32)
        a = bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)
        b = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        c = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        d = bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
    }
    public static let zero = withUnsafeBytes(of: (0, 0, 0, 0) as (UInt64, UInt64, UInt64, UInt64)) { Key32($0) }
    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { try withUnsafeBytes(of: self, body) }
    /// Standard base64 with padding, 44 characters.
    public var base64: String { fatalError("stub") }
    public init?(base64: String) { fatalError("stub") }
}

/// An X25519 private key and its public key.
public struct StaticKeyPair: Sendable {
    public let privateKey: Key32
    public let publicKey: Key32
    public init(privateKey: Key32) { fatalError("stub") }
}
