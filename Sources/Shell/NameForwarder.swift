import Dialogue
import Measures

/// Questions of every type to name servers, over UDP and, where an answer is cut short, over TCP:
/// what `Resolver` is for addresses alone, this is for whoever wants the answer itself. libevent's
/// evdns asks for addresses only, and knows neither EDNS nor TCP.
///
/// Servers are asked in their order. Every question has a socket and a number of its own, both of
/// chance; an answer counts where it comes from the address and port that were asked, to the port
/// that asked, with the number and the question (RFC 5452).
public final class NameForwarder {
    /// Counts since the start.
    public struct Counters: Sendable {
        /// Questions that were asked, and those that no server answered.
        public var asked = 0, unanswered = 0
        /// Datagrams of no question, or malformed.
        public var wrong = 0
        /// Questions asked again over TCP.
        public var streams = 0
        public init() {}
    }

    /// Of all questions.
    public internal(set) var counters = Counters()
    let loop: EventLoop
    private var file: ResolverFile?
    private var configuration: ResolverConfiguration
    private var places: [NamePlace]
    private var ids: [UInt16] = []
    /// For what a datagram holds; used within one call only.
    let scratch = UnsafeMutableRawBufferPointer.allocate(
        byteCount: DNSHeader.maximumMessage, alignment: 16)

    /// Asks the servers of a file like /etc/resolv.conf, which is read again when it changes.
    public init(loop: EventLoop, configurationPath: String = "/etc/resolv.conf") {
        self.loop = loop
        let file = ResolverFile(path: configurationPath)
        configuration = file.configuration
        places = file.configuration.servers.compactMap { NamePlace($0) }
        self.file = file
    }

    /// Asks `servers`, two seconds each, twice.
    public init(loop: EventLoop, servers: [SocketAddress]) {
        self.loop = loop
        places = servers.map { NamePlace($0) }
        configuration = ResolverConfiguration()
    }

    deinit { scratch.deallocate() }

    /// Counts on from those of one before it.
    public func carryOn(_ counters: Counters) { self.counters = counters }

    /// Asks; `done` is called once from the loop, with nil where no server has answered in time,
    /// unless the exchange is cancelled or released before.
    public func ask(
        _ question: DNSQuestion, flags: UInt16, extended: DNSQuery.Extended?,
        done: @escaping (DNSAnswer?) -> Void
    ) -> NameExchange {
        reread()
        counters.asked += 1
        return NameExchange(
            self, DNSQuery(id: 0, question, flags: flags, extended: extended),
            servers: places, configuration, done)
    }

    private func reread() {
        guard file?.reread() == true, let now = file?.configuration else { return }
        configuration = now
        places = now.servers.compactMap { NamePlace($0) }
    }

    func nextID() -> UInt16 {
        if ids.isEmpty {
            ids = SystemRandom.key().withBytes { Array($0.bindMemory(to: UInt16.self)) }
        }
        return ids.removeLast()
    }
}
