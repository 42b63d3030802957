import Measures

/// The payload of Noise message 2, from the concentrator.
///
/// ```
/// byte 0      version, 1
/// byte 1      outcome: 0 a session begins with these keys; 1 the instance's session goes on with
/// these keys;
///             2 no session: the next hello is to hold the challenge
/// byte 2      cipher of records (`CipherSuite`'s raw value)
/// bytes 3-5   the sender's session index
/// byte 6      bit 0: no further paths to the address this was sent from (RFC 8684's C flag)
/// bytes 7-22  outcome 2 only: the challenge
/// byte 7      outcomes 0 and 1, where it is there: n, at most 32
/// bytes 8-    n bytes: the version of the concentrator's program
/// ```
///
/// Behind the message stand `tokenSize` clear bytes, others for every address it is sent to: handed
/// back like a probe's number in the first record, they show that the proxy receives there. Zero
/// where nothing is asked.
public struct WelcomePayload: Equatable, Sendable {
    /// What the hello led to.
    public enum Outcome: UInt8, Sendable { case newSession = 0, resumed = 1, challenge = 2 }
    /// Bytes of the payload without a token.
    public static let size = 7
    /// With a challenge.
    public static let maximumSize = 23
    /// Bytes of the token.
    public static let tokenSize = 8
    /// The version we speak.
    public static let version: UInt8 = 1
    /// What the hello led to.
    public var outcome: Outcome
    /// The cipher of records: `CipherSuite`'s raw value.
    public var cipher: UInt8
    /// The sender's index of the session, 24 bits.
    public var index: UInt32
    /// No further paths to the address this was sent from (RFC 8684's C flag).
    public var forbidsFirst: Bool
    /// Zero but for `Outcome.challenge`.
    public private(set) var challenge = Bytes16.zero

    /// The version of the concentrator's program; empty where it does not say.
    public var program = ""

    /// A payload with these fields.
    public init(outcome: Outcome, cipher: UInt8, index: UInt32, forbidsFirst: Bool = false) {
        self.outcome = outcome; self.cipher = cipher; self.index = index;
        self.forbidsFirst = forbidsFirst
    }

    /// No session, but what the next hello must hold to get one.
    public init(challenge: Bytes16, cipher: UInt8) {
        self.init(outcome: .challenge, cipher: cipher, index: 0)
        self.challenge = challenge
    }

    /// Nil for another version or an unknown outcome. Bytes behind the known ones are ignored.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.size,
            bytes[0] == Self.version,
            let outcome = Outcome(rawValue: bytes[1])
        else { return nil }
        self.outcome = outcome
        cipher = bytes[2]
        index = bytes.withUnsafeBytes { $0.low24(3) }
        forbidsFirst = bytes[6] & 1 != 0
        if outcome == .challenge {
            guard bytes.count >= Self.maximumSize else { return nil }
            challenge = bytes.withUnsafeBytes { Bytes16($0, at: Self.size) }
        } else if bytes.count > Self.size {
            let text = bytes[(Self.size + 1)...].prefix(Int(bytes[Self.size]))
            program = ProgramVersionFrame.plain(text)
        }
    }

    /// The payload as it is sealed.
    public var bytes: [UInt8] {
        guard outcome != .challenge, !program.isEmpty else { return fields }
        let text = Array(ProgramVersionFrame(text: program).text.utf8)
        return fields + [UInt8(truncatingIfNeeded: text.count)] + text
    }

    private var fields: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.maximumSize) { buffer, count in
            let out = UnsafeMutableRawPointer(buffer.baseAddress!)
            out.storeBytes(of: Self.version, as: UInt8.self)
            out.storeBytes(of: outcome.rawValue, toByteOffset: 1, as: UInt8.self)
            out.storeBytes(of: cipher, toByteOffset: 2, as: UInt8.self)
            out.store(low24: index, at: 3)
            out.storeBytes(of: forbidsFirst ? 1 : 0, toByteOffset: 6, as: UInt8.self)
            count = Self.size
            guard outcome == .challenge else { return }
            challenge.write(into: out + Self.size)
            count = Self.maximumSize
        }
    }
}
