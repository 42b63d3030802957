import Logging
import Measures
import Shell
import Tunnel
import Wire

/// From whom a mapped port takes datagrams (RFC 4787 section 5).
public enum DatagramFiltering: String, CaseIterable, Sendable {
    /// From addresses the application has sent to lately, whatever their port.
    case address
    /// From addresses and ports it has sent to.
    case endpoint
    /// From everybody: a full cone.
    case none
}

/// One association at the concentrator: a UDP socket for each family, with the same port whomever
/// the application talks to (RFC 4787 section 4.1: endpoint-independent mapping).
final class UDPAssociation: StreamOwner {
    let user: String
    private let handle: StreamHandle
    /// Held until it has left.
    private let server: ConcentratorServer
    private var v4: RelaySocket?
    private var v6: RelaySocket?
    private var peers = DatagramPeers()
    private var names: [String: NameLookup] = [:]
    /// Questions to the resolver that are under way, by their numbers; nil before the first one.
    private var questions: [UInt16: NameQuestions.Question]?
    private var isOnlyAsking = true
    private var isOver = false

    init(_ handle: StreamHandle, user: String, server: ConcentratorServer) {
        self.handle = handle
        self.user = user
        self.server = server
    }

    /// Makes the first socket, which tells whether there can be one at all.
    func start() {
        do {
            v4 = try socket(isIPv4: true)
            handle.answer(with: .connected, at: server.driver.now)
            server.driver.kick()
        } catch {
            refuse(because: error.description)
        }
    }

    func refuse(because reason: String) {
        server.associationRefused(user, reason)
        handle.answer(with: .tooManyConnections, at: server.driver.now)
        leave()
    }

    private func socket(isIPv4: Bool) throws(SystemError) -> RelaySocket {
        let any = SocketAddress(isIPv4 ? .unspecifiedV4 : .unspecifiedV6, port: 0)
        let socket = try RelaySocket(any, server.relaySockets)
        socket.onReadable(for: self) { $0.receive(isIPv4: isIPv4) }
        return socket
    }

    /// A concentrator answers by itself.
    func answered(_ status: DialStatus) {}

    /// Nothing but the end is of interest on the stream.
    func activity() {
        let count = handle.readable.count
        if count > 0 { handle.consume(count, at: server.driver.now) }
        if handle.error != nil || handle.isReadFinished { leave() }
    }

    func cut() {
        handle.abort(at: server.driver.now)
        leave()
    }

    private func leave() {
        guard !isOver else { return }
        isOver = true
        v4?.close()
        v6?.close()
        for lookup in names.values { lookup.cancel() }
        names = [:]
        questions = [:]
        handle.owner = nil
        handle.release(at: server.driver.now)
        server.driver.kick()
        server.left(self)
    }

    // MARK: Out

    func datagram(_ payload: UnsafeRawBufferPointer, _ target: Target) {
        guard !isOver, target.port != 0, server.mayRelay(user) else { return }
        if target == .resolver { ask(payload); return }
        isOnlyAsking = false
        switch target.host {
        case .address(let address): send(payload, to: SocketAddress(address, port: target.port))
        case .name(let name): send(payload, to: name, port: target.port)
        }
    }

    /// A proxy's association for names lives as long as its session, so that a concentrator that
    /// stops need not wait for it.
    var isWaitingForQuestions: Bool { isOnlyAsking && questions?.isEmpty == true }

    /// A question that comes again while it is under way is one.
    private func ask(_ message: UnsafeRawBufferPointer) {
        guard message.count >= 2 else { return }
        let id = UInt16(message[0]) << 8 | UInt16(message[1])
        if questions == nil { questions = [:] }
        guard questions?[id] == nil else { server.names.counters.repeated += 1; return }
        let question = server.names.ask(
            message, of: user, limit: NameQuestions.longestDatagram
        ) { [weak self] in self?.answered(id, $0) }
        questions?[id] = question
    }

    private func answered(_ id: UInt16, _ answer: [UInt8]) {
        questions?[id] = nil
        guard !isOver else { return }
        let isSent = answer.withUnsafeBytes {
            server.driver.endpoint.send($0, on: handle, to: .resolver, at: server.driver.now)
        }
        if !isSent { server.datagrams.dropped += 1 }
        server.driver.kick()
    }

    private func send(_ payload: UnsafeRawBufferPointer, to remote: SocketAddress) {
        let now = server.driver.now
        switch peers.verdict(remote, at: now) {
        case .denied?: server.datagrams.denied += 1; return
        case .allowed?: break
        case nil:
            let isAllowed = server.dialer.policy(for: user).allows(
                remote.address, port: remote.port)
            peers.note(remote, isAllowed: isAllowed, at: now)
            guard isAllowed else { server.datagrams.denied += 1; return }
        }
        let isIPv4 = remote.address.isIPv4
        if isIPv4 ? v4 == nil : v6 == nil {
            do {
                if isIPv4 { v4 = try socket(isIPv4: true) } else { v6 = try socket(isIPv4: false) }
            } catch {
                server.associationRefused(user, error.description)
                return
            }
        }
        guard let socket = isIPv4 ? v4 : v6 else { return }
        peers.noteSent(remote, at: now)
        server.datagrams.sent += 1
        server.relaySockets.post([], payload, to: remote, through: socket)
    }

