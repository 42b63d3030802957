import Measures

@testable import Shell

/// Requests to the status page: read or refused, and never answered where another site's page, or a
/// name of another site that leads here, asks.
enum PageTarget {
    private static let token = "0123456789abcdef"
    private static let pages = [
        (SocketAddress("127.0.0.1:80"), nil), (SocketAddress("127.0.0.1:80"), token),
        (SocketAddress("192.0.2.1:80"), nil), (SocketAddress("192.0.2.1:80"), token)
    ].map { StatusAccess($0!, token: $1) }

    static func run(_ input: inout Input) {
        let form = Int(input.byte()) % pages.count, bytes = input.rest()
        guard let request = StatusRequest(head: bytes) else { return }
        check(request.path.hasPrefix("/"), "another path: \(request.path)")
        check(request.query.count <= StatusRequest.maximumFields, "\(request.query.count) fields")
        let access = pages[form], refusal = access.refusal(of: request)
        let isRead = ["GET", "HEAD"].contains(request.method)
        if form < 2, let host = request.host, !isLocal(host) {
            check(refusal != nil, "\(host) is another site's")
        }
        if let site = request.fetchSite, site != "same-origin", site != "none", !isRead {
            check(refusal != nil, "a page of another site asks for a change")
        }
        guard !isRead, refusal == nil else { return }
        check(form != 2, "changed from elsewhere without a token")
        guard let host = request.host else { fail("a change without a Host") }
        let own = ["http://\(host)", "https://\(host)"]
        check(request.origin.map { own.contains($0) } ?? (form & 1 == 1), "another origin")
        if form & 1 == 1 { check(request.authorization == "Bearer \(token)", "another token") }
    }

    /// Of letters that a name of another site needs only those that addresses and localhost have.
    private static func isLocal(_ host: String) -> Bool {
        let name = host.hasPrefix("[") ? host[...] : host.prefix { $0 != ":" }
        return name.hasPrefix("[")
            || name.lowercased().allSatisfy { "localhst0123456789abcdef.:%".contains($0) }
    }
}
