import Measures

/// Keys in the order in which they were added. A key that is added again has a newer place, and its
/// older ones mean nothing any more; so do those of keys that are gone. Whoever keeps the keys
/// tells which places are current.
struct AgeOrder<Key: Hashable> {
    struct Place {
        let key: Key
        /// Ascending.
        let number: UInt64
    }
    private var places = FIFO<Place>()
    private var last: UInt64 = 0

    /// The oldest first, among them such as are not current.
    var all: FlattenSequence<[ArraySlice<Place>]> { places.all }

    /// The number of the key's new place. `count`: how many keys are kept.
    mutating func add(_ key: Key, count: Int, isCurrent: (Place) -> Bool) -> UInt64 {
        if places.count > 2 * count + 1_024 { places.removeAll { !isCurrent($0) } }
        last += 1
        places.append(Place(key: key, number: last))
        return last
    }

    /// Takes out the oldest that is current.
    mutating func popFirst(isCurrent: (Place) -> Bool) -> Key? {
        while let place = places.popFirst() {
            if isCurrent(place) { return place.key }
        }
        return nil
    }
}
