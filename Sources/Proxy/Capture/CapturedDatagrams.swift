import Logging
import Measures
import Shell
import Tunnel
import Wire

/// The datagrams of programs that know nothing of the proxy. What one port of a program sends is an
/// association; answers leave from the address they came from.
final class CapturedDatagrams {
    let capture: Capture
    private(set) var port4: UInt16
    private(set) var port6: UInt16?
    private let sockets: [RelaySocket]
    private var associations: [SocketAddress: CapturedAssociation] = [:]
    private var ofSource = Tally<IPAddress>()
    private var pace = AssociationPace()
    private var replies: ReplySockets
    private var sweep: LoopTimer?
    private var isEnding = false
    /// Datagrams that could not be carried, and those for Braid itself.
    private(set) var refused = 0

    /// Of a session's 1,024 some are left to SOCKS. Of one source no more than half.
    private static let maximum = 960
    private static let maximumOfSource = 480
    private static let sweepInterval = Interval.seconds(2)
    /// A call says something more often; nobody waits longer for the end of one.
    private static let rest = Interval.seconds(10)

    var count: Int { associations.count }
    /// Whose datagrams come here.
    var clients: [SocketAddress] { Array(associations.keys) }
    /// Associations that were used of late.
    var countUsed: Int {
        let now = server.driver.now
        return associations.values.count { now - $0.usedAt < Self.rest }
    }
    private var server: ProxyServer { capture.server }

    init(_ capture: Capture) throws(SystemError) {
        self.capture = capture
        let server = capture.server
        replies = ReplySockets(server.relaySockets)
        let v4 = try Self.socket("127.0.0.1", server)
        let v6 = try? Self.socket("::1", server)
        port4 = v4.localAddress.port
        port6 = v6?.localAddress.port
        sockets = [v4] + (v6.map { [$0] } ?? [])
        for index in sockets.indices {
            sockets[index].onReadable(for: self) { $0.receive($0.sockets[index]) }
        }
        let sweep = server.loop.timer(for: self) { $0.sweepIdle() }
        self.sweep = sweep
    }

    private static func socket(
        _ address: String, _ server: ProxyServer
    ) throws(SystemError) -> RelaySocket {
        guard let address = IPAddress(address) else { preconditionFailure("an address") }
        return try RelaySocket(
            .transparent(SocketAddress(address, port: 0)), server.relaySockets)
    }

    func isUsed(_ address: IPAddress) -> Bool { ofSource[address] > 0 }

    func stopAccepting() { isEnding = true }

    func close() {
        sweep = nil
        sockets.forEach { $0.close() }
        for association in Array(associations.values) { association.leave() }
        replies.closeAll()
    }

    // MARK: Out

    private func receive(_ socket: RelaySocket) {
        let now = server.driver.now
        server.relaySockets.receiveCaptured(socket) { datagram, from, destination in
            take(datagram, from, destination, at: now)
        }
    }

    private func take(
        _ datagram: UnsafeRawBufferPointer, _ from: SocketAddress, _ destination: SocketAddress,
        at now: Instant
    ) {
        // An answer to nobody's address would be one to this machine.
        guard destination.port != 0, from.port != 0, !destination.address.isUnspecified,
            !from.address.isUnspecified, from.address.unmapped == from.address
        else {
            refused += 1
            return
        }
        guard !capture.isOwn(destination) else {
            capture.counters.ownDestinations += 1
            return
        }
        if destination.port == Capture.namePort {
            ask(datagram, from, destination)
            return
        }
        guard let association = associations[from] ?? makeAssociation(from, destination, at: now)
        else {
            refused += 1
            return
        }
        let target = Target(host: .address(destination.address), port: destination.port)
        association.send(datagram, to: target, at: now)
    }

    /// A question for a name, which the proxy answers itself, in the place of whom it was asked.
    private func ask(
        _ question: UnsafeRawBufferPointer, _ from: SocketAddress, _ destination: SocketAddress
    ) {
        guard !isEnding else { return }
        let client = NameService.Client(address: from, transport: .datagram)
        let source = Target(host: .address(destination.address), port: destination.port)
        server.names.ask(question, from: client, of: destination) { [weak self] answer in
            answer.withUnsafeBytes { self?.answer($0, from: source, to: from) }
        }
    }

    /// `destination`: of its first datagram.
    private func makeAssociation(
        _ client: SocketAddress, _ destination: SocketAddress, at now: Instant
    ) -> CapturedAssociation? {
        guard !isEnding else { return nil }
        if server.settings.withoutSession != .direct, server.session.refusedFor != nil {
            server.session.hasten()
            return nil
        }
        let isProgram = server.names.isThisMachine(client.address)
        guard pace.take(client.address, isProgram: isProgram, at: now) else { return nil }
        if ofSource[client.address] >= Self.maximumOfSource {
            leastUsed { $0.client.address == client.address }?.leave()
        } else if associations.count >= Self.maximum {
            leastUsed { _ in true }?.leave()
        }
        let association = CapturedAssociation(client, destination, self)
        associations[client] = association
        ofSource.add(client.address)
        if associations.count == 1 { sweep?.arm(after: Self.sweepInterval) }
        association.start(at: now)
        return association
    }

    /// One that nobody has answered, so that a flood is in no call's way; then the one that was
    /// silent for longest.
    private func leastUsed(
        where isOne: (CapturedAssociation) -> Bool
    ) -> CapturedAssociation? {
        associations.values.filter(isOne).min {
            $0.isHeard == $1.isHeard ? $0.usedAt < $1.usedAt : $1.isHeard
        }
    }

    private func sweepIdle() {
        let now = server.driver.now
        for association in Array(associations.values) where association.isIdle(at: now) {
            association.leave()
        }
        replies.closeIdle(at: now)
        pace.forgetRested(at: now)
        if !associations.isEmpty { sweep?.arm(after: Self.sweepInterval) }
        server.noteRemaining()
    }

    func forget(_ association: CapturedAssociation) {
        guard associations.removeValue(forKey: association.client) != nil else { return }
        ofSource.remove(association.client.address)
    }

    // MARK: In

    /// An answer from `source`, for the program at `client`.
    func answer(
        _ payload: UnsafeRawBufferPointer, from source: Target, to client: SocketAddress
    ) {
        guard case .address(let address) = source.host, address.isIPv4 == client.address.isIPv4,
            let socket = replies.socket(
                for: SocketAddress(address, port: source.port), at: server.driver.now)
        else {
            refused += 1
            return
        }
        server.datagrams.received += 1
        server.relaySockets.post([], payload, to: client, through: socket)
    }
}
