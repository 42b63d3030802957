/// How many there are of each key. A key of which there are none takes no memory.
public struct Tally<Key: Hashable> {
    private var counts: [Key: Int] = [:]

    /// Of nothing yet.
    public init() {}

    /// How many there are of `key`.
    public subscript(key: Key) -> Int { counts[key, default: 0] }

    /// Counts one more of the key.
    public mutating func add(_ key: Key) { counts[key, default: 0] += 1 }

    /// One less; harmless where there are none.
    public mutating func remove(_ key: Key) {
        guard let count = counts[key] else { return }
        counts[key] = count > 1 ? count - 1 : nil
    }
}
