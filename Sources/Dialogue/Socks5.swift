import Measures
import Wire

/// A SOCKS5 dialogue up to its request: methods (RFC 1928 section 3), user and password (RFC 1929),
/// request (RFC 1928 section 4).
///
/// CONNECT opens a stream, UDP ASSOCIATE an association where the listener has them; BIND is
/// answered "command not supported".
public struct Socks5Dialogue: Sendable {
    private enum State { case methods, credentials, request, ended }
    private enum Method {
        static let none: UInt8 = 0, password: UInt8 = 2, unacceptable: UInt8 = 0xff
    }
    private enum Command { static let connect: UInt8 = 1, bind: UInt8 = 2, associate: UInt8 = 3 }

    /// RFC 1928 section 6.
    public enum Code: UInt8, Sendable {
        case succeeded = 0, generalFailure = 1, notAllowed = 2, networkUnreachable = 3,
            hostUnreachable = 4
        case connectionRefused = 5, timeToLiveExpired = 6, commandNotSupported = 7,
            addressTypeNotSupported = 8

        /// The nearest of RFC 1928's replies.
        public init(_ status: DialStatus) {
            self =
                switch status {
                case .connected: .succeeded
                case .generalFailure, .tooManyConnections: .generalFailure
                case .denied: .notAllowed
                case .networkUnreachable: .networkUnreachable
                // RFC 1928 has no code for a name that does not exist; clients read this one as
                // "cannot be reached".
                case .hostUnreachable, .nameNotFound: .hostUnreachable
                case .connectionRefused: .connectionRefused
                case .timedOut: .timeToLiveExpired
                }
        }
    }

    private let credentials: Credentials?
    private let allowsUDP: Bool
    private var state = State.methods

    /// `credentials`: what the application must show; nil asks for nothing, though an application
    /// that insists on sending a password may.
    /// `allowsUDP`: whether UDP ASSOCIATE is served.
    public init(credentials: Credentials?, allowsUDP: Bool = false) {
        self.credentials = credentials
        self.allowsUDP = allowsUDP
    }

    /// The next step for the bytes at hand, which begin where the last step's `consumed` ended.
    public mutating func read(_ bytes: UnsafeRawBufferPointer) -> DialogueStep {
        switch state {
        case .methods: return readMethods(bytes)
        case .credentials: return readCredentials(bytes)
        case .request: return readRequest(bytes)
        case .ended: return .needMore
        }
    }

    /// VER, REP, RSV, ATYP, BND.ADDR, BND.PORT; the bound address is left at 0.0.0.0:0, as it means
    /// nothing on this side of the tunnel.
    public static func reply(_ code: Code) -> [UInt8] { [5, code.rawValue, 0, 1, 0, 0, 0, 0, 0, 0] }
    /// With the address to which the application's datagrams go.
    public static func reply(_ code: Code, bound: SocketAddress) -> [UInt8] {
        var reply: [UInt8] = [5, code.rawValue, 0]
        Target(host: .address(bound.address), port: bound.port).write(into: &reply)
        return reply
    }
    /// The reply to the result of a dial.
    public static func reply(dial status: DialStatus) -> [UInt8] { reply(Code(status)) }

    /// VER, NMETHODS, METHODS.
    private mutating func readMethods(_ bytes: UnsafeRawBufferPointer) -> DialogueStep {
        guard bytes.count >= 1 else { return .needMore }
        guard bytes[0] == 5 else { return refuse([], .wrongVersion(bytes[0])) }
        guard bytes.count >= 2 else { return .needMore }
        let end = 2 + Int(bytes[1])
        guard bytes.count >= end else { return .needMore }
        let offered = bytes.slice(2..<end)
        let preferred = credentials == nil ? [Method.none, Method.password] : [Method.password]
        guard let method = preferred.first(where: { offered.contains($0) }) else {
            return refuse([5, Method.unacceptable], .noAcceptableMethod)
        }
        state = method == Method.password ? .credentials : .request
        return .reply([5, method], consumed: end)
    }

    /// VER, ULEN, UNAME, PLEN, PASSWD (RFC 1929 section 2).
    private mutating func readCredentials(_ bytes: UnsafeRawBufferPointer) -> DialogueStep {
        guard bytes.count >= 1 else { return .needMore }
        guard bytes[0] == 1 else { return refuse([1, 1], .wrongVersion(bytes[0])) }
        guard bytes.count >= 2 else { return .needMore }
        let userEnd = 2 + Int(bytes[1])
        guard bytes.count > userEnd else { return .needMore }
        let end = userEnd + 1 + Int(bytes[userEnd])
        guard bytes.count >= end else { return .needMore }
        let user = bytes.slice(2..<userEnd), password = bytes.slice((userEnd + 1)..<end)
        guard credentials?.matches(user: user, password: password) ?? true else {
            return refuse([1, 1], .wrongCredentials)
        }
        state = .request
        return .reply([1, 0], consumed: end)
    }

    /// The message with user and password at the front of `bytes`, as far as it is there.
    public static func credentialBytes(of bytes: [UInt8]) -> ArraySlice<UInt8> {
        guard bytes.count > 2, bytes.count > 2 + Int(bytes[1]) else { return bytes[...] }
        let userEnd = 2 + Int(bytes[1])
        return bytes.prefix(userEnd + 1 + Int(bytes[userEnd]))
    }

    /// VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT.
    private mutating func readRequest(_ bytes: UnsafeRawBufferPointer) -> DialogueStep {
        guard bytes.count >= 1 else { return .needMore }
        guard bytes[0] == 5 else {
            return refuse(Self.reply(.generalFailure), .wrongVersion(bytes[0]))
        }
        guard bytes.count >= 2 else { return .needMore }
        let isAssociate = bytes[1] == Command.associate && allowsUDP
        guard bytes[1] == Command.connect || isAssociate else {
            return refuse(Self.reply(.commandNotSupported), .commandNotSupported(bytes[1]))
        }
        guard bytes.count >= 4 else { return .needMore }
        switch Target.read(bytes.slice(3..<bytes.count)) {
        case .needMore:
            return .needMore
        case .target(let target, let length) where isAssociate:
            state = .ended
            return .associate(target, consumed: 3 + length)
        case .target(let target, let length):
            guard target.port != 0 else { return refuse(Self.reply(.generalFailure), .portZero) }
            state = .ended
            return .open(target, consumed: 3 + length)
        case .unknownAddressType(let type):
            return refuse(Self.reply(.addressTypeNotSupported), .addressTypeNotSupported(type))
        case .invalidName:
            return refuse(Self.reply(.hostUnreachable), .invalidName)
        }
    }

    private mutating func refuse(_ reply: [UInt8], _ reason: SocksRefusal) -> DialogueStep {
        state = .ended
        return .refused(reply: reply, reason)
    }
}
