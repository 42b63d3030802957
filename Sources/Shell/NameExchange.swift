import Dialogue
import Measures

/// One question on its way through the servers. Whoever knows the answer first, even late, has
/// given it.
public final class NameExchange {
    private let forwarder: NameForwarder
    private let query: DNSQuery
    private let servers: [NamePlace]
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

    init(
        _ forwarder: NameForwarder, _ query: DNSQuery, servers: [NamePlace],
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
