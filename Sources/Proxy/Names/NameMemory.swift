import Measures

/// Which names the DNS listener has answered with an address: for each client the name it asked for
/// last, so that a connection to the address alone can be judged by name.
///
/// A name is remembered for as long as its answer lives and a little longer, since programs connect
/// to addresses that they have looked up a moment ago. Pure of clocks.
struct NameMemory {
    /// Pairs of client and address that are remembered; beyond, the one that was noted first is
    /// forgotten. With names of usual length about 10 MB.
    static let maximum = 65_536
    /// Of one client, so that none makes the others' names be forgotten.
    static let maximumPerClient = 8_192
    /// Added to an answer's time to live.
    static let grace = Interval.seconds(120)
    /// Programs that keep addresses for longer than they live are common, a day is not.
    static let maximumLife = Interval.seconds(86_400)

    private struct Key: Hashable {
        var client: Source
        var address: IPAddress
    }
    private struct Entry {
        var name: String
        var until: Instant
        /// Of its place in the order; an older place means nothing any more.
        var number: UInt64
    }
    private var entries: [Key: Entry] = [:]
    private var perClient = Tally<Source>()
    private var order = AgeOrder<Key>()

    /// How many pairs are remembered.
    var count: Int { entries.count }

    /// The name, in lower case and without a final dot, by whose answer `client` got to know
    /// `address`; nil where it has asked for none, or long ago.
    ///
    /// Clients in one /64 of IPv6 are one client.
    func name(of address: IPAddress, askedBy client: IPAddress, now: Instant) -> String? {
        let key = Key(client: Source(client), address: address.unmapped)
        guard let entry = entries[key], entry.until > now else { return nil }
        return entry.name
    }

    /// `client` was told that `name` has `address`, for `lifetime`.
    mutating func note(
        _ name: String, is address: IPAddress, askedBy client: IPAddress,
        lifetime: Interval, now: Instant
    ) {
        let key = Key(client: Source(client), address: address.unmapped)
        if entries[key] == nil {
            if perClient[key.client] >= Self.maximumPerClient {
                forgetFirst(of: key.client)
            } else if entries.count >= Self.maximum {
                forgetFirst()
            }
            perClient.add(key.client)
        }
        let until = now + min(max(lifetime, .zero), Self.maximumLife) + Self.grace
        let number = order.add(key, count: entries.count) { [entries] in
            entries[$0.key]?.number == $0.number
        }
        entries[key] = Entry(name: name, until: until, number: number)
    }

    private mutating func forgetFirst() {
        let oldest = order.popFirst { [entries] in entries[$0.key]?.number == $0.number }
        if let oldest { remove(oldest) }
    }

    /// Looks through the order: a client that notes more than it may pays with every further one,
    /// so an eighth of its own is forgotten at once.
    private mutating func forgetFirst(of client: Source) {
        var left = Self.maximumPerClient / 8
        for place in order.all where left > 0 && place.key.client == client {
            guard entries[place.key]?.number == place.number else { continue }
            remove(place.key)
            left -= 1
        }
    }

    private mutating func remove(_ key: Key) {
        entries[key] = nil
        perClient.remove(key.client)
    }
}
