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
    /// A datagram with all pending statements is due on this path.
    private(set) var isDue = false
    /// When such a datagram last left on this path.
    private var lastSent = Instant.zero

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

    /// What is pending is to be said on this path.
    mutating func say() { isDue = true }

    /// Nothing is to be said on this path: it is being closed.
    mutating func suppress() { isDue = false }

    /// A datagram of small frames leaves on this path, with pending statements or without.
    mutating func flushed(hasSignals: Bool, at now: Instant) {
        isDue = false
        if hasSignals { lastSent = now }
    }

    /// A bulk datagram had no space for what is pending. True where one of its own is due.
    mutating func foundNoSpace(at now: Instant) -> Bool {
        guard now - lastSent > Limits.signalBesideBulk else { return false }
        isDue = true
        return true
    }

    // MARK: The concentrator's end

    /// How things stand where the proxy's word arrives.
    struct Circumstances {
        /// The path is open here, and carries data.
        var isOpen = false, isUsable = false
        /// The word came by the path itself.
        var isHeard = false
        /// Another path works.
        var hasOther = false
    }

    /// What is to be done, in this order.
    struct Consequences: Equatable {
        /// What is open here ends: the path was closed, or closed and opened again meanwhile.
        var closes = false
        /// The proxy hears nothing on it: it does not work any more.
        var fallsSilent = false
        /// It is to be opened, in this state.
        var opens: PathState?
    }

    /// Something was said of the path, or it was opened unannounced.
    var isKnown: Bool { generation != 0 || incarnation != 0 }

    /// Takes the proxy's word; nil where it is older than what is known.
    mutating func take(_ frame: PathStateFrame, _ here: Circumstances) -> Consequences? {
        guard !isKnown || frame.generation.isNewer(than: generation) else { return nil }
        let isOther = generation != 0 && frame.incarnation != incarnation
        generation = frame.generation
        incarnation = frame.incarnation
        var means = Consequences(closes: here.isOpen && (!frame.isOpen || isOther))
        guard frame.isOpen else { return means }
        // By the path itself it comes first where only our direction is dead; with no other path it
        // would only stop what may yet arrive.
        means.fallsSilent =
            frame.isSilent && here.isUsable && !means.closes && (!here.isHeard || here.hasOther)
        if !here.isOpen || means.closes {
            // Heard on itself, it works; announced over another one, it has to show that first.
            means.opens =
                here.isHeard ? .usable : .suspect(.unanswered)
        }
        return means
    }
}
