import Measures
import Shell
import Tunnel
import Wire

/// What one port of a program sends, and the answers to it (RFC 4787 section 4.1: one mapping,
/// whomever it talks to).
final class CapturedAssociation: DatagramRouterOwner {
    let client: SocketAddress
    private(set) var usedAt = Instant.zero
    /// Somebody has answered.
    private(set) var isHeard = false
    private let owner: CapturedDatagrams
    private var router: DatagramRouter?
    private var isAnswered = false
    private var isOver = false
    /// Until the concentrator knows of it.
    private var early: [(bytes: [UInt8], target: Target)] = []
    private let firstDestination: SocketAddress

    /// Datagrams kept until then: what a program sends within a round trip.
    private static let maximumEarly = 16
    /// As for flows of associations (RFC 4787 section 4.3).
    private static let idle = Interval.seconds(300)

    init(_ client: SocketAddress, _ destination: SocketAddress, _ owner: CapturedDatagrams) {
        self.client = client
        firstDestination = destination
        self.owner = owner
    }

    func start(at now: Instant) {
        usedAt = now
        let listener = owner.capture.listener, server = owner.capture.server
        let origin = FlowOrigin(
            entry: listener.entry, address: client.address, mode: listener.mode,
            user: { [client, firstDestination, weak server] in
                guard server?.names.isThisMachine(client.address) == true else { return nil }
                return SocketOwner.user(of: .datagrams, local: client, remote: firstDestination)
            })
        let router = DatagramRouter(
            server, from: origin, policy: listener.datagrams ?? .auto, for: self)
        self.router = router
        // Where datagrams may leave without the concentrator they don't wait for it.
        if server.decidesDatagrams, server.session.obstacleOrSilence != nil {
            isAnswered = true
        } else {
            router.openFirst()
        }
    }

    func isIdle(at now: Instant) -> Bool { now - usedAt >= Self.idle }

    func send(_ payload: UnsafeRawBufferPointer, to target: Target, at now: Instant) {
        guard let router, !isOver else { return }
        usedAt = now
        if isAnswered {
            router.send(payload, to: target, at: now)
        } else if early.count < Self.maximumEarly {
            early.append((Array(payload), target))
        } else {
            owner.capture.server.datagrams.dropped += 1
        }
    }

    func associationAnswered(_ status: DialStatus) {
        guard !isAnswered, !isOver, let router else { return }
        let server = owner.capture.server
        if status != .connected {
            server.notices.counters.failedDials += 1
            guard server.decidesDatagrams else { leave(); return }
        }
        isAnswered = true
        for (bytes, target) in early {
            bytes.withUnsafeBytes { router.send($0, to: target, at: server.driver.now) }
        }
        early = []
    }

    func associationEnded() { leave() }

    func routed(_ payload: UnsafeRawBufferPointer, from source: Target) {
        // In the name of a neighbour, or of this machine, a program would believe more.
        guard !isOver, case .address(let address) = source.host,
            !owner.capture.isOutside(address)
        else { return }
        usedAt = owner.capture.server.driver.now
        isHeard = true
        owner.answer(payload, from: source, to: client)
    }

    func leave() {
        guard !isOver else { return }
        isOver = true
        early = []
        router?.close()
        router = nil
        owner.forget(self)
    }
}
