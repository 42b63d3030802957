/// The hashes of RFC 8684: tokens, initial data sequence numbers, the HMACs of MP_JOIN and ADD_ADDR.
public enum MultipathHash {
    /// The first 32 bits of SHA256(key) (section 3.2).
    public static func token(of key: UInt64) -> UInt32 { fatalError("stub") }
    /// The last 64 bits of SHA256(key) (section 3.1).
    public static func initialDataSequence(of key: UInt64) -> UInt64 { fatalError("stub") }
    /// HMAC-SHA256(first ‖ second, firstNonce ‖ secondNonce), as (bytes 0-7, 8-15, 16-19) big-endian (section 3.2).
    public static func join(keys first: UInt64, _ second: UInt64, nonces firstNonce: UInt32, _ secondNonce: UInt32) -> (UInt64, UInt64, UInt32) { fatalError("stub") }
    /// The last 64 bits of HMAC-SHA256(sender ‖ receiver, id ‖ address ‖ port) (section 3.4.1). `address` is 4 or 16 bytes.
    public static func addAddress(senderKey: UInt64, receiverKey: UInt64, id: UInt8, address: UnsafeRawBufferPointer, port: UInt16) -> UInt64 { fatalError("stub") }
}
