import Crypto
import Wire

/// What lets a new machine in, as one link: where the concentrator is, by what key it is known, and
/// the secret of the invitation.
///
///     braid://HOST:PORT[,HOST:PORT...]/CONCENTRATOR/SECRET[?psk=KEY]
///
/// Keys are base64url without padding (RFC 4648 section 5), 43 characters each.
public struct Invitation: Equatable, Sendable {
    /// Addresses or names with UDP ports, in order of preference; 1 to 8.
    public var addresses: [Target]
    /// By what the concentrator is known.
    public var concentratorKey: Key32
    /// The private key that the concentrator knows the invitation by.
    public var secret: Key32
    /// In addition to the keys (Noise's psk2), where the concentrator asks this user for one.
    public var preSharedKey: Key32?

    /// What has no default.
    public init(
        addresses: [Target], concentratorKey: Key32, secret: Key32, preSharedKey: Key32? = nil
    ) {
        self.addresses = addresses
        self.concentratorKey = concentratorKey
        self.secret = secret
        self.preSharedKey = preSharedKey
    }

    static let scheme = "braid://", maximumAddresses = 8

    /// The link; whoever reads it can use it.
    public var link: String {
        let hosts = addresses.map(\.description).joined(separator: ",")
        let psk = preSharedKey.map { "?psk=\($0.base64URL)" } ?? ""
        return "\(Self.scheme)\(hosts)/\(concentratorKey.base64URL)/\(secret.base64URL)\(psk)"
    }

    /// Why a text is no invitation, as a sentence.
    public struct Failure: Error, Equatable, CustomStringConvertible {
        public var description: String
    }

    /// Reads a link, with space around it or not.
    public init(link text: String) throws(Failure) {
        var rest = text[...]
        while let first = rest.first, first.isWhitespace { rest.removeFirst() }
        while let last = rest.last, last.isWhitespace { rest.removeLast() }
        guard rest.hasPrefix(Self.scheme) else {
            throw Failure(description: "an invitation begins with \(Self.scheme)")
        }
        rest = rest.dropFirst(Self.scheme.count)
        var psk: Key32?
        if let mark = rest.lastIndex(of: "?") {
            let parameter = rest[rest.index(after: mark)...]
            guard parameter.hasPrefix("psk="), let key = Key32(base64URL: parameter.dropFirst(4))
            else { throw Self.cut }
            psk = key
            rest = rest[..<mark]
        }
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, let concentrator = Key32(base64URL: parts[1]),
            let secret = Key32(base64URL: parts[2]), secret != .zero
        else { throw Self.cut }
        let hosts = parts[0].split(separator: ",", omittingEmptySubsequences: false)
        guard hosts.count <= Self.maximumAddresses else { throw Self.cut }
        var addresses: [Target] = []
        for host in hosts {
            guard
                let address = Target(
                    hostAndPort: String(host), defaultPort: Defaults.concentratorPort)
            else {
                throw Failure(
                    description: "\"\(host.prefix(80))\" in the invitation is no HOST:PORT")
            }
            addresses.append(address)
        }
        self.init(
            addresses: addresses, concentratorKey: concentrator, secret: secret, preSharedKey: psk)
    }

    private static let cut = Failure(
        description: "the invitation is cut or changed: copy all of it, up to its end")
}

extension Key32 {
    /// `base64` for links: 43 characters, none of which means something in a URL or a shell.
    var base64URL: String {
        String(
            base64.dropLast().map { $0 == "+" ? "-" : $0 == "/" ? "_" : $0 })
    }

    init?(base64URL text: some StringProtocol) {
        guard !text.contains(where: { "+/=".contains($0) }) else { return nil }
        self.init(base64: String(text.map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 }) + "=")
    }
}
