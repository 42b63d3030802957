import Measures

/// The only uplinks that some connections may use: those of a rule, which come and go.
///
/// Made and kept by the proxy, shared by the connections it gives it to. Subflows and datagrams
/// keep to it; what speaks of paths and of the session itself does not.
public final class UplinkRestriction {
    /// A bit for each uplink by its number (`Uplink.number`).
    fileprivate(set) var numbers: UInt32 = 0

    /// None, until `Endpoint.restrict` names some.
    public init() {}

    func allows(_ uplink: UplinkNumber) -> Bool {
        (0..<UInt32.bitWidth).contains(uplink.value) && numbers & 1 << UInt32(uplink.value) != 0
    }
}

extension Endpoint {
    /// The uplinks of `restriction` are these now, by their numbers.
    public func restrict(
        _ restriction: UplinkRestriction, to uplinks: [UplinkNumber], at now: Instant
    ) {
        var numbers: UInt32 = 0
        for uplink in uplinks where (0..<UInt32.bitWidth).contains(uplink.value) {
            numbers |= 1 << UInt32(uplink.value)
        }
        guard numbers != restriction.numbers else { return }
        restriction.numbers = numbers
        for case let session? in sessions { session.restrictionChanged() }
    }
}

extension Session {
    /// Connections look again which paths are theirs.
    fileprivate func restrictionChanged() {
        changes.forJoins &+= 1
        visitAllStreams()
        requestDatagramTurn()
    }
}
