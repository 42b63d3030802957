/// Host names, each alone or with all names below it.
///
/// A table with open addressing over one string of bytes, so that 100,000 names are a few megabytes
/// and a look-up is a hash for each label of a name.
public struct NameList: Equatable, Sendable {
    /// What an entry covers.
    public enum Extent: UInt8, Sendable {
        /// That name.
        case exact = 1
        /// That name and every one below it.
        case suffix = 2
    }

    private struct Slot: Equatable {
        var hash: UInt32 = 0
        var start: UInt32 = 0
        var length: UInt8 = 0
        /// Bits of `Extent`; none: an empty slot.
        var extents: UInt8 = 0
    }

    private var bytes: [UInt8] = []
    private var slots: [Slot] = []
    /// Names it has.
    public private(set) var count = 0

    /// Without a name.
    public init() {}

    /// Whether there is none.
    public var isEmpty: Bool { count == 0 }

    /// Adds a name of 1 to 253 bytes, in any case, with or without a dot at its end. False for what
    /// is no host name.
    public mutating func insert(_ text: some StringProtocol, _ extent: Extent) -> Bool {
        guard let key = NameKey(text) else { return false }
        if count * 2 >= slots.count { grow() }
        let whole = key.whole
        let i = slot(of: whole.hash, key.bytes[whole.start...])
        if slots[i].extents == 0 {
            slots[i] = Slot(
                hash: whole.hash, start: UInt32(bytes.count), length: UInt8(key.bytes.count))
            bytes += key.bytes
            count += 1
        }
        slots[i].extents |= extent.rawValue
        return true
    }

    /// The longest entry that covers the name; nil where none does.
    func match(_ key: NameKey) -> (name: String, Extent)? {
        guard count > 0 else { return nil }
        for suffix in key.suffixes.reversed() {
            let slot = slots[slot(of: suffix.hash, key.bytes[suffix.start...])]
            if suffix.start == 0, slot.extents & Extent.exact.rawValue != 0 {
                return (text(of: slot), .exact)
            }
            if slot.extents & Extent.suffix.rawValue != 0 { return (text(of: slot), .suffix) }
        }
        return nil
    }

    /// Whether an entry covers the name.
    func contains(_ key: NameKey) -> Bool {
        guard count > 0 else { return false }
        for suffix in key.suffixes {
            let slot = slots[slot(of: suffix.hash, key.bytes[suffix.start...])]
            if slot.extents & Extent.suffix.rawValue != 0 { return true }
            if suffix.start == 0, slot.extents != 0 { return true }
        }
        return false
    }

    private func text(of slot: Slot) -> String {
        String(
            decoding: bytes[Int(slot.start)..<Int(slot.start) + Int(slot.length)], as: UTF8.self)
    }

    /// The slot that has the name, or the empty one where it would stand: half of them are empty.
    private func slot(of hash: UInt32, _ name: ArraySlice<UInt8>) -> Int {
        var i = Int(hash) & (slots.count - 1)
        while slots[i].extents != 0 {
            if slots[i].hash == hash, Int(slots[i].length) == name.count,
                isSame(name, at: Int(slots[i].start))
            {
                return i
            }
            i = (i + 1) & (slots.count - 1)
        }
        return i
    }

    private func isSame(_ name: ArraySlice<UInt8>, at start: Int) -> Bool {
        var at = start
        for byte in name {
            if bytes[at] != byte { return false }
            at += 1
        }
        return true
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: Slot(), count: max(16, old.count * 2))
        for slot in old where slot.extents != 0 {
            var i = Int(slot.hash) & (slots.count - 1)
            while slots[i].extents != 0 { i = (i + 1) & (slots.count - 1) }
            slots[i] = slot
        }
    }
}

/// A host name as rules look for it: in lower case, with the hash of each of its ends that begins
/// with a label.
struct NameKey {
    struct Suffix {
        var hash: UInt32
        var start: Int
    }
    private(set) var bytes: [UInt8] = []
    /// The last label first, the whole name last; at most 128.
    private(set) var suffixes: [Suffix] = []

    var whole: Suffix { suffixes[suffixes.count - 1] }

    /// Nil for what is empty, longer than 253 bytes, or has an empty label or a byte that no host
    /// name has.
    init?(_ text: some StringProtocol) {
        bytes.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            switch byte {
            case 0x41...0x5a: bytes.append(byte | 0x20)
            case 0x30...0x39, 0x61...0x7a, 0x2d, 0x2e, 0x5f: bytes.append(byte)
            default: return nil
            }
        }
        let dot = UInt8(ascii: ".")
        if bytes.last == dot { bytes.removeLast() }
        guard (1...253).contains(bytes.count), bytes[0] != dot else { return nil }
        // FNV-1a from the end, so that one pass has the hashes of all ends.
        var hash: UInt32 = 2_166_136_261
        suffixes.reserveCapacity(8)
        var i = bytes.count
        while i > 0 {
            i -= 1
            if bytes[i] == dot {
                guard i + 1 < bytes.count, bytes[i + 1] != dot else { return nil }
                suffixes.append(Suffix(hash: Self.finished(hash), start: i + 1))
            }
            hash = (hash ^ UInt32(bytes[i])) &* 16_777_619
        }
        suffixes.append(Suffix(hash: Self.finished(hash), start: 0))
    }

    /// The low bits choose the slot: they depend on all of it.
    private static func finished(_ hash: UInt32) -> UInt32 {
        let mixed = (hash ^ hash >> 16) &* 0x45d9_f3b
        return mixed ^ mixed >> 16
    }
}
