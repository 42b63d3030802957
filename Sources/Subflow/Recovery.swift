import Measures

/// Where loss recovery stands, and Proportional Rate Reduction (RFC 9937) while it is fast.
struct Recovery {
    enum Phase { case open, fast, timeout }

    private(set) var phase = Phase.open
    /// `sendNext` when it began; over when everything before is acknowledged.
    private(set) var point = SubflowSequence(0)
    /// What may be in flight at present; rules only while fast.
    private(set) var window = 0
    private var delivered = 0
    private var sent = 0
    private var flightAtStart = 0

    // Undo of a spurious recovery.
    /// Retransmissions not yet shown to be needless by a D-SACK.
    private(set) var unexplained = 0
    private(set) var canUndo = false

    var isActive: Bool { phase != .open }

    mutating func enterFast(point: SubflowSequence, flight: Int, window: Int) {
        phase = .fast
        self.point = point
        delivered = 0
        sent = 0
        flightAtStart = max(1, flight)
        self.window = window
        unexplained = 0
        canUndo = true
    }

    mutating func enterTimeout(point: SubflowSequence) {
        // A second time-out in a row repairs the same loss: what it may undo is the first's.
        if phase != .timeout { unexplained = 0; canUndo = true }
        phase = .timeout
        self.point = point
    }

    mutating func leave() { phase = .open }
    mutating func forgetUndo() { canUndo = false }

    /// RFC 9937 section 6.2, for each acknowledgement.
    /// `departed`: bytes in flight by count that are known to have left the network (no SACK).
    mutating func acknowledged(
        newly bytes: Int, flight: Int, departed: Int = 0, threshold: Int,
        segmentSize: Int,
        isSafe: Bool
    ) {
        delivered &+= bytes
        var allowance: Int
        if flight > threshold {
            allowance = (delivered &* threshold &+ flightAtStart &- 1) / flightAtStart &- sent
        } else {
            allowance = max(delivered &- sent, bytes)
            if isSafe { allowance &+= segmentSize }
            allowance = min(threshold &- flight, allowance)
        }
        // The first retransmission goes at once, whatever the proportion says.
        // With nothing in flight no acknowledgement would ever allow the next.
        if sent == 0 || flight == 0 { allowance = max(allowance, segmentSize) }
        window = flight &+ departed &+ max(0, allowance)
    }

    mutating func transmitted(_ bytes: Int) { if phase == .fast { sent &+= bytes } }
    mutating func retransmitted() { if isActive { unexplained &+= 1 } }
    /// A D-SACK: whether now every retransmission was needless.
    mutating func explainedOne() -> Bool {
        guard canUndo, unexplained > 0 else { return false }
        unexplained -= 1
        return unexplained == 0
    }
}
