import Measures

/// The window that the peer offers (RFC 9293 section 3.3.1): SND.WND, MAX.SND.WND, and the segment
/// it was last taken from.
struct OfferedWindow {
    /// SND.WND: bytes, scaled.
    private(set) var bytes = 0
    /// MAX.SND.WND: the most it ever offered, bytes (RFC 5961 section 5.2).
    private(set) var largest = 0
    /// Binary places by which what segments say is scaled, 0 to 14 (RFC 7323 section 2.2).
    private(set) var scale: UInt8 = 0
    // SND.WL1, SND.WL2.
    private var sequence = SubflowSequence(0)
    private var acknowledgement = SubflowSequence(0)

    /// A SYN's, which is never scaled; `scale` counts for what comes later.
    mutating func open(
        _ window: UInt16, scale: UInt8, sequence: SubflowSequence,
        acknowledgement: SubflowSequence
    ) {
        self.scale = min(14, scale)
        bytes = Int(window)
        largest = bytes
        take(from: sequence, acknowledgement)
    }

    /// Of whatever segment comes the window counts.
    @inline(__always) mutating func offer(_ window: UInt16) {
        bytes = Int(window) << Int(scale)
        largest = max(largest, bytes)
    }

    /// From here on only newer segments tell the window.
    mutating func take(from sequence: SubflowSequence, _ acknowledgement: SubflowSequence) {
        self.sequence = sequence
        self.acknowledgement = acknowledgement
    }

    /// Whether a segment with these numbers is no older than the one the window was taken from
    /// (RFC 9293 section 3.10.7.4); then it stands in its place.
    mutating func takeNewer(
        _ sequence: SubflowSequence, _ acknowledgement: SubflowSequence
    ) -> Bool {
        let age = self.sequence.distance(to: sequence)
        guard age > 0 || (age == 0 && self.acknowledgement.isAtOrBefore(acknowledgement)) else {
            return false
        }
        take(from: sequence, acknowledgement)
        return true
    }
}
