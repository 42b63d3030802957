import Wire

/// The name an application says in its first bytes, where it knows of no proxy: the server name of
/// a TLS ClientHello (RFC 6066 section 3), or the Host of an HTTP request.
public enum FirstBytes: Equatable, Sendable {
    /// What is there may be the beginning of one.
    case needMore
    /// In the application's own letters; never an address.
    case name(String)
    /// Something else, or one that says no name.
    case none

    /// Bytes looked at; who says no name within them says none.
    public static let limit = 16 << 10

    /// What all bytes that came so far say.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> FirstBytes {
        let bytes = bytes.slice(0..<min(bytes.count, limit))
        guard let first = bytes.first else { return .needMore }
        let reading: FirstBytes
        switch first {
        case 22: reading = readTLS(bytes)
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): reading = readHTTP(bytes)
        default: return .none
        }
        return reading == .needMore && bytes.count >= limit ? .none : reading
    }

    /// A name that an application could ask for; an address is none.
    private static func named(_ bytes: UnsafeRawBufferPointer) -> FirstBytes {
        guard case .name(let name)? = Target.Host(nameBytes: bytes) else { return .none }
        return .name(name)
    }

    // MARK: HTTP

    private static func readHTTP(_ bytes: UnsafeRawBufferPointer) -> FirstBytes {
        var heads = HTTPHeadReader()
        switch heads.read(bytes) {
        case .needMore: return .needMore
        case .refused: return .none
        case .head(let head, _):
            let hosts = head.values("host")
            guard hosts.count == 1, var host = hosts.first else { return .none }
            if let colon = host.lastIndex(of: UInt8(ascii: ":")),
                host[(colon + 1)...].allSatisfy(ASCII.isDigit)
            {
                host = host[..<colon]
            }
            return host.withUnsafeBytes { named($0) }
        }
    }

    // MARK: TLS

    /// A ClientHello may lie in several records (RFC 8446 section 5.1).
    private static func readTLS(_ bytes: UnsafeRawBufferPointer) -> FirstBytes {
        var hello: [UInt8] = [], at = 0
        while at + 5 <= bytes.count {
            let length = Int(bytes.port(at: at + 3))
            guard bytes[at] == 22, bytes[at + 1] == 3, length > 0 else { return .none }
            hello += bytes.slice((at + 5)..<min(at + 5 + length, bytes.count))
            at += 5 + length
            guard hello.first == nil || hello[0] == 1 else { return .none }
            if hello.count >= 4 {
                let whole = 4 + Int(hello[1]) << 16 + Int(hello[2]) << 8 + Int(hello[3])
                if hello.count >= whole { return readHello(hello[4..<whole]) ?? .none }
            }
        }
        // As far as it came it must be one.
        return bytes.count > 1 && bytes[1] != 3 ? .none : .needMore
    }

    /// The body of a ClientHello (RFC 8446 section 4.1.2); nil where it ends too early.
    private static func readHello(_ body: ArraySlice<UInt8>) -> FirstBytes? {
        var rest = body
        func take(_ n: Int) -> ArraySlice<UInt8>? {
            guard n <= rest.count else { return nil }
            defer { rest = rest.dropFirst(n) }
            return rest.prefix(n)
        }
        func number(_ n: Int) -> Int? { take(n)?.reduce(0) { $0 << 8 | Int($1) } }
        guard take(2 + 32) != nil,
            let session = number(1), take(session) != nil,
            let suites = number(2), take(suites) != nil,
            let methods = number(1), take(methods) != nil,
            let extensions = number(2), extensions <= rest.count
        else { return nil }
        rest = rest.prefix(extensions)
        while let type = number(2), let length = number(2), let content = take(length) {
            guard type == 0 else { continue }
            // ServerNameList: its length, then type 0 (host_name), a length, the name.
            rest = content
            guard number(2) != nil, number(1) == 0, let count = number(2), let name = take(count)
            else { return nil }
            return name.withUnsafeBytes { named($0) }
        }
        return FirstBytes.none
    }
}
