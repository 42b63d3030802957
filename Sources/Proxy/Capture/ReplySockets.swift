import Measures
import Shell

/// Sockets bound to addresses of others, so that an answer comes from where it was asked: one for
/// each address and port, those used last.
struct ReplySockets {
    private let sockets: RelaySockets
    private var known: [SocketAddress: (socket: RelaySocket, usedAt: Instant)] = [:]

    /// A torrent client talks to some two thousand peers; of those beyond, the one that was silent
    /// for longest is made anew when it speaks.
    private static let maximumAnswering = 1_024
    private static let idle = Interval.seconds(60)

    init(_ sockets: RelaySockets) { self.sockets = sockets }

    /// Nil where there can be none.
    mutating func socket(for address: SocketAddress, at now: Instant) -> RelaySocket? {
        if let found = known[address] {
            known[address] = (found.socket, now)
            return found.socket
        }
        if known.count >= Self.maximumAnswering {
            let oldest = known.min { $0.value.usedAt < $1.value.usedAt }?.key
            if let oldest { known.removeValue(forKey: oldest)?.socket.close() }
        }
        guard let socket = try? RelaySocket(.transparent(address), sockets) else { return nil }
        known[address] = (socket, now)
        return socket
    }

    mutating func closeIdle(at now: Instant) {
        for (address, entry) in known where now - entry.usedAt >= Self.idle {
            entry.socket.close()
            known[address] = nil
        }
    }

    mutating func closeAll() {
        for entry in known.values { entry.socket.close() }
        known = [:]
    }
}
