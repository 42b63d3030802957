import Measures

/// Where an application wants to go (SOCKS5 address form, RFC 1928 section 5).
public struct Target: Hashable, Sendable {
    /// An address, or a name that the other end resolves.
    public enum Host: Hashable, Sendable { case address(IPAddress), name(String) }
    /// Where the connection or datagram goes.
    public var host: Host
    /// In host byte order.
    public var port: UInt16
    /// A target; a name has 1 to 255 bytes.
    public init(host: Host, port: UInt16) { self.host = host; self.port = port }

    /// The concentrator's resolver: datagrams to it are DNS messages, streams to it carry them
    /// behind their lengths (docs/wire.md, Names). No name of the world's ends so (RFC 6761).
    public static let resolver = Target(host: .name("resolver.braid.invalid"), port: 53)

    /// Where who is invited says the key of its own, on a stream (docs/wire.md, Enrolment).
    public static let enrolment = Target(host: .name("enrolment.braid.invalid"), port: 1)

    /// Where a proxy asks for bytes, and for what is seen of it, on a stream (docs/wire.md,
    /// Measurement).
    public static let measurement = Target(host: .name("measurement.braid.invalid"), port: 1)
}

/// How a dial at the concentrator ended, as the first byte of the answering stream.
public enum DialStatus: UInt8, Sendable, CaseIterable {
    case connected = 0
    case generalFailure = 1
    /// The concentrator's policy forbids the address.
    case denied = 2
    case networkUnreachable = 3
    case hostUnreachable = 4
    case connectionRefused = 5
    case timedOut = 6
    /// The name does not resolve.
    case nameNotFound = 7
    case tooManyConnections = 8
}

/// What reading a target from the start of a stream came to.
public enum TargetReading: Hashable, Sendable {
    /// Every byte so far fits; more are needed.
    case needMore
    case target(Target, length: Int)
    /// The address type is none of RFC 1928's (1, 3, 4).
    case unknownAddressType(UInt8)
    /// An empty name, or one with a byte that no host name has.
    case invalidName
}

extension Target {
    /// ATYP, a length byte, 255 bytes of name, port.
    public static let maximumEncoding = 1 + 1 + 255 + 2

    private enum AddressType { static let v4: UInt8 = 1, name: UInt8 = 3, v6: UInt8 = 4 }

    /// Reads ATYP, address and port from the front of `bytes` (RFC 1928 section 5).
    ///
    /// A name that is an IP address in text, IPv6 also in brackets, becomes that address, and an
    /// IPv4-mapped IPv6 address the IPv4 one, so that nobody has to look twice.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> TargetReading {
        guard bytes.count >= 1 else { return .needMore }
        switch bytes[0] {
        case AddressType.v4:
            guard bytes.count >= 7 else { return .needMore }
            let address = IPAddress(v4: UInt32(bigEndian: load(bytes, 1)))
            return .target(Target(host: .address(address), port: port(bytes, 5)), length: 7)
        case AddressType.v6:
            guard bytes.count >= 19 else { return .needMore }
            let high: UInt64 = load(bytes, 1), low: UInt64 = load(bytes, 9)
            let address = IPAddress(v6High: UInt64(bigEndian: high), low: UInt64(bigEndian: low))
            return .target(
                Target(host: .address(address.unmapped), port: port(bytes, 17)), length: 19)
        case AddressType.name:
            guard bytes.count >= 2 else { return .needMore }
            let length = Int(bytes[1])
            guard length > 0 else { return .invalidName }
            let present = UnsafeRawBufferPointer(rebasing: bytes[2..<min(2 + length, bytes.count)])
            guard present.allSatisfy(isNameOrBracketByte) else { return .invalidName }
            guard bytes.count >= 4 + length else { return .needMore }
            guard let host = Host(bracketedOrBare: present) else { return .invalidName }
            return .target(Target(host: host, port: port(bytes, 2 + length)), length: 4 + length)
        case let other:
            return .unknownAddressType(other)
        }
    }

    /// Appends ATYP, address and port (RFC 1928 section 5). A name longer than 255 bytes is our own
    /// bug.
    public func write(into out: inout [UInt8]) {
        switch host {
        case .address(let a) where a.isIPv4:
            out.append(AddressType.v4)
            for shift in [24, 16, 8, 0] as [UInt32] {
                out.append(UInt8(truncatingIfNeeded: a.v4 >> shift))
            }
        case .address(let a):
            out.append(AddressType.v6)
            for word in [a.high, a.low] {
                withUnsafeBytes(of: word.bigEndian) { out.append(contentsOf: $0) }
            }
        case .name(let name):
            precondition((1...255).contains(name.utf8.count), "a target's name has 1 to 255 bytes")
            out.append(AddressType.name)
            out.append(UInt8(name.utf8.count))
            out.append(contentsOf: name.utf8)
        }
        out.append(UInt8(port >> 8))
        out.append(UInt8(truncatingIfNeeded: port))
    }

    private static func load<T: FixedWidthInteger>(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> T
    {
        bytes.loadUnaligned(fromByteOffset: at, as: T.self)
    }
    private static func port(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt16 {
        UInt16(bigEndian: load(bytes, at))
    }

    /// Letters, digits, hyphen, underscore, dot; the colon only occurs in the text of an IPv6
    /// address. Other scripts arrive in their ASCII form (RFC 5890).
    static func isNameByte(_ b: UInt8) -> Bool {
        switch b {
        case 0x30...0x3a, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
        default: false
        }
    }
}

extension Target {
    fileprivate static func isNameOrBracketByte(_ b: UInt8) -> Bool {
        isNameByte(b) || b == UInt8(ascii: "[") || b == UInt8(ascii: "]")
    }
}

extension Target.Host {
    /// As `init(nameBytes:)`, and an IPv6 address in the brackets of a URL: some applications pass
    /// on what stood there.
    public init?(bracketedOrBare bytes: UnsafeRawBufferPointer) {
        guard bytes.first == UInt8(ascii: "["), bytes.last == UInt8(ascii: "]"), bytes.count > 2
        else {
            self.init(nameBytes: bytes)
            return
        }
        let inner = UnsafeRawBufferPointer(rebasing: bytes[1..<(bytes.count - 1)])
        guard inner.contains(UInt8(ascii: ":")) else { return nil }
        self.init(nameBytes: inner)
    }

    /// A host name or an IP address in text (IPv6 without brackets); nil for what is neither.
    public init?(nameBytes bytes: UnsafeRawBufferPointer) {
        guard (1...255).contains(bytes.count), bytes.allSatisfy(Target.isNameByte) else {
            return nil
        }
        let text = String(decoding: bytes, as: UTF8.self)
        if let address = IPAddress(text) {
            self = .address(address.unmapped)
        } else {
            guard !text.utf8.contains(0x3a), text.utf8.first != 0x2e else { return nil }
            self = .name(text)
        }
    }
    /// As `init(nameBytes:)`, from text.
    public init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        let host = bytes.withUnsafeBytes { Target.Host(nameBytes: $0) }
        guard let host else { return nil }
        self = host
    }
}

extension Target: CustomStringConvertible {
    /// `example.org:443`, `192.0.2.1:443` or `[2001:db8::1]:443`.
    public var description: String {
        switch host {
        case .address(let a): SocketAddress(a, port: port).description
        case .name(let name): "\(name):\(port)"
        }
    }
}
