// The first byte on a mixed port says which language the application speaks.
import Wire

/// The protocols an application may speak to the proxy.
public enum ClientProtocol: Hashable, Sendable {
    case socks4, socks5, http

    /// SOCKS4 and SOCKS5 begin with their version, an HTTP request with the letter of a method; nil
    /// for anything else (a TLS hello, say), which is closed without an answer.
    public init?(firstByte: UInt8) {
        switch firstByte {
        case 4: self = .socks4
        case 5: self = .socks5
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"):
            self = .http
        default: return nil
        }
    }
}

/// What the proxy asks applications for, on a listener that has a password.
public struct Credentials: Equatable, Sendable {
    /// 1 to 255 bytes, without a colon.
    public let user: [UInt8]
    /// 1 to 255 bytes.
    public let password: [UInt8]

    /// Nil where either is empty or longer than the 255 bytes RFC 1929 can carry, or the user has a
    /// colon, which ends it in HTTP's form (RFC 7617 section 2).
    public init?(user: String, password: String) {
        self.user = Array(user.utf8)
        self.password = Array(password.utf8)
        guard (1...255).contains(self.user.count), (1...255).contains(self.password.count),
            !self.user.contains(UInt8(ascii: ":"))
        else { return nil }
    }

    /// Compares in a time that depends on the lengths alone.
    public func matches(user: some Collection<UInt8>, password: some Collection<UInt8>) -> Bool {
        let sameUser = Self.equal(self.user, user),
            samePassword = Self.equal(self.password, password)
        return sameUser && samePassword
    }

    private static func equal(_ a: [UInt8], _ b: some Collection<UInt8>) -> Bool {
        guard a.count == b.count else { return false }
        var difference: UInt8 = 0
        for (x, y) in zip(a, b) { difference |= x ^ y }
        return difference == 0
    }
}

/// What a SOCKS dialogue wants done after the bytes it was given.
public enum DialogueStep: Equatable, Sendable {
    case needMore
    /// Drop `consumed` bytes from the front, send `reply`, go on with the rest.
    case reply([UInt8], consumed: Int)
    /// Drop `consumed` bytes and open `target`; what follows them belongs to the application.
    case open(Target, consumed: Int)
    /// Drop `consumed` bytes and serve datagrams; the address is the one the application says it
    /// will send from, often all zero.
    case associate(Target, consumed: Int)
    /// Send `reply` (perhaps nothing) and close.
    case refused(reply: [UInt8], SocksRefusal)
}

/// Why a SOCKS dialogue was refused; for logs and counters.
public enum SocksRefusal: Equatable, Sendable {
    case wrongVersion(UInt8)
    case commandNotSupported(UInt8)
    case addressTypeNotSupported(UInt8)
    case invalidName
    case portZero
    case fieldTooLong
    case noAcceptableMethod
    case wrongCredentials
}

extension UnsafeRawBufferPointer {
    @inline(__always) func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[range])
    }
    /// Two bytes in network order; the caller checked the bounds.
    @inline(__always) func port(at offset: Int) -> UInt16 {
        UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }
}
