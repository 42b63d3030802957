import Dialogue
import Measures
import Proxy
import Shell

/// Keys of `names`.
enum NameKey: String, CaseIterable { case listen, local, servers, clients }

extension NameSettings {
    /// Reads the table `names` of a proxy's file; what is wrong stands in the field's report.
    init(_ field: Field) {
        self.init()
        guard let table = Table<NameKey>(field) else { return }
        listen = (table[.listen]?.list() ?? []).compactMap { $0.nameAddress("127.0.0.1:53") }
        servers = (table[.servers]?.list() ?? []).compactMap { $0.nameAddress("192.168.1.1") }
        local = (table[.local]?.list() ?? []).compactMap { $0.domain() }
        if let field = table[.clients] {
            clients = (field.list() ?? []).flatMap { $0.nameClients() }
            if listen.isEmpty { field.complain("says who may ask at names.listen, which is empty") }
        }
        if let field = table[.local], servers.isEmpty {
            field.complain("needs names.servers, whom to ask for them")
        }
        for (index, address) in listen.enumerated() where listen[..<index].contains(address) {
            table[.listen]?.complain("\(address) is listed twice; leave one of them out")
        }
        // A server that is the listener itself would ask itself for ever.
        if let loop = servers.first(where: { listen.contains($0) }) {
            table[.servers]?.complain("\(loop) is where this proxy listens; name another server")
        }
    }
}

extension Field {
    /// An address with a port, or without one: 53.
    fileprivate func nameAddress(_ example: String) -> SocketAddress? {
        guard let text = text() else { return nil }
        let address = SocketAddress(text) ?? IPAddress(text).map { SocketAddress($0, port: 53) }
        guard let address, address.port > 0 else {
            return wrong("\"\(text)\" is no address such as \(example) or [fd00::1]:53")
        }
        return address
    }

    fileprivate func domain() -> DNSName? {
        guard let text = text() else { return nil }
        // A leading dot or star is how other programs write a domain.
        let bare = text.hasPrefix("*.") ? text.dropFirst(2) : text.drop { $0 == "." }
        guard let name = DNSName(bare) else {
            return wrong("\"\(text)\" is no domain such as lan or 168.192.in-addr.arpa")
        }
        return name
    }

    fileprivate func nameClients() -> [Subnet] {
        if case .text("private") = item.content { return NameSettings.privateClients }
        return subnet().map { [$0] } ?? []
    }
}
