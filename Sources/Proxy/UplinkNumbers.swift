import Measures

/// The numbers by which the engine knows the proxy's sockets: one for each interface (or address)
/// and family, from 0 on, few, and given again.
///
/// A name that comes back gets the number it had, as long as nobody else needed it: the engine
/// still knows the round trips of its paths. A new name gets a number never used, else the one that
/// has been free the longest.
struct UplinkNumbers {
    /// Sockets at once: a session has no more paths.
    static let maximum = 16

    struct Key: Hashable {
        var name: String
        var isIPv4: Bool
    }
    private struct Slot {
        var key: Key
        var isHeld: Bool
        /// When it was let go, counted in releases.
        var released: UInt64
    }
    private var slots: [Slot] = []
    private var releases: UInt64 = 0

    /// The number in use for `key`; nil where there is none.
    func number(of key: Key) -> UplinkNumber? {
        slots.firstIndex { $0.key == key && $0.isHeld }.map { UplinkNumber($0) }
    }

    /// The name of a number, of the latest owner where it is free; nil where it was never given.
    func name(_ number: UplinkNumber) -> String? {
        slots.indices.contains(number.value) ? slots[number.value].key.name : nil
    }

    /// The number for `key`, in use from now on; nil where all are.
    mutating func take(_ key: Key) -> UplinkNumber? {
        let known = slots.firstIndex { $0.key == key }
        if known == nil, slots.count < Self.maximum {
            slots.append(Slot(key: key, isHeld: true, released: 0))
            return UplinkNumber(slots.count - 1)
        }
        let free = slots.indices.filter { !slots[$0].isHeld }.min {
            slots[$0].released < slots[$1].released
        }
        guard let place = known ?? free else { return nil }
        slots[place] = Slot(key: key, isHeld: true, released: 0)
        return UplinkNumber(place)
    }

    /// The number may be given again.
    mutating func release(_ number: UplinkNumber) {
        let place = number.value
        guard slots.indices.contains(place), slots[place].isHeld else { return }
        releases += 1
        slots[place].isHeld = false
        slots[place].released = releases
    }

    /// Numbers in use whose name is `name`, with the family of each.
    func held(_ name: String) -> [(number: UplinkNumber, isIPv4: Bool)] {
        slots.indices.filter { slots[$0].isHeld && slots[$0].key.name == name }
            .map { (UplinkNumber($0), slots[$0].key.isIPv4) }
    }

    /// Every name that has a number or had one until somebody else needed it, in the order of the
    /// numbers.
    var names: [String] {
        var out: [String] = []
        for slot in slots where !out.contains(slot.key.name) { out.append(slot.key.name) }
        return out
    }
}
