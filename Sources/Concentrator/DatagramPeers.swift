import Measures

/// Whom an association has sent to: what the policy said of them, and until when their datagrams
/// are let in.
struct DatagramPeers {
    enum Verdict { case allowed, denied }
    /// Destinations remembered; beyond, those of lately.
    static let maximum = 4_096
    /// What each association may remember however many its user's others do.
    static let minimum = 16
    /// RFC 4787 section 4.3.
    static let lifetime = Interval.seconds(300)
    /// The policy may have changed: it is asked again after so long.
    static let verdictLifetime = Interval.seconds(10)

    private struct Peer {
        var verdict: Verdict
        var judgedAt: Instant
        /// The changes of this machine's addresses until then.
        var changes: Int
        var sentAt: Instant
    }
    private var peers: [SocketAddress: Peer] = [:]
    private var addresses: [IPAddress: Instant] = [:]
    /// Of all the user's associations together.
    private let share: SharedLimit
    var count: Int { peers.count }

    init(share: SharedLimit) { self.share = share }

    /// Forgets all.
    mutating func removeAll() {
        share.change(by: -peers.count)
        peers = [:]
        addresses = [:]
    }

    /// Nil where the policy is to be asked (again). `changes` of this machine's addresses: one of
    /// them may be the remote one's by now.
    func verdict(_ remote: SocketAddress, after changes: Int, at now: Instant) -> Verdict? {
        guard let peer = peers[remote], peer.changes == changes,
            now - peer.judgedAt < Self.verdictLifetime
        else {
            return nil
        }
        return peer.verdict
    }

    mutating func note(
        _ remote: SocketAddress, isAllowed: Bool, after changes: Int, at now: Instant
    ) {
        let known = peers[remote]
        if known == nil {
            makeRoom()
            share.change(by: 1)
        }
        peers[remote] = Peer(
            verdict: isAllowed ? .allowed : .denied, judgedAt: now, changes: changes,
            sentAt: known?.sentAt ?? .zero)
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

    /// For one more: where there is none, those sent to longest ago go, a quarter of all.
    private mutating func makeRoom() {
        let maximum = share.hasRoom ? Self.maximum : min(Self.maximum, peers.count)
        guard peers.count >= max(maximum, Self.minimum) else { return }
        let before = peers.count
        defer { share.change(by: peers.count - before) }
        let oldest = peers.sorted { $0.value.sentAt < $1.value.sentAt }.prefix(before / 4)
        for peer in oldest { peers[peer.key] = nil }
        let kept = Set(peers.keys.lazy.map(\.address))
        addresses = addresses.filter { kept.contains($0.key) }
    }
}
