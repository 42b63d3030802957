/// The hashes of RFC 8684: tokens, initial data sequence numbers, the HMACs of MP_JOIN and
/// ADD_ADDR.
///
/// Keys and nonces are numbers whose big-endian bytes are what travels.
public enum MultipathHash {
    /// The first 32 bits of SHA256(key) (section 3.2).
    public static func token(of key: UInt64) -> UInt32 {
        UInt32(bigEndian: UInt32(truncatingIfNeeded: digest(of: key).a))
    }

    /// The last 64 bits of SHA256(key) (section 3.1).
    public static func initialDataSequence(of key: UInt64) -> UInt64 { digest(of: key).d.bigEndian }

    /// HMAC-SHA256(first ‖ second, firstNonce ‖ secondNonce), as (bytes 0-7, 8-15, 16-19)
    /// big-endian (section 3.2).
    public static func join(
        keys first: UInt64, _ second: UInt64, nonces firstNonce: UInt32,
        _ secondNonce: UInt32
    ) -> (UInt64, UInt64, UInt32) {
        let mac = withUnsafeBytes(of: (first.bigEndian, second.bigEndian)) { key in
            withUnsafeBytes(of: (firstNonce.bigEndian, secondNonce.bigEndian)) {
                SHA256.hmac(key: key, $0)
            }
        }
        return (mac.a.bigEndian, mac.b.bigEndian, UInt32(truncatingIfNeeded: mac.c.bigEndian >> 32))
    }

    /// The last 64 bits of HMAC-SHA256(sender ‖ receiver, id ‖ address ‖ port) (section 3.4.1).
    /// `address` is 4 or 16 bytes; `port` is 0 where the option has none.
    public static func addAddress(
        senderKey: UInt64, receiverKey: UInt64, id: UInt8,
        address: UnsafeRawBufferPointer, port: UInt16
    ) -> UInt64 {
        precondition(address.count == 4 || address.count == 16)
        return withUnsafeTemporaryAllocation(byteCount: address.count + 3, alignment: 8) {
            message in
            message[0] = id
            UnsafeMutableRawBufferPointer(rebasing: message[1...]).copyMemory(from: address)
            message.storeBytes(of: port.bigEndian, toByteOffset: 1 + address.count, as: UInt16.self)
            return withUnsafeBytes(of: (senderKey.bigEndian, receiverKey.bigEndian)) {
                SHA256.hmac(key: $0, UnsafeRawBufferPointer(message)).d.bigEndian
            }
        }
    }

    /// Whether two join HMACs are equal, looking at every bit (section 3.2 asks for a comparison
    /// that tells a forger nothing).
    public static func matches(_ x: (UInt64, UInt64, UInt32), _ y: (UInt64, UInt64, UInt32)) -> Bool
    {
        ((x.0 ^ y.0) | (x.1 ^ y.1) | UInt64(x.2 ^ y.2)) == 0
    }

    private static func digest(of key: UInt64) -> Key32 {
        withUnsafeBytes(of: key.bigEndian) { SHA256.hash($0) }
    }
}
