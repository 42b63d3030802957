import Measures

/// The payload of Noise message 1, from the proxy.
///
/// ```
/// byte 0       version, 1
/// byte 1       bit 0: AES in hardware; bit 1: a new session even if the old one still lives
/// bytes 2-4    the sender's session index: the answer and all records carry it
/// bytes 5-12   instance: drawn once by the sending process; its sessions replace one another. The
///              first four bytes may be the machine's
/// bytes 13-20  Unix time in nanoseconds, as far as the sender knows it
/// bytes 21-36  the challenge of a welcome that held one; zero where there was none
/// ```
public struct HelloPayload: Equatable, Sendable {
    /// Bytes of the payload, without what may follow in later versions.
    public static let size = 37
    /// The version we speak.
    public static let version: UInt8 = 1
    /// AES is fast here.
    public var hasHardwareAES: Bool
    /// A new session is wanted even if the old one still lives.
    public var wantsFresh: Bool
    /// The sender's index of the session, 24 bits: the answer and all records carry it.
    public var index: UInt32
    /// Drawn once by the sending process; its sessions replace one another.
    public var instance: UInt64
    /// Unix time in nanoseconds, as far as the sender knows it.
    public var timestamp: UInt64
    /// The challenge of a welcome that held one; zero where there was none.
    public var challenge: Bytes16

    /// A payload with these fields.
    public init(
        hasHardwareAES: Bool, wantsFresh: Bool, index: UInt32, instance: UInt64, timestamp: UInt64,
        challenge: Bytes16 = .zero
    ) {
        self.hasHardwareAES = hasHardwareAES; self.wantsFresh = wantsFresh; self.index = index
        self.instance = instance; self.timestamp = timestamp; self.challenge = challenge
    }

    /// Nil for another version. Bytes behind the known ones are ignored, so that there may be some.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.size, bytes[0] == Self.version else { return nil }
        hasHardwareAES = bytes[1] & 1 != 0
        wantsFresh = bytes[1] & 2 != 0
        (index, instance, timestamp, challenge) = bytes.withUnsafeBytes {
            (
                $0.low24(2), $0.bigEndian(5, as: UInt64.self), $0.bigEndian(13, as: UInt64.self),
                Bytes16($0, at: 21)
            )
        }
    }

    /// The payload as it is sealed.
    public var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.size) { buffer, count in
            let out = UnsafeMutableRawPointer(buffer.baseAddress!)
            out.storeBytes(of: Self.version, as: UInt8.self)
            out.storeBytes(
                of: (hasHardwareAES ? 1 : 0) | (wantsFresh ? 2 : 0), toByteOffset: 1,
                as: UInt8.self)
            out.store(low24: index, at: 2)
            out.store(bigEndian: instance, at: 5)
            out.store(bigEndian: timestamp, at: 13)
            challenge.write(into: out + 21)
            count = Self.size
        }
    }

    /// The instance of a process: `drawn` by chance, its upper half the machine's where that is
    /// known.
    public static func instance(drawn: UInt64, machine: UInt32?) -> UInt64 {
        machine.map { UInt64($0) << 32 | drawn & 0xffff_ffff } ?? drawn
    }

    /// What the instances of all processes of a machine have in common.
    public static func machine(of instance: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: instance >> 32)
    }
}
