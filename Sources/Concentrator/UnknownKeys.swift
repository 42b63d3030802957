import Crypto
import Measures
import Shell

/// Keys of nobody we know that asked for a session lately with the right key of ours: the latest
/// few, so that a person can let one in.
struct UnknownKeys {
    /// How many are remembered; each new one takes the place of the one that asked longest ago.
    static let maximum = 8

    private struct Refused {
        var key: Key32
        var remote: SocketAddress
        var at: Instant
    }
    /// The latest last.
    private var latest: [Refused] = []
    /// Keys of invitations that are none any more, the latest last.
    private var formerInvitations: [Key32] = []

    /// They were used up, were taken back, or their time is over. To let in whoever comes with one
    /// would let in everybody who has the link.
    mutating func end(invitations keys: [Key32]) {
        guard !keys.isEmpty else { return }
        let ended = Set(keys)
        formerInvitations.removeAll { ended.contains($0) }
        formerInvitations += keys
        let maximum = ConcentratorSettings.maximumFormerInvitations
        formerInvitations.removeFirst(max(0, formerInvitations.count - maximum))
    }

    /// Whether it is not a machine's key but an invitation's that was good once.
    func isFormerInvitation(_ key: Key32) -> Bool { formerInvitations.contains(key) }

    mutating func note(_ key: Key32, _ remote: SocketAddress, at now: Instant) {
        latest.removeAll { $0.key == key }
        if latest.count >= Self.maximum { latest.removeFirst() }
        latest.append(Refused(key: key, remote: remote, at: now))
    }

    /// They are users now.
    mutating func forget(_ keys: [Key32]) {
        guard !latest.isEmpty else { return }
        let known = Set(keys)
        latest.removeAll { known.contains($0.key) }
    }

    /// For the status, the latest first.
    func list(at now: Instant) -> [ServerStatus.UnknownKey] {
        latest.reversed().map {
            ServerStatus.UnknownKey(
                publicKey: $0.key.base64, remote: "\($0.remote)",
                secondsAgo: (now - $0.at).seconds)
        }
    }
}
