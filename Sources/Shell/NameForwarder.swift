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
    private var addresses: [SocketAddress]
    private var ids: [UInt16] = []
    /// For what a datagram holds; used within one call only.
    let scratch = UnsafeMutableRawBufferPointer.allocate(
        byteCount: DNSHeader.maximumMessage, alignment: 16)

    /// Asks the servers of a file like /etc/resolv.conf, which is read again when it changes.
    public init(loop: EventLoop, configurationPath: String = "/etc/resolv.conf") {
        self.loop = loop
        let file = ResolverFile(path: configurationPath)
        configuration = file.configuration
        addresses = file.configuration.servers.compactMap { SocketAddress($0) }
        self.file = file
    }

    /// Asks `servers`, two seconds each, twice.
    public init(loop: EventLoop, servers: [SocketAddress]) {
        self.loop = loop
        addresses = servers
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
            servers: addresses, configuration, done)
    }

    private func reread() {
        guard file?.reread() == true, let now = file?.configuration else { return }
        configuration = now
        addresses = now.servers.compactMap { SocketAddress($0) }
    }

    func nextID() -> UInt16 {
        if ids.isEmpty {
            ids = SystemRandom.key().withBytes { Array($0.bindMemory(to: UInt16.self)) }
        }
        return ids.removeLast()
    }
}

/// One question on its way through the servers. Whoever knows the answer first, even late, has
/// given it.
public final class NameExchange {
    private let forwarder: NameForwarder
    private let query: DNSQuery
    private let servers: [SocketAddress]
    private let configuration: ResolverConfiguration
    private var done: ((DNSAnswer?) -> Void)?
    private var order: ServerOrder
    private var datagrams: [NameDatagram] = []
    private var stream: NameStream?
    /// What is said where nobody says better: one that is cut short, or a refusal.
    private var second: DNSAnswer?
    private var timer: LoopTimer?
    private var limit: LoopTimer?

    /// Sockets of one question at the same time: answers that are later than two further servers'
    /// time are no use.
    private static let maximumDatagrams = 3

    fileprivate init(
        _ forwarder: NameForwarder, _ query: DNSQuery, servers: [SocketAddress],
        _ configuration: ResolverConfiguration, _ done: @escaping (DNSAnswer?) -> Void
    ) {
        self.forwarder = forwarder
        self.query = query
        self.servers = servers
        self.configuration = configuration
        self.done = done
        order = ServerOrder(servers: servers.count, attempts: configuration.attempts)
        timer = forwarder.loop.timer(for: self) { $0.askNext() }
        limit = forwarder.loop.timer(for: self) { $0.finish($0.second) }
        limit?.arm(after: configuration.limit)
        // From the loop: nobody expects an answer ahead of the exchange.
        timer?.arm(after: .zero)
    }

    deinit { cancel() }

    /// Nothing is reported any more.
    public func cancel() {
        done = nil
        timer = nil
        limit = nil
        datagrams.forEach { $0.close() }
        datagrams = []
        stream?.close()
        stream = nil
    }

    private func askNext() {
        while done != nil {
            guard let server = order.next() else { finish(second); return }
            guard ask(server, query) else { _ = order.failed(server); continue }
            timer?.arm(after: configuration.timeout)
            return
        }
    }

    private func ask(_ server: Int, _ query: DNSQuery) -> Bool {
        var numbered = query
        numbered.id = forwarder.nextID()
        let datagram = NameDatagram(numbered, to: servers[server], forwarder) {
            [weak self] in self?.answered(by: server, $0)
        }
        guard let datagram else { return false }
        if datagrams.count >= Self.maximumDatagrams { datagrams.removeFirst().close() }
        datagrams.append(datagram)
        return true
    }

    private func answered(by server: Int, _ outcome: NameOutcome) {
        guard done != nil else { return }
        switch outcome {
        case .answer(let answer) where answer.isTruncated:
            second = answer
            guard stream == nil else { return }
            forwarder.counters.streams += 1
            var numbered = query
            numbered.id = forwarder.nextID()
            stream = NameStream(numbered, to: servers[server], forwarder) {
                [weak self] in self?.streamEnded(server, $0)
            }
            timer?.arm(after: configuration.timeout)
        case .answer(let answer) where answer.isFailure:
            if second == nil { second = answer }
            failed(server)
        case .answer(let answer): finish(answer)
        case .knowsNoExtension:
            var plain = query
            plain.extended = nil
            if !ask(server, plain) { failed(server) }
        case .failed: failed(server)
        }
    }

    private func streamEnded(_ server: Int, _ answer: DNSAnswer?) {
        guard done != nil else { return }
        stream = nil
        if let answer, !answer.isFailure { finish(answer) } else { failed(server) }
    }

    private func failed(_ server: Int) {
        if order.failed(server), stream == nil { askNext() }
    }

    private func finish(_ answer: DNSAnswer?) {
        guard let tell = done else { return }
        if answer == nil { forwarder.counters.unanswered += 1 }
        cancel()
        tell(answer)
    }
}
