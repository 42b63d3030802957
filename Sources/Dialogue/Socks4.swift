import Measures
import Wire

/// A SOCKS4 or SOCKS4a CONNECT, from the first byte to the answer ("SOCKS: A protocol for TCP proxy
/// across firewalls", Ying-Da Lee; "SOCKS 4A", same author).
public struct Socks4Dialogue: Sendable {
    /// Bytes of a user name or host name; the protocol itself sets no limit.
    public static let maximumField = 255

    private enum Command { static let connect: UInt8 = 1 }
    /// The answer's second byte.
    public enum Code: UInt8, Sendable {
        case granted = 90, rejected = 91, wrongUser = 93
    }

    private let refusesEverybody: Bool

    /// `credentials`: SOCKS4 has no password, so a listener that wants one refuses SOCKS4.
    public init(credentials: Credentials?) { refusesEverybody = credentials != nil }

    /// Reads VN, CD, DSTPORT, DSTIP, USERID, NUL and, where DSTIP is 0.0.0.x, a name and NUL.
    public func read(_ bytes: UnsafeRawBufferPointer) -> DialogueStep {
        guard bytes.count >= 1 else { return .needMore }
        guard bytes[0] == 4 else { return refuse(.wrongVersion(bytes[0])) }
        guard bytes.count >= 2 else { return .needMore }
        guard bytes[1] == Command.connect else { return refuse(.commandNotSupported(bytes[1])) }
        guard !refusesEverybody else { return refuse(.wrongCredentials, .wrongUser) }
        guard bytes.count >= 8 else { return .needMore }
        let port = bytes.port(at: 2)
        let address = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        guard port != 0 else { return refuse(.portZero) }

        let userEnd: Int
        switch field(bytes, from: 8) {
        case .needMore: return .needMore
        case .tooLong: return refuse(.fieldTooLong)
        case .end(let end): userEnd = end
        }
        // 0.0.0.x with x not zero: the name follows (4A).
        guard address != 0, address < 256 else {
            return .open(
                Target(host: .address(IPAddress(v4: address)), port: port), consumed: userEnd + 1)
        }
        switch field(bytes, from: userEnd + 1) {
        case .needMore: return .needMore
        case .tooLong: return refuse(.fieldTooLong)
        case .end(let end):
            guard let host = Target.Host(bracketedOrBare: bytes.slice((userEnd + 1)..<end)) else {
                return refuse(.invalidName)
            }
            return .open(Target(host: host, port: port), consumed: end + 1)
        }
    }

    /// The eight bytes that answer a request; address and port are zero, as nobody looks at them
    /// for CONNECT.
    public static func reply(_ code: Code) -> [UInt8] { [0, code.rawValue, 0, 0, 0, 0, 0, 0] }
    /// The answer for the end of a dial: the protocol tells success from failure and no more.
    public static func reply(dial status: DialStatus) -> [UInt8] {
        reply(status == .connected ? .granted : .rejected)
    }

    private enum Field { case needMore, tooLong, end(Int) }

    /// The index of the NUL that ends the field at `start`.
    private func field(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Field {
        let last = min(bytes.count, start + Self.maximumField + 1)
        for i in start..<max(start, last) where bytes[i] == 0 { return .end(i) }
        return last == start + Self.maximumField + 1 ? .tooLong : .needMore
    }

    private func refuse(_ reason: SocksRefusal, _ code: Code = .rejected) -> DialogueStep {
        .refused(reply: Self.reply(code), reason)
    }
}
