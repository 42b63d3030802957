import Measures
import Shell

/// The applications that are served, by their connections: as many as there may be, and who makes
/// room for the next one.
struct ClientTable {
    /// What is there for one more.
    enum Space {
        case free
        /// This one is missed least, and is to be closed.
        case insteadOf(ClientConnection)
        case none
    }

    /// Served at once: as configured, or as many as there are descriptors.
    private(set) var maximum: Int
    private var clients: [ObjectIdentifier: ClientConnection] = [:]
    private var displacement = Displacement<ClientConnection>()
    private var lastNumber: UInt64 = 0

    init(configured: Int) {
        maximum = 0
        limit(to: configured)
    }

    var count: Int { clients.count }
    /// All of them, whatever becomes of the table meanwhile.
    var all: [ClientConnection] { Array(clients.values) }

    /// From now on there may be so many, as far as there are descriptors: beyond them nobody could
    /// be accepted, and silent ones would be in the way of all others.
    mutating func limit(to configured: Int) {
        maximum = min(configured, DescriptorLimit.maximumConnections)
    }

    /// Of the next one, ascending.
    mutating func nextNumber() -> UInt64 {
        lastNumber &+= 1
        return lastNumber
    }

    /// Whether another one may be.
    mutating func space(at now: Instant) -> Space {
        if clients.count < maximum { return .free }
        return missedLeast(at: now).map { .insteadOf($0) } ?? .none
    }

    /// Whoever is to be closed for another one; nil where all are in use.
    mutating func missedLeast(at now: Instant) -> ClientConnection? {
        displacement.next(
            of: { [clients] in clients.values.map { ($0, $0.source) } },
            standing: { $0.isOver ? nil : $0.standing }, at: now)
    }

    /// Takes the client in; returns the one whose dialogue ends for its.
    mutating func insert(_ client: ClientConnection) -> ClientConnection? {
        clients[ObjectIdentifier(client)] = client
        guard let pending = client.pending else { return nil }
        return pending.port.pending.add(client, number: client.number, from: pending.source)
    }

    mutating func remove(_ client: ClientConnection) {
        clients[ObjectIdentifier(client)] = nil
        if let pending = client.pending {
            pending.port.pending.remove(client.number, from: pending.source)
        }
    }

    /// Whether a captured connection from this address lives.
    func hasCaptured(from address: IPAddress) -> Bool {
        clients.values.contains { $0.listener.isCapture && $0.address == address }
    }

    /// How many are of this kind.
    func count(where isCounted: (ClientConnection) -> Bool) -> Int {
        clients.values.count(where: isCounted)
    }
}
