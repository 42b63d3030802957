import Measures
import Shell
import Wire

/// Datagrams of one endpoint that leave from this machine: a socket for each family, with the same
/// port whomever they go to; in comes what is from addresses that were sent to.
final class DirectDatagrams {
    /// Addresses remembered, and for how long (RFC 4787 section 4.3).
    private static let maximumPeers = 4_096
    private static let peerLifetime = Interval.seconds(300)
    /// Without a descriptor, or an uplink, a socket is tried again after so long.
    private static let retryAfter = Interval.seconds(1)

    private let localBinding: LocalBinding
    private let context: DialContext
    private let user: String
    private let server: ProxyServer
    private let deliver: (UnsafeRawBufferPointer, Target) -> Void
    private var v4: RelaySocket?
    private var v6: RelaySocket?
    private var peers: [IPAddress: Instant] = [:]
    private lazy var names = DatagramNames(
        user: user, context,
        deliver: { [weak self] in
            guard let self else { return }
            send($0, to: $1, at: server.loop.now())
        },
        drop: { [server] in server.datagrams.dropped += 1 })
    private var retryAt = Instant.zero
    private var isOver = false

    init(
        _ localBinding: LocalBinding, _ context: DialContext, user: String, _ server: ProxyServer,
        deliver: @escaping (UnsafeRawBufferPointer, Target) -> Void
    ) {
        self.localBinding = localBinding
        self.context = context
        self.user = user
        self.server = server
        self.deliver = deliver
    }

    func close() {
        isOver = true
        v4?.close()
        v6?.close()
        names.close()
    }

    func send(_ payload: UnsafeRawBufferPointer, to target: Target, at now: Instant) {
        guard !isOver else { return }
        switch target.host {
        case .address(let address):
            send(payload, to: SocketAddress(address.unmapped, port: target.port), at: now)
        case .name(let name): names.send(payload, to: name, port: target.port, at: now)
        }
    }

    private func send(
        _ payload: UnsafeRawBufferPointer, to remote: SocketAddress, at now: Instant
    ) {
        let isKnown = peers[remote.address].map { now - $0 < Self.peerLifetime } ?? false
        guard isKnown || context.judge(for: user)(remote.address, remote.port) else {
            server.datagrams.blocked += 1
            return
        }
        guard let socket = socket(isIPv4: remote.address.isIPv4, at: now) else {
            server.datagrams.dropped += 1
            return
        }
        if !isKnown {
            peers.forgetLongUnused(
                [Self.peerLifetime, .seconds(30), .seconds(1), .zero],
                maximum: Self.maximumPeers, at: now
            ) { $0 }
        }
        peers[remote.address] = now
        server.datagrams.direct += 1
        server.relaySockets.post([], payload, to: remote, through: socket)
    }

    private func socket(isIPv4: Bool, at now: Instant) -> RelaySocket? {
        if let socket = isIPv4 ? v4 : v6 { return socket }
        guard now >= retryAt, let binding = localBinding.ofDatagrams(isIPv4: isIPv4) else {
            return nil
        }
        do {
            let socket = try RelaySocket(binding, server.relaySockets)
            socket.onReadable(for: self) { $0.receive(isIPv4: isIPv4) }
            if isIPv4 { v4 = socket } else { v6 = socket }
            return socket
        } catch {
            server.notices.noRelay(error)
            retryAt = now + Self.retryAfter
            return nil
        }
    }

    private func receive(isIPv4: Bool) {
        guard let socket = isIPv4 ? v4 : v6, !isOver else { return }
        let now = server.loop.now()
        server.relaySockets.receive(socket) { payload, from in
            let address = from.address.unmapped
            guard let sent = peers[address], now - sent < Self.peerLifetime else {
                server.datagrams.fromOthers += 1
                return
            }
            deliver(payload, Target(host: .address(address), port: from.port))
        }
    }
}
