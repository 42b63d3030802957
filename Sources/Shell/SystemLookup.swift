import Glibc
import Measures

/// A name asked of the system's own resolver (getaddrinfo), which may take its time: for answers
/// that are too long for evdns, which knows neither TCP nor EDNS.
enum SystemLookup {
    /// No address where there is none.
    static func addresses(of name: String, isIPv4: Bool) -> [IPAddress] {
        var hints = addrinfo(), list: UnsafeMutablePointer<addrinfo>?
        hints.ai_family = isIPv4 ? AF_INET : AF_INET6
        hints.ai_protocol = Int32(IPPROTO_TCP)
        // The final dot keeps search domains away.
        let whole = name.hasSuffix(".") ? name : name + "."
        guard getaddrinfo(whole, nil, &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var found: [IPAddress] = [], next = list
        while let entry = next {
            if let name = entry.pointee.ai_addr, let address = address(name),
                !found.contains(address)
            {
                found.append(address)
            }
            next = entry.pointee.ai_next
        }
        return found
    }

    private static func address(_ name: UnsafeMutablePointer<sockaddr>) -> IPAddress? {
        let raw = UnsafeRawPointer(name)
        switch Int32(name.pointee.sa_family) {
        case AF_INET:
            return IPAddress(v4: UInt32(bigEndian: raw.load(as: sockaddr_in.self).sin_addr.s_addr))
        case AF_INET6:
            return NameServer.v6(raw + MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr)!)
        default: return nil
        }
    }
}
