/// A dictionary in parts, of which none is long: where a peer says what comes in, no single entry
/// may cost as much as moving all others does when a dictionary grows.
public struct DividedDictionary<Key: Hashable, Value> {
    private static var width: Int { 64 }

    /// None before the first entry.
    private var parts: [[Key: Value]] = []
    /// Entries of all parts.
    public private(set) var count = 0

    /// An empty one.
    public init() {}

    /// Whether there are no entries.
    public var isEmpty: Bool { count == 0 }

    /// The value of `key`; nil where there is none, or to remove it.
    public subscript(key: Key) -> Value? {
        get { parts.isEmpty ? nil : parts[Self.part(of: key)][key] }
        set {
            if parts.isEmpty {
                guard newValue != nil else { return }
                parts = Array(repeating: [:], count: Self.width)
            }
            let part = Self.part(of: key), before = parts[part].count
            parts[part][key] = newValue
            count += parts[part].count - before
        }
    }

    /// By a hash that no peer knows, and that is another than the dictionary's own.
    private static func part(of key: Key) -> Int { key.hashValue & (width - 1) }
}
