import Measures

/// What a proxy asks on a stream to `Target.measurement`, once, to learn of the way between
/// (docs/wire.md, Measurement).
///
/// ```
/// byte 0       1: this form
/// byte 1..4    bytes that it wants, big endian
/// byte 5..8    bytes that it sends behind this, big endian
/// byte 9..10   seconds from the last of them to the answer, big endian
/// ```
public struct MeasurementRequest: Equatable, Sendable {
    /// Bytes of it.
    public static let size = 11
    /// Of either direction, bytes.
    public static let maximum = 4 << 20
    /// Seconds: longer than NATs are known to keep what is silent, as a rule.
    public static let maximumDelay = 600
    /// Bytes that are wanted, and that follow; 0 to `maximum`.
    public var down: Int, up: Int
    /// Seconds; 0 to `maximumDelay`.
    public var delay: Int

    /// `down`, `up`: 0 to `maximum`; `delay`: 0 to `maximumDelay`.
    public init(down: Int = 0, up: Int = 0, delay: Int = 0) {
        self.down = down; self.up = up; self.delay = delay
    }

    /// Nil where it is too short, of another form, or asks for too much.
    public static func read(_ bytes: [UInt8]) -> MeasurementRequest? {
        guard bytes.count >= size, bytes[0] == 1 else { return nil }
        func number(_ range: Range<Int>) -> Int { bytes[range].reduce(0) { $0 << 8 | Int($1) } }
        let request = MeasurementRequest(
            down: number(1..<5), up: number(5..<9), delay: number(9..<11))
        guard request.down <= maximum, request.up <= maximum, request.delay <= maximumDelay
        else { return nil }
        return request
    }

    /// Its 11 bytes.
    public var bytes: [UInt8] {
        let counts = [down, up].flatMap { n in
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: n >> $0) }
        }
        return [1] + counts + [UInt8(delay >> 8 & 255), UInt8(delay & 255)]
    }
}

/// What is answered once all that was announced has come, ahead of the bytes that are wanted.
///
/// ```
/// byte 0..1    of the datagrams the concentrator sent lately, how many were lost, in 1/1000, big
///              endian
/// byte 2       n: bytes of the address
/// byte 3..     address and port from which the proxy's datagrams come, as text
/// ```
public struct MeasurementAnswer: Equatable, Sendable {
    /// Share of datagrams, 0 to 1, in steps of 1/1000.
    public var loss: Double
    /// Of the proxy, as the concentrator sees it: `192.0.2.7:40000` or `[2001:db8::7]:40000`.
    public var address: String

    /// `loss`: 0 to 1; `address`: 64 bytes at most.
    public init(loss: Double, address: String) { self.loss = loss; self.address = address }

    /// The answer and its length; nil while there are too few bytes.
    public static func read(_ bytes: [UInt8]) -> (answer: MeasurementAnswer, length: Int)? {
        guard bytes.count >= 3, bytes.count >= 3 + Int(bytes[2]) else { return nil }
        let length = 3 + Int(bytes[2])
        let share = min(1000, Int(bytes[0]) << 8 | Int(bytes[1]))
        let address = String(decoding: bytes[3..<length], as: UTF8.self)
        return (MeasurementAnswer(loss: Double(share) / 1000, address: address), length)
    }

    /// As it is sent.
    public var bytes: [UInt8] {
        let share = Int(min(max(loss, 0), 1) * 1000), text = Array(address.utf8.prefix(64))
        return [UInt8(share >> 8), UInt8(share & 255), UInt8(truncatingIfNeeded: text.count)] + text
    }
}
