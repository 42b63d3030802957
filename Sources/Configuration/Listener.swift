import Dialogue
import Measures
import Multipath
import Proxy
import Tunnel

/// What a listener has for its connections instead of the proxy's.
private struct ListenerChoices {
    /// Nil: the proxy's.
    var mode: HandoverMode?
    /// Nil: UDP is not relayed.
    var datagrams: DatagramPolicy? = .auto
    /// Every byte goes on two uplinks.
    var isRedundant = false
}

extension Field {
    /// One port of the proxy, written as
    /// `SCHEME://[USER:PASSWORD@]ADDRESS:PORT[?mode=MODE][&udp=POLICY][&scheduler=SCHEDULER]`;
    /// without a scheme, `mixed`.
    func listener() -> ProxyListener? {
        guard let text = text() else { return nil }
        let shown = withoutPassword(text)
        let form = "write SCHEME://[USER:PASSWORD@]ADDRESS:PORT, such as \(Defaults.proxyListen)"
        var rest = text[...], scheme = ProxyListener.Scheme.mixed
        if let mark = text.firstRange(of: "://") {
            guard let known = listenerScheme(text[..<mark.lowerBound]) else { return nil }
            scheme = known
            rest = text[mark.upperBound...]
        }
        var credentials: Credentials?
        if let at = rest.lastIndex(of: "@") {
            guard let found = Credentials(urlPart: rest[..<at]) else {
                return wrong(
                    "\(shown): before the @ must stand USER:PASSWORD,"
                        + " each 1 to 255 bytes (%40 for @, %3A for :)")
            }
            credentials = found
            rest = rest[rest.index(after: at)...]
        }
        var choices = ListenerChoices()
        if let mark = rest.lastIndex(of: "?") {
            guard let found = listenerChoices(rest[rest.index(after: mark)...]) else { return nil }
            choices = found
            rest = rest[..<mark]
        }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let numeric =
            rest.hasPrefix("localhost:")
            ? "127.0.0.1" + rest.dropFirst("localhost".count) : String(rest)
        guard let address = SocketAddress(numeric), address.port > 0 else {
            return wrong("\"\(shown)\" is not a place to listen; \(form)")
        }
        do {
            return try ProxyListener(
                scheme: scheme, address: address, credentials: credentials,
                mode: choices.mode, datagrams: choices.datagrams,
                isRedundant: choices.isRedundant)
        } catch {
            switch error {
            case .openToEverybody(let address):
                return wrong(
                    """
                    \(shown) would let everybody in; listen on 127.0.0.1, or ask for a password: \
                    \(scheme.rawValue)://USER:PASSWORD@\(address)
                    """)
            }
        }
    }

    private func listenerScheme(_ name: Substring) -> ProxyListener.Scheme? {
        if let known = ProxyListener.Scheme(rawValue: String(name)) { return known }
        let names = ProxyListener.Scheme.allCases.map(\.rawValue).joined(separator: ", ")
        return wrong("\"\(name)\" is no kind of listener; known: \(names)")
    }

    /// `NAME=VALUE[&NAME=VALUE]…` behind a listener's `?`.
    private func listenerChoices(_ text: Substring) -> ListenerChoices? {
        var choices = ListenerChoices()
        for setting in text.split(separator: "&") {
            if setting.hasPrefix("udp=") {
                guard let found = datagramPolicy(setting.dropFirst(4)) else { return nil }
                choices.datagrams = found.policy
            } else if setting.hasPrefix("scheduler=") {
                guard let found = scheduler(setting.dropFirst(10)) else { return nil }
                choices.isRedundant = found
            } else {
                guard let found = handoverMode(setting) else { return nil }
                choices.mode = found
            }
        }
        return choices
    }

    /// `mode=MODE` behind a listener's address.
    private func handoverMode(_ setting: Substring) -> HandoverMode? {
        let names = HandoverMode.allCases.map(\.rawValue)
        let parts = setting.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "mode" else {
            return wrong(
                "\"?\(setting)\" says nothing; write ?mode= and one of \(names.joined(separator: ", "))"
            )
        }
        if let mode = HandoverMode(rawValue: String(parts[1])) { return mode }
        let hint =
            nearestName(to: String(parts[1]), among: names).map { "; did you mean \"\($0)\"?" }
            ?? ""
        return wrong("\"\(parts[1])\" is none of \(names.joined(separator: ", "))\(hint)")
    }

    /// What `scheduler=` names: whether every byte goes on two uplinks.
    private func scheduler(_ name: Substring) -> Bool? {
        let names = [SchedulerKind.predictedArrival, .redundant].map(\.rawValue)
        if let place = names.firstIndex(of: String(name)) { return place == 1 }
        let hint =
            nearestName(to: String(name), among: names).map { "; did you mean \"\($0)\"?" } ?? ""
        return wrong("\"\(name)\" is none of \(names.joined(separator: ", "))\(hint)")
    }

    /// What `udp=` names: a policy, or none of it.
    private func datagramPolicy(_ name: Substring) -> (policy: DatagramPolicy?, Void)? {
        if name == "off" { return (nil, ()) }
        let names = DatagramPolicy.allCases.map(\.label) + ["off"]
        if let policy = DatagramPolicy.allCases.first(where: { $0.label == name }) {
            return (policy, ())
        }
        let hint =
            nearestName(to: String(name), among: names).map { "; did you mean \"\($0)\"?" } ?? ""
        return wrong("\"\(name)\" is none of \(names.joined(separator: ", "))\(hint)")
    }

    /// A password has no place in a log or on a screen.
    private func withoutPassword(_ url: String) -> String {
        guard let at = url.lastIndex(of: "@") else { return url }
        let start = url.firstRange(of: "://")?.upperBound ?? url.startIndex
        return start <= at ? "\(url[..<start])…\(url[at...])" : url
    }
}

extension Credentials {
    /// Reads `USER:PASSWORD` with percent escapes; nil where one is missing or longer than RFC 1929
    /// can carry.
    fileprivate init?(urlPart text: Substring) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2,
            let user = Self.unescaped(parts[0]),
            let password = Self.unescaped(parts[1])
        else {
            return nil
        }
        self.init(user: user, password: password)
    }

    private static func unescaped(_ text: Substring) -> String? {
        var bytes: [UInt8] = [], rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else { bytes.append(byte); continue }
            guard let hex = String(rest.prefix(2)),
                hex.utf8.count == 2,
                let value = UInt8(hex, radix: 16)
            else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

extension IPAddress {
    /// 0.0.0.0 or ::, which as a listening address means every interface.
    var isUnspecified: Bool { self == .unspecifiedV4 || self == .unspecifiedV6 }
}
