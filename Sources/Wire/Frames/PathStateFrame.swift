/// What the sender says of one path: the session's ADD_ADDR, REMOVE_ADDR and MP_PRIO in one
/// register.
///
/// The highest generation wins, so loss, duplication and reordering do no harm: whoever sees "open,
/// incarnation 2" without the removal before it knows that incarnation 1 is gone. Repeated until
/// echoed.
///
/// ```
/// byte 0      0x03 state, 0x04 echo
/// byte 1      path ID
/// bytes 2-3   generation, one more with every change; compared modulo 2^16
/// byte 4      incarnation: how often the path was opened, modulo 256
/// byte 5      bit 0 open, bit 1 backup, bit 2 silent (see `isSilent`), bits 4-5 the session's
///             mode, bits 3, 6, 7 the path's cost, its lowest bit first
/// ```
public struct PathStateFrame: Equatable, Sendable {
    /// Bytes of the frame.
    public static let size = 6
    /// It repeats what the other end said.
    public var isEcho: Bool
    /// Number of the path it is about.
    public var path: UInt8
    /// How often the statement changed, modulo 2^16.
    public var generation: UInt16
    /// How often the path was opened, modulo 2^8.
    public var incarnation: UInt8
    /// The path may be used.
    public var isOpen: Bool
    /// The path is for when no other works.
    public var isBackup: Bool
    /// The sender hears nothing on the path any more: what waits there for an answer should go
    /// another way.
    public var isSilent: Bool
    /// 0 to 3; what it stands for is the session's affair.
    public var mode: UInt8
    /// 0 to 7: 0 no more than others, 7 for what no other path can carry, between them how long
    /// data waits for others first.
    public var cost: UInt8

    /// A frame with these fields.
    public init(
        isEcho: Bool = false, path: UInt8, generation: UInt16, incarnation: UInt8,
        isOpen: Bool, isBackup: Bool,
        isSilent: Bool = false, mode: UInt8, cost: UInt8 = 0
    ) {
        self.isEcho = isEcho; self.path = path; self.generation = generation;
        self.incarnation = incarnation
        self.isOpen = isOpen; self.isBackup = isBackup; self.isSilent = isSilent;
        self.mode = mode & 3
        self.cost = cost & 7
    }

    /// Bits that are not assigned are ignored, so that they may be.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> PathStateFrame? {
        guard bytes.count >= size,
            let type = FrameType(rawValue: bytes[0]),
            type == .pathState || type == .pathStateEcho
        else { return nil }
        return PathStateFrame(
            isEcho: type == .pathStateEcho, path: bytes[1],
            generation: bytes.bigEndian(2, as: UInt16.self),
            incarnation: bytes[4], isOpen: bytes[5] & 1 != 0, isBackup: bytes[5] & 2 != 0,
            isSilent: bytes[5] & 4 != 0, mode: bytes[5] >> 4 & 3,
            cost: bytes[5] >> 3 & 1 | bytes[5] >> 5 & 6)
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(of: (isEcho ? FrameType.pathStateEcho : .pathState).rawValue, as: UInt8.self)
        out.storeBytes(of: path, toByteOffset: 1, as: UInt8.self)
        out.store(bigEndian: generation, at: 2)
        out.storeBytes(of: incarnation, toByteOffset: 4, as: UInt8.self)
        out.storeBytes(
            of: (isOpen ? 1 : 0) | (isBackup ? 2 : 0) | (isSilent ? 4 : 0) | mode << 4
                | (cost & 1) << 3 | (cost & 6) << 5,
            toByteOffset: 5, as: UInt8.self)
    }
}

extension UInt16 {
    /// Whether this generation is newer than `other`, modulo 2^16.
    public func isNewer(than other: UInt16) -> Bool { Int16(bitPattern: self &- other) > 0 }
}
