import Buffers

/// The internet checksum (RFC 1071): a one's complement sum of 16-bit words, added to piece by
/// piece.
///
/// Pieces may have odd lengths; what follows an odd piece is added at its true parity.
public struct InternetChecksum: Sendable {
    /// In the machine's byte order: the sum is the same in either, but for a swap at the end.
    private var sum: UInt64 = 0
    private var isOdd = false

    /// The sum of nothing.
    public init() {}

    /// What belongs into the checksum field; over data that includes a right checksum it is 0.
    public var value: UInt16 { ~UInt16(bigEndian: Self.folded(sum)) }

    /// Adds a number that stands at an even offset.
    @inline(__always) public mutating func add(_ word: UInt16) { sum &+= UInt64(word.bigEndian) }
    /// Adds four bytes that stand at an even offset.
    @inline(__always) public mutating func add(_ word: UInt32) { add32(word.bigEndian) }
    /// Adds eight bytes that stand at an even offset.
    @inline(__always) public mutating func add(_ word: UInt64) {
        let w = word.bigEndian
        add32(UInt32(truncatingIfNeeded: w))
        add32(UInt32(truncatingIfNeeded: w >> 32))
    }
    @inline(__always) private mutating func add32(_ w: UInt32) {
        sum &+= UInt64(w & 0xffff) &+ UInt64(w >> 16)
    }

    /// Adds both pieces, one behind the other.
    public mutating func add(_ pieces: Pieces) {
        add(pieces.first)
        add(pieces.second)
    }

    /// Adds bytes behind what was added before, whatever its parity.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return }
        var part = Self.folded(Self.sum(base, bytes.count))
        if isOdd { part = part.byteSwapped }
        sum &+= UInt64(part)
        isOdd = isOdd != (bytes.count & 1 == 1)
    }

    /// The checksum after one 16-bit word under it changed (RFC 1624, equation 3).
    public static func updated(_ checksum: UInt16, from old: UInt16, to new: UInt16) -> UInt16 {
        ~folded(UInt64(~checksum) &+ UInt64(~old) &+ UInt64(new))
    }

    @inline(__always) private static func folded(_ sum: UInt64) -> UInt16 {
        var s = (sum & 0xffff_ffff) &+ (sum >> 32)
        s = (s & 0xffff) &+ (s >> 16)
        s = (s & 0xffff) &+ (s >> 16)
        s = (s & 0xffff) &+ (s >> 16)
        return UInt16(truncatingIfNeeded: s)
    }

    /// At most 2^32 halves of 32 bits fit into the sum: no carry is lost below 16 GiB.
    private static func sum(_ p: UnsafeRawPointer, _ count: Int) -> UInt64 {
        var a: UInt64 = 0, b: UInt64 = 0, at = 0
        while at &+ 16 <= count {
            let x = p.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let y = p.loadUnaligned(fromByteOffset: at &+ 8, as: UInt64.self)
            a &+= (x & 0xffff_ffff) &+ (x >> 32)
            b &+= (y & 0xffff_ffff) &+ (y >> 32)
            at &+= 16
        }
        while at &+ 2 <= count {
            a &+= UInt64(p.loadUnaligned(fromByteOffset: at, as: UInt16.self))
            at &+= 2
        }
        if at < count { a &+= UInt64(UInt16(p.byte(at)).littleEndian) }
        return a &+ b
    }
}

extension DSS {
    /// The checksum of a mapping (RFC 8684 section 3.3.1): over the 64-bit data sequence number,
    /// the relative subflow sequence number, the length, a zero field, and the payload it maps.
    public static func checksum(
        dataSequence: UInt64, subflowSequence: UInt32, length: UInt16,
        payload: Pieces
    ) -> UInt16 {
        var sum = InternetChecksum()
        sum.add(dataSequence)
        sum.add(subflowSequence)
        sum.add(length)
        sum.add(payload)
        return sum.value
    }
}
