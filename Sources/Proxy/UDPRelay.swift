import Dialogue
import Logging
import Measures
import Shell
import Tunnel
import Wire

/// An application's UDP ASSOCIATE (RFC 1928): a UDP socket beside its TCP connection, whose
/// datagrams go through the tunnel for as long as that connection lives.
final class UDPRelay: ClientConnection, DatagramRouterOwner {
    private let policy: DatagramPolicy
    /// The port the application said it would send from; zero: the first datagram tells.
    private var clientPort: UInt16
    private var isRestricted = false
    private var clientAddress: IPAddress?
    private var relay: RelaySocket?
    private var router: DatagramRouter?
    private var isAnswered = false
    /// When a datagram last came back for the application.
    private var answeredAt: Instant?
    /// Runs until the concentrator has answered.
    private var timer: LoopTimer?
    /// The header of an answer, written anew for each.
    private var head: [UInt8] = []

    init(
        _ socket: StreamSocket, _ server: ProxyServer, _ listener: ProxyListener,
        announced: Target, policy: DatagramPolicy
    ) {
        self.policy = policy
        // Some name the port they send from, some where they want to send to: only a port of the
        // application's own address, or of none, is one to keep to.
        let own = socket.remoteAddress?.address.unmapped
        clientAddress = own
        if case .address(let address) = announced.host,
            address.unmapped == own || address.isUnspecified
        {
            clientPort = announced.port
        } else {
            clientPort = 0
        }
        head.reserveCapacity(SocksDatagramHeader.maximumLength)
        super.init(socket, server, listener)
    }

    override func start() {
        if server.settings.withoutSession == .refuse, let obstacle = server.session.refusedFor {
            server.notices.counters.failedDials += 1
            server.session.hasten()
            finish(with: Socks5Dialogue.reply(dial: obstacle.status))
            return
        }
        guard clientAddress != nil, let local = socket.localAddress?.address else { cut(); return }
        do {
            relay = try RelaySocket(SocketAddress(local, port: 0), server.relaySockets)
        } catch {
            server.notices.noRelay(error)
            finish(with: Socks5Dialogue.reply(.generalFailure))
            return
        }
        let router = DatagramRouter(server, from: flowOrigin, policy: policy, for: self)
        self.router = router
        socket.watch.onReadable(for: self) { $0.discard() }
        socket.watch.wantsRead = true
        // Where rules decide, each flow finds its own way, and not all need the concentrator.
        if server.decidesDatagrams { associationAnswered(.connected); return }
        let timer = server.loop.timer(for: self) {
            $0.associationAnswered($0.server.session.timeOutStatus(by: .concentrator))
        }
        timer.arm(after: server.settings.clients.answer)
        self.timer = timer
        router.openFirst()
    }

    func associationAnswered(_ status: DialStatus) {
        guard !isAnswered, !isOver else { return }
        isAnswered = true
        timer = nil
        guard status == .connected, let relay else {
            server.notices.counters.failedDials += 1
            finish(with: Socks5Dialogue.reply(dial: status))
            return
        }
        var shown = relay.localAddress
        shown.address = server.settings.relayAddress ?? shown.address.unmapped
        let reply = Socks5Dialogue.reply(.succeeded, bound: shown)
        guard case .bytes(reply.count) = socket.write(reply) else { cut(); return }
        if clientPort != 0 { restrict() }
        relay.onReadable(for: self) { $0.receive() }
    }

    override var standing: Standing {
        answeredAt.map { Standing(stage: .served, since: $0) }
            ?? Standing(stage: .unanswered, since: began)
    }

    override func unreachable(_ status: DialStatus) {
        if server.settings.withoutSession == .refuse { associationAnswered(status) }
    }

    func associationEnded() {
        guard !isOver else { return }
        if isAnswered { cut() } else { associationAnswered(.generalFailure) }
    }

    private func discard() {
        switch socket.read(into: server.scratch) {
        case .bytes, .blocked: break
        // RFC 1928 section 7: the association ends with the connection.
        case .end, .failed:
            socket.close()
            leave()
        }
    }

    override func willLeave() {
        timer = nil
        relay?.close()
        relay = nil
        router?.close()
        router = nil
    }

    // MARK: Datagrams

    private func restrict() {
        guard !isRestricted, let address = clientAddress else { return }
        isRestricted = true
        let own = relay?.localAddress.address.isIPv4 == address.isIPv4
        if own { relay?.restrict(to: SocketAddress(address, port: clientPort)) }
    }

    private func receive() {
        guard let relay, let router, !isOver else { return }
        let now = server.driver.now
        server.relaySockets.receive(relay, of: server.relayShare) { datagram, from in
            take(datagram, from, router, at: now)
        }
    }

    private func take(
        _ datagram: UnsafeRawBufferPointer, _ from: SocketAddress, _ router: DatagramRouter,
        at now: Instant
    ) {
        guard from.address.unmapped == clientAddress,
            clientPort == 0 || from.port == clientPort
        else {
            server.datagrams.fromOthers += 1
            return
        }
        do throws(SocksDatagramHeader.Refusal) {
            let header = try SocksDatagramHeader(reading: datagram)
            guard header.target.port != 0 else {
                server.datagrams.malformed += 1
                return
            }
            if clientPort == 0 {
                clientPort = from.port
                restrict()
            }
            let payload = UnsafeRawBufferPointer(rebasing: datagram[header.length...])
            router.send(payload, to: header.target, at: now)
        } catch {
            if case .fragment = error {
                server.datagrams.fragments += 1
            } else {
                server.datagrams.malformed += 1
            }
        }
    }

    /// An answer for the application.
    func routed(_ payload: UnsafeRawBufferPointer, from source: Target) {
        guard let relay, clientPort != 0, let address = clientAddress, !isOver else { return }
        head.removeAll(keepingCapacity: true)
        SocksDatagramHeader.write(source, into: &head)
        server.datagrams.received += 1
        answeredAt = server.driver.now
        server.relaySockets.post(
            head, payload, to: SocketAddress(address, port: clientPort), through: relay)
    }
}

/// Datagrams of applications, and why some were dropped.
struct DatagramCounters {
    var sent = 0, received = 0
    var fragments = 0, malformed = 0, fromOthers = 0, dropped = 0
    /// A rule drops them; they left from this machine.
    var blocked = 0, direct = 0

    var status: [ServerStatus.Counter] {
        [
            .init("datagrams_sent_total", sent),
            .init("datagrams_received_total", received),
            .init("datagrams_refused_total{reason=\"fragment\"}", fragments),
            .init("datagrams_refused_total{reason=\"malformed\"}", malformed),
            .init("datagrams_refused_total{reason=\"stranger\"}", fromOthers),
            .init("datagrams_refused_total{reason=\"no_room\"}", dropped),
            .init("datagrams_refused_total{reason=\"blocked\"}", blocked),
            .init("datagrams_direct_total", direct)
        ]
    }
}
