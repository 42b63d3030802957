import Measures
import Wire

/// What the proxy says of a path, and how often it changed its mind: one register, of which a
/// higher generation replaces what was said before, so that a path that returns before the echo of
/// its removal needs no special case.
struct PathStatement {
    private(set) var generation: UInt16 = 0
    /// Counts the path's openings.
    private(set) var incarnation: UInt8 = 0
    /// It has not been echoed yet.
    private(set) var isPending = false
    /// A datagram with the pending statements is due on this path.
    var isDue = false
    /// When such a datagram last left on this path.
    var lastSent = Instant.zero

    // MARK: The proxy's end

    /// The path is opened (again), from another socket: told apart from what is still under way.
    mutating func beginIncarnation() { incarnation &+= 1 }

    /// There is something new to say.
    mutating func renew() {
        generation &+= 1
        isPending = true
    }

    /// The peer has echoed that generation. False where it is not what was said last.
    mutating func echoed(_ generation: UInt16) -> Bool {
        guard generation == self.generation else { return false }
        isPending = false
        return true
    }

    /// It is not repeated (`Signaling.once`).
    mutating func forgetPending() { isPending = false }

    // MARK: The concentrator's end

    /// What a frame means for a path that is, or is not, open here. In this order.
    struct Consequences: Equatable {
        /// What is open here ends: the path was closed, or closed and opened again meanwhile.
        var closes = false
        /// The proxy hears nothing on it.
        var isSilent = false
        /// It is to be opened.
        var opens = false
    }

    /// Something was said of the path, or it was opened unannounced.
    var isKnown: Bool { generation != 0 || incarnation != 0 }

    /// Takes the proxy's word; nil where it is older than what is known.
    mutating func take(_ frame: PathStateFrame, isOpen: Bool) -> Consequences? {
        guard !isKnown || frame.generation.isNewer(than: generation) else { return nil }
        let isOther = generation != 0 && frame.incarnation != incarnation
        generation = frame.generation
        incarnation = frame.incarnation
        let closes = isOpen && (!frame.isOpen || isOther)
        return Consequences(
            closes: closes, isSilent: frame.isOpen && frame.isSilent,
            opens: frame.isOpen && (!isOpen || closes))
    }
}
