import Measures
import Shell

/// What one user has of associations, over all sessions, and may send.
final class RelayedByUser {
    /// Destinations remembered: 2 MiB or so.
    static let maximumDestinations = 16_384
    /// Names whose addresses are known, or asked for.
    static let maximumNames = 2_048
    /// Bytes of datagrams that wait for a name's address.
    static let maximumWaiting = 1 << 20

    var associations = 0
    let destinations = SharedLimit(maximumDestinations)
    let names = SharedLimit(maximumNames)
    let waiting = SharedLimit(maximumWaiting)
    /// Of what comes from the world in a turn.
    let turn = RelayShare()
    /// Datagrams to the world.
    var datagrams: TokenBucket

    /// `rate`: datagrams a second; as many at once as in a fifth of one.
    init(_ rate: Int) { datagrams = Self.bucket(rate) }

    /// From now on, so many a second.
    func change(rate: Int) { datagrams = Self.bucket(rate) }

    private static func bucket(_ rate: Int) -> TokenBucket {
        TokenBucket(rate: Double(rate), burst: max(Double(rate) / 5, 1))
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