    private func send(_ payload: UnsafeRawBufferPointer, to name: String, port: UInt16) {
        if let lookup = names[name] {
            if let address = lookup.address {
                send(payload, to: SocketAddress(address, port: port))
            } else if !lookup.wait(payload, port: port, at: server.driver.now) {
                server.datagrams.unresolved += 1
            }
            return
        }
        if names.count >= NameLookup.maximumNames { names = names.filter { $0.value.isPending } }
        guard names.count < NameLookup.maximumNames else {
            server.datagrams.unresolved += 1; return
        }
        let lookup = NameLookup(
            name, user: user, server.dialer
        ) { [weak self] address, waiting in
            guard let self, !isOver else { return }
            for item in waiting {
                guard let address else { server.datagrams.unresolved += 1; continue }
                item.payload.withUnsafeBytes {
                    self.send($0, to: SocketAddress(address, port: item.port))
                }
            }
        }
        names[name] = lookup
        _ = lookup.wait(payload, port: port, at: server.driver.now)
    }

    // MARK: In

    private func receive(isIPv4: Bool) {
        guard let socket = isIPv4 ? v4 : v6, !isOver else { return }
        let now = server.driver.now
        server.relaySockets.receive(socket) { payload, from in
            guard peers.allows(from, server.settings.datagrams.filtering, at: now) else {
                server.datagrams.filtered += 1
                return
            }
            server.datagrams.received += 1
            let source = Target(host: .address(from.address), port: from.port)
            if !server.driver.endpoint.send(payload, on: handle, to: source, at: now) {
                server.datagrams.dropped += 1
            }
        }
        server.driver.kick()
    }
}

/// Whom an association has sent to: what the policy said of them, and until when their datagrams
/// are let in.
struct DatagramPeers {
    enum Verdict { case allowed, denied }
    /// Destinations remembered; beyond, those of lately.
    static let maximum = 4_096
    /// RFC 4787 section 4.3.
    static let lifetime = Interval.seconds(300)
    /// An address may become this machine's own: it is judged again after so long.
    static let verdictLifetime = Interval.seconds(10)

    private struct Peer {
        var verdict: Verdict
        var judgedAt: Instant
        var sentAt: Instant
    }
    private var peers: [SocketAddress: Peer] = [:]
    private var addresses: [IPAddress: Instant] = [:]

    /// Nil where the policy is to be asked (again).
    func verdict(_ remote: SocketAddress, at now: Instant) -> Verdict? {
        guard let peer = peers[remote], now - peer.judgedAt < Self.verdictLifetime else {
            return nil
        }
        return peer.verdict
    }

    mutating func note(_ remote: SocketAddress, isAllowed: Bool, at now: Instant) {
        makeRoom(at: now)
        peers[remote] = Peer(
            verdict: isAllowed ? .allowed : .denied, judgedAt: now,
            sentAt: peers[remote]?.sentAt ?? .zero)
    }

    mutating func noteSent(_ remote: SocketAddress, at now: Instant) {
        peers[remote]?.sentAt = now
        addresses[remote.address] = now
    }

    /// Whether a datagram from there is let in.
    func allows(_ from: SocketAddress, _ filtering: DatagramFiltering, at now: Instant) -> Bool {
        let last: Instant? =
            switch filtering {
            case .none: now
            case .address: addresses[from.address]
            case .endpoint:
                peers[from].flatMap {
                    $0.verdict == .allowed && $0.sentAt > .zero ? $0.sentAt : nil
                }
            }
        return last.map { now - $0 < Self.lifetime } ?? false
    }

    private mutating func makeRoom(at now: Instant) {
        guard peers.count >= Self.maximum || addresses.count >= Self.maximum else { return }
        for span in [Self.lifetime, .seconds(30), .seconds(1), .zero] {
            peers = peers.filter { now - $0.value.sentAt < span }
            addresses = addresses.filter { now - $0.value < span }
            if max(peers.count, addresses.count) < Self.maximum * 3 / 4 { return }
        }
    }
}

/// What one user has of associations, and may send.
struct RelayedByUser {
    var associations = 0
    var datagrams: TokenBucket

    /// `rate`: datagrams a second; as many at once as in a fifth of one.
    init(_ rate: Int) {
        datagrams = TokenBucket(rate: Double(rate), burst: max(Double(rate) / 5, 1))
    }
}

/// Datagrams to and from the world, and why some were dropped.
struct DatagramCounters {
    var associations = 0, refusedAssociations = 0
    var sent = 0, received = 0
    var denied = 0, filtered = 0, unresolved = 0, tooMany = 0, dropped = 0

    func counters(associations living: Int) -> [ServerStatus.Counter] {
        [
            .init("associations", living), .init("associations_total", associations),
            .init("associations_refused_total", refusedAssociations),
            .init("datagrams_sent_total", sent), .init("datagrams_received_total", received),
            .init("datagrams_refused_total{reason=\"denied\"}", denied),
            .init("datagrams_refused_total{reason=\"filtered\"}", filtered),
            .init("datagrams_refused_total{reason=\"unresolved\"}", unresolved),
            .init("datagrams_refused_total{reason=\"too_many\"}", tooMany),
            .init("datagrams_refused_total{reason=\"no_room\"}", dropped)
        ]
    }
}
