import Measures
import Wire

/// The header in front of every datagram of a UDP ASSOCIATE (RFC 1928 section 7):
/// RSV (2 bytes, zero), FRAG, ATYP, DST.ADDR, DST.PORT, DATA.
public struct SocksDatagramHeader: Hashable, Sendable {
    /// Bytes of the longest header.
    public static let maximumLength = 3 + Target.maximumEncoding

    /// Where the datagram goes, or where it came from.
    public var target: Target
    /// Where the payload begins.
    public var length: Int

    /// Why a datagram is dropped; nobody is told, as RFC 1928 wants it.
    public enum Refusal: Error, Hashable, Sendable {
        case tooShort, reservedNotZero, fragment(UInt8), unknownAddressType(UInt8), invalidName
    }

    /// The header at the beginning of a datagram of any length; throws why it is to be dropped.
    public init(reading bytes: UnsafeRawBufferPointer) throws(Refusal) {
        guard bytes.count >= 4 else { throw .tooShort }
        guard bytes[0] == 0, bytes[1] == 0 else { throw .reservedNotZero }
        // RFC 1928 section 7: an implementation that does not support fragments must drop them.
        guard bytes[2] == 0 else { throw .fragment(bytes[2]) }
        switch Target.read(bytes.slice(3..<bytes.count)) {
        case .needMore: throw .tooShort
        case .unknownAddressType(let type): throw .unknownAddressType(type)
        case .invalidName: throw .invalidName
        case .target(let target, let length):
            self.target = target
            self.length = 3 + length
        }
    }

    /// Appends the header for a datagram from or to `target`.
    public static func write(_ target: Target, into out: inout [UInt8]) {
        out.append(contentsOf: [0, 0, 0])
        target.write(into: &out)
    }
}
