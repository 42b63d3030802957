import CLibevent
import Glibc
import Logging
import Measures

/// One name server, asked through an evdns base of its own: a base with several servers asks them
/// in turn, whatever their order means, and takes SERVFAIL for a time-out.
final class NameServer {
    enum Outcome: Equatable {
        /// Never empty; in the server's order.
        case addresses([IPAddress])
        /// The name does not exist, or has no address of the family.
        case notFound
        /// The answer does not fit a datagram.
        case truncated
        /// SERVFAIL, REFUSED, NOTIMP, FORMERR or an answer that makes no sense.
        case failed
    }

    /// A question under way; it keeps its server.
    final class Question {
        fileprivate let server: NameServer
        fileprivate let isIPv4: Bool
        fileprivate var done: ((Outcome) -> Void)?
        /// Nil once evdns has forgotten it.
        fileprivate var request: OpaquePointer?

        fileprivate init(_ server: NameServer, isIPv4: Bool, done: @escaping (Outcome) -> Void) {
            self.server = server
            self.isIPv4 = isIPv4
            self.done = done
        }

        /// Nothing is reported any more.
        func cancel() {
            done = nil
            if let request { evdns_cancel_request(server.base, request) }
            request = nil
        }
    }

    private let base: OpaquePointer
    // The event_base must outlive the evdns base.
    private let loop: EventLoop

    /// Nil where `address` is none: "192.0.2.1:53", "[2001:db8::1]:53".
    init?(_ address: String, loop: EventLoop) {
        guard let base = evdns_base_new(loop.base, 0) else { return nil }
        self.base = base
        self.loop = loop
        evdns_set_log_fn { isWarning, text in
            guard let text else { return }
            Logger(label: "resolver").log(
                level: isWarning != 0 ? .notice : .debug,
                "\(String(cString: text))")
        }
        // How long to wait and whom to ask then is the caller's to say. Hence what evdns calls a
        // time-out within this time is its word for SERVFAIL.
        for (name, value) in [
            ("timeout:", "60"), ("attempts:", "1"), ("max-timeouts:", "255"),
            ("max-inflight:", "1024"), ("initial-probe-timeout:", "3600")
        ] {
            evdns_base_set_option(base, name, value)
        }
        // Everything is set, so that `deinit` runs here too, and frees the base.
        guard evdns_base_nameserver_ip_add(base, address) == 0 else { return nil }
    }

    deinit { evdns_base_free(base, 0) }

    /// Asks once; `done` is called once, from the loop, and never where the server is silent. Nil
    /// where the question can't be sent.
    func ask(_ name: String, isIPv4: Bool, done: @escaping (Outcome) -> Void) -> Question? {
        let question = Question(self, isIPv4: isIPv4, done: done)
        let context = Unmanaged.passRetained(question)
        let answered: evdns_callback_type = { code, _, count, _, addresses, context in
            let question = Unmanaged<Question>.fromOpaque(context!).takeRetainedValue()
            question.request = nil
            let done = question.done
            question.done = nil
            done?(NameServer.outcome(code, addresses, Int(count), isIPv4: question.isIPv4))
        }
        question.request =
            isIPv4
            ? evdns_base_resolve_ipv4(base, name, DNS_QUERY_NO_SEARCH, answered, context.toOpaque())
            : evdns_base_resolve_ipv6(base, name, DNS_QUERY_NO_SEARCH, answered, context.toOpaque())
        guard question.request != nil else {
            context.release()
            return nil
        }
        return question
    }

    private static func outcome(
        _ code: Int32, _ addresses: UnsafeMutableRawPointer?, _ count: Int,
        isIPv4: Bool
    ) -> Outcome {
        switch code {
        case DNS_ERR_NONE:
            let found = read(addresses, count, isIPv4: isIPv4)
            return found.isEmpty ? .notFound : .addresses(found)
        case DNS_ERR_NOTEXIST, DNS_ERR_NODATA: return .notFound
        case DNS_ERR_TRUNCATED: return .truncated
        default: return .failed
        }
    }

    private static func read(
        _ addresses: UnsafeMutableRawPointer?, _ count: Int,
        isIPv4: Bool
    ) -> [IPAddress] {
        guard let addresses else { return [] }
        var out: [IPAddress] = []
        for i in 0..<count {
            let address =
                isIPv4
                ? IPAddress(
                    v4: UInt32(bigEndian: (addresses + 4 * i).loadUnaligned(as: UInt32.self)))
                : v6(UnsafeRawPointer(addresses) + 16 * i)
            if !out.contains(address) { out.append(address) }
        }
        return out
    }

    /// Sixteen bytes in network order.
    static func v6(_ at: UnsafeRawPointer) -> IPAddress {
        IPAddress(
            v6High: UInt64(bigEndian: at.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
}
