/// DNS messages on a stream, each behind its length in two bytes (RFC 1035 section 4.2.2, RFC 7766
/// section 8).
public enum DNSFraming {
    /// Bytes ahead of a message.
    public static let lengthBytes = 2

    /// A message of at most `DNSHeader.maximumMessage` bytes behind its length.
    public static func framed(_ message: [UInt8]) -> [UInt8] {
        [UInt8(message.count >> 8), UInt8(message.count & 0xff)] + message
    }

    /// How long the message is that `bytes` begin with; nil where that has not come yet.
    public static func length(of bytes: ArraySlice<UInt8>) -> Int? {
        guard bytes.count >= lengthBytes else { return nil }
        return Int(bytes[bytes.startIndex]) << 8 | Int(bytes[bytes.startIndex + 1])
    }

    /// The message that `bytes` begin with, without its length; nil where not all of it is there.
    public static func message(of bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard let length = length(of: bytes), bytes.count >= lengthBytes + length else {
            return nil
        }
        return bytes.dropFirst(lengthBytes).prefix(length)
    }
}
