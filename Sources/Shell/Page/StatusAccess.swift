import Measures

/// Who may read the status page, and who may change something by it.
///
/// A browser is a way in: any page that it shows may send requests here, or have its own name lead
/// to this machine (DNS rebinding). So on loopback only a Host that is this machine's counts, what
/// another site's page asks for is refused, and a change needs the token or, on loopback, the
/// page's own origin.
public struct StatusAccess: Sendable {
    /// How a change shows that it is wanted.
    public enum Changes: String, Sendable {
        /// By the token.
        case token
        /// By coming from the page itself, on loopback.
        case sameOrigin = "origin"
        /// By nothing: others than this machine's users reach the page, and there is no token.
        case refused
    }

    /// Why a request gets nothing.
    public enum Refusal: Error, Equatable, Sendable {
        /// 403, and what to do about it.
        case forbidden(String)
        /// 401: the token is missing or wrong.
        case unauthorized
    }

    private let isLoopback: Bool
    private let token: [UInt8]?

    /// For a page that is served at `address`; `token` nil: there is none.
    public init(_ address: SocketAddress, token: String?) {
        isLoopback = address.address.isLoopback
        self.token = token.map { Array($0.utf8) }
    }

    /// How a change shows that it is wanted.
    public var changes: Changes {
        token != nil ? .token : isLoopback ? .sameOrigin : .refused
    }

    /// Nil where the request may be answered.
    func refusal(of request: StatusRequest) -> Refusal? {
        guard !isLoopback || Self.isLocalName(request.host) else {
            // Another site's name that leads to this machine.
            return .forbidden("Ask by address or as localhost.")
        }
        let isRead = request.method == "GET" || request.method == "HEAD"
        if let site = request.fetchSite, site != "same-origin", site != "none" {
            // A link that leads here is followed, nothing else is given to another site's page.
            guard isRead, request.path == "/", request.fetchMode == "navigate" else {
                return .forbidden("Another site's page asked for it.")
            }
        }
        return isRead ? nil : refusalOfChange(request)
    }

    private func refusalOfChange(_ request: StatusRequest) -> Refusal? {
        guard let host = request.host else { return .forbidden("A change needs a Host.") }
        let isOwn = request.origin == "http://\(host)" || request.origin == "https://\(host)"
        switch changes {
        case .refused:
            return .forbidden(
                "Nothing is changed from here: give status a token, or serve it on 127.0.0.1.")
        case .sameOrigin:
            return isOwn ? nil : .forbidden("A change needs the page's own origin, or a token.")
        case .token:
            guard request.origin == nil || isOwn else {
                return .forbidden("Another site's page asked for it.")
            }
            return isRight(request.authorization) ? nil : .unauthorized
        }
    }

    /// In a time that tells nothing of how much of it is right.
    private func isRight(_ authorization: String?) -> Bool {
        guard let token, let shown = authorization, shown.hasPrefix("Bearer ") else { return false }
        let bytes = Array(shown.utf8.dropFirst("Bearer ".utf8.count))
        var difference = UInt8(bytes.count == token.count ? 0 : 1)
        for i in token.indices {
            difference |= token[i] ^ (bytes.isEmpty ? 0xff : bytes[i % bytes.count])
        }
        return difference == 0
    }

    /// Of a Host field, with or without a port; none at all is no browser's.
    private static func isLocalName(_ host: String?) -> Bool {
        guard let host else { return true }
        var name = host[...]
        if host.hasPrefix("["), let end = host.firstIndex(of: "]") {
            name = host[host.index(after: host.startIndex)..<end]
        } else if let colon = host.firstIndex(of: ":") {
            name = host[..<colon]
        }
        return name.lowercased() == "localhost" || IPAddress(String(name)) != nil
    }
}
