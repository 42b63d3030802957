import Measures

/// What who is invited says on a stream to `Target.enrolment`, once.
///
/// ```
/// byte 0       1: this form
/// byte 1..32   the public key by which this machine wants to be known from now on
/// ```
public struct EnrolmentRequest: Equatable, Sendable {
    /// Bytes of it.
    public static let size = 33
    /// An X25519 public key.
    public var publicKey: [UInt8]

    /// `publicKey`: 32 bytes.
    public init(publicKey: [UInt8]) { self.publicKey = publicKey }

    /// Nil where it is of another form or length.
    public static func read(_ bytes: [UInt8]) -> EnrolmentRequest? {
        guard bytes.count == size, bytes[0] == 1 else { return nil }
        return EnrolmentRequest(publicKey: Array(bytes[1...]))
    }

    /// Its 33 bytes.
    public var bytes: [UInt8] { [1] + publicKey }
}

/// What is answered, before the stream ends.
///
/// ```
/// byte 0       outcome
/// byte 1       n: bytes of the name
/// byte 2..     the name of the user that the machine is now
/// ```
public struct EnrolmentAnswer: Equatable, Sendable {
    /// What became of it.
    public enum Outcome: UInt8, CaseIterable, Sendable {
        case admitted = 0
        /// The invitation's time is over, or it was used.
        case over = 1
        /// The key is another user's, the concentrator's or the invitation's.
        case keyInUse = 2
        /// The concentrator can't write it down.
        case failed = 3
    }
    /// What became of the enrolment.
    public var outcome: Outcome
    /// Empty where it was not admitted; at most 64 bytes.
    public var name: String

    /// `name`: 64 bytes at most.
    public init(_ outcome: Outcome, name: String = "") { self.outcome = outcome; self.name = name }

    /// Nil while there are too few bytes, and where the outcome is not known here.
    public static func read(_ bytes: [UInt8]) -> EnrolmentAnswer? {
        guard bytes.count >= 2, let outcome = Outcome(rawValue: bytes[0]),
            bytes.count >= 2 + Int(bytes[1])
        else { return nil }
        return EnrolmentAnswer(
            outcome, name: String(decoding: bytes[2..<(2 + Int(bytes[1]))], as: UTF8.self))
    }

    /// As it is sent.
    public var bytes: [UInt8] {
        let name = Array(name.utf8.prefix(64))
        return [outcome.rawValue, UInt8(truncatingIfNeeded: name.count)] + name
    }
}
