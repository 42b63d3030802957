import Buffers
import Measures

/// A segment inside a sealed datagram: the same `Segment`, without what the datagram, the frame or
/// an earlier segment already says. docs/wire.md draws it byte by byte.
///
/// ```
/// compact  1 0 L 0 M EEE │ number 2 │ [length 1|2] │ sequence 4 │ [data sequence 4]
///          │ [control 1 │ [acknowledgement 4] │ [window 2] │ [data acknowledgement 4] │ [SACK]]
/// general  1 1 L 0 0 0 0 U │ number 2 │ [length 1|2] │ flags 1 │ options length 1 │ sequence 4
///          │ [acknowledgement 4] │ window 2 │ [urgent pointer 2] │ options
/// ```
/// The length is that of all behind it, so that who knows no such subflow can pass over the frame;
/// a frame without one (L 0) runs to the end of the datagram. The payload is what the head leaves.
///
/// A bulk data segment takes `bulkHead` bytes before its payload. `SealedSegmentWrite` and
/// `SealedSegmentRead` have the two directions, in the same order.
public enum SealedSegment {
    /// Bit 7 of a frame's first byte: set in segment frames, clear in all others.
    public static let frameBit: UInt8 = 0x80
    /// The port of the side that did not open the subflow.
    public static let listenerPort: UInt16 = 443
    /// Head of a data segment whose acknowledgement, window and data acknowledgement the peer has
    /// already.
    public static let bulkHead = 11
    /// The same where all three must be said.
    public static let explicitHead = 22
    /// What the size of a full segment leaves for its head: a bulk head and a control byte. Shorter
    /// ones are padded to this.
    public static let paddedHead = 12
    /// No head is longer: the room `write` needs.
    public static let maximumHead = 224

    static let generalBit: UInt8 = 0x40
    static let mapBit: UInt8 = 0x08
    static let eraMask: UInt8 = 0x07
    static let urgentBit: UInt8 = 0x01
    /// The frame says its length (L); else it runs to the end of the datagram.
    static let lengthBit: UInt8 = 0x20
    /// Bits of the first byte that nothing is assigned to: with one of them set a segment is not
    /// understood.
    static let compactZeros: UInt8 = 0x10, generalZeros: UInt8 = 0x1e

    /// The control byte: era ‖ PSH ‖ acknowledgement said ‖ window said ‖ how the data
    /// acknowledgement stands.
    enum Control {
        static let push: UInt8 = 0x10, acknowledgement: UInt8 = 0x08, window: UInt8 = 0x04,
            dataMask: UInt8 = 0x03
        /// There is none; it is the reference's; it is said; it is said and SACK blocks follow.
        static let absent: UInt8 = 0, reference: UInt8 = 1, said: UInt8 = 2, saidWithSACK: UInt8 = 3
    }

    // MARK: Looking

    /// The subflow number of a segment frame; nil for other frames and for too few bytes.
    @inline(__always) public static func peekNumber(_ frame: UnsafeRawBufferPointer) -> UInt16? {
        guard frame.count >= 3, let p = frame.baseAddress, p.byte(0) & frameBit != 0 else {
            return nil
        }
        return p.word16(1)
    }

    /// The bytes of the segment frame at the start of `rest`, whoever knows its subflow; nil where
    /// it is cut short.
    @inline(__always) public static func extent(_ rest: UnsafeRawBufferPointer) -> Int? {
        guard rest.count >= 3, let p = rest.baseAddress else { return nil }
        guard p.byte(0) & lengthBit != 0 else { return rest.count }
        guard rest.count >= 4 else { return nil }
        let high = Int(p.byte(3))
        guard high >= 0x80 else { return 4 &+ high <= rest.count ? 4 &+ high : nil }
        guard rest.count >= 5 else { return nil }
        let end = 5 &+ ((high & 0x7f) << 8 | Int(p.byte(4)))
        return end <= rest.count ? end : nil
    }

    /// Whether the frame is a SYN without ACK, for which a context may be made.
    public static func isInitialSYN(_ frame: UnsafeRawBufferPointer) -> Bool {
        guard let flags = peekFlags(frame) else { return false }
        return flags.contains(.syn) && !flags.contains(.ack)
    }

    /// Whether the frame is a segment without ACK, SYN and RST: data sent before the peer's SYN/ACK
    /// came.
    public static func isBeforeAnswer(_ frame: UnsafeRawBufferPointer) -> Bool {
        guard let flags = peekFlags(frame) else { return false }
        return flags.isDisjoint(with: [.ack, .syn, .rst])
    }

    /// Whether the frame is an RST, which is always in the general form.
    public static func isReset(_ frame: UnsafeRawBufferPointer) -> Bool {
        peekFlags(frame)?.contains(.rst) ?? false
    }

    /// The flags of a segment in the general form.
    private static func peekFlags(_ frame: UnsafeRawBufferPointer) -> ControlBits? {
        guard frame.count >= 6, let p = frame.baseAddress else { return nil }
        guard p.byte(0) & (frameBit | generalBit) == frameBit | generalBit else { return nil }
        return ControlBits(rawValue: p.byte(bodyStart(p)))
    }

    /// Where the part behind number and length begins; there are at least four bytes where a length
    /// is said.
    @inline(__always) static func bodyStart(_ p: UnsafeRawPointer) -> Int {
        p.byte(0) & lengthBit == 0 ? 3 : p.byte(3) < 0x80 ? 4 : 5
    }
}
