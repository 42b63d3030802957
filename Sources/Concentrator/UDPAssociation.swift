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
    /// What the user has and may.
    private let share: RelayedByUser
    private var v4: RelaySocket?
    private var v6: RelaySocket?
    /// There was no descriptor or no port: not before.
    private var retryAt = Instant.zero
    private var peers: DatagramPeers
    private lazy var names = DatagramNames(
        user: user, server.dialer, share: share.names, waiting: share.waiting,
        deliver: { [weak self] in self?.send($0, to: $1) },
        drop: { [server] in server.datagrams.unresolved += 1 })
    /// Questions to the resolver that are under way, by their numbers; nil before the first one.
    private var questions: [UInt16: NameQuestions.Question]?
    private var isOnlyAsking = true
    private var isOver = false

    /// A further socket is tried for so often, where there was none.
    private static let socketPause = Interval.seconds(1)

    init(
        _ handle: StreamHandle, user: String, share: RelayedByUser, server: ConcentratorServer
    ) {
        self.handle = handle
        self.user = user
        self.share = share
        self.server = server
        peers = DatagramPeers(share: share.destinations)
    }

    /// Makes the first socket, which tells whether there can be one at all.
    func start() {
        do {
            v4 = try socket(isIPv4: true)
            handle.answer(with: .connected, at: server.driver.now)
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
        names.close()
        questions = [:]
        peers.removeAll()
        handle.owner = nil
        handle.release(at: server.driver.now)
        server.left(self)
    }

    // MARK: Out

    func datagram(_ payload: UnsafeRawBufferPointer, _ target: Target) {
        guard !isOver, target.port != 0, server.mayRelay(user) else { return }
        if target == .resolver { ask(payload); return }
        isOnlyAsking = false
        switch target.host {
        case .address(let address): send(payload, to: SocketAddress(address, port: target.port))
        case .name(let name):
            names.send(payload, to: name, port: target.port, at: server.driver.now)
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
            message, of: user, limit: NameQuestions.maximumDatagram
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
    }

    private func send(_ payload: UnsafeRawBufferPointer, to remote: SocketAddress) {
        let now = server.driver.now
        let changes = server.dialer.addressChanges
        switch peers.verdict(remote, after: changes, at: now) {
        case .denied?: server.datagrams.denied += 1; return
        case .allowed?: break
        case nil:
            let isAllowed = server.dialer.policy(for: user).allows(
                remote.address, port: remote.port)
            peers.note(remote, isAllowed: isAllowed, after: changes, at: now)
            guard isAllowed else { server.datagrams.denied += 1; return }
        }
        let isIPv4 = remote.address.isIPv4
        guard let socket = isIPv4 ? v4 : v6 ?? furtherSocket(at: now) else { return }
        peers.noteSent(remote, at: now)
        server.datagrams.sent += 1
        server.relaySockets.post([], payload, to: remote, through: socket)
    }

    /// The first one was IPv4's.
    private func furtherSocket(at now: Instant) -> RelaySocket? {
        guard now >= retryAt else { return nil }
        do {
            v6 = try socket(isIPv4: false)
        } catch {
            retryAt = now + Self.socketPause
            server.associationRefused(user, error.description)
        }
        return v6
    }

    // MARK: In

    private func receive(isIPv4: Bool) {
        guard let socket = isIPv4 ? v4 : v6, !isOver else { return }
        let now = server.driver.now
        server.relaySockets.receive(socket, of: share.turn) { payload, from in
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
    }
}
