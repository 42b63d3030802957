import Measures

/// What the paths of a connection cost (`cost: prefer-cheap`): which ones carry only what the
/// others can't carry in time, and which ones nothing while any other works.
public struct PathCosts: Equatable, Sendable {
    /// What one path costs beside the others.
    public enum Cost: UInt8, CaseIterable, Sendable {
        /// No more than any other.
        case usual
        /// More than others: what they can't carry in time goes here.
        case dear
        /// Its allowance is used up: it carries what no other path can.
        case spent
    }

    /// A bit for each path, by its number.
    private var dear: UInt16 = 0
    private var spent: UInt16 = 0
    /// So long data waits for the cheap paths.
    public var backlogTime = Interval.seconds(4)

    /// None costs more than another.
    public init() {}

    /// Numbers beyond the table's have the usual cost.
    public subscript(path: PathID) -> Cost {
        get {
            guard (0..<UInt16.bitWidth).contains(path.number) else { return .usual }
            let bit: UInt16 = 1 << UInt16(path.number)
            return spent & bit != 0 ? .spent : dear & bit != 0 ? .dear : .usual
        }
        set {
            guard (0..<UInt16.bitWidth).contains(path.number) else { return }
            let bit: UInt16 = 1 << UInt16(path.number)
            dear = newValue == .dear ? dear | bit : dear & ~bit
            spent = newValue == .spent ? spent | bit : spent & ~bit
        }
    }

    /// Whether they make no difference.
    @inline(__always) public var areEqual: Bool { dear | spent == 0 }
}

/// How long a connection's data has waited for paths that take it, kept only where some cost more.
struct StandingBacklog {
    private var since: Instant?
    /// It was a steady thin stream's when it began: nothing of that ever waits while all is well.
    private var isThin = false
    /// Of a stream whose last backlog had to be cleared by dear paths, what waits again before this
    /// counts as a thin stream's.
    private var thinUntil = Instant(nanoseconds: .min / 2)
    private static let thinMemory = Interval.milliseconds(500)

    /// A steady thin stream that waits so long is about to starve: less than a player or a call
    /// holds in hand.
    static let starving = Interval.milliseconds(200)

    /// Something waits to be scheduled now, or nothing does. `isSmall`: no more than a thin stream
    /// ever has; `isSteady`: for a while it was never more. `time`: as in `outlasts`.
    mutating func note(
        _ waits: Bool, isSmall: Bool, isSteady: Bool, time: Interval, at now: Instant
    ) {
        guard waits else {
            if outlasts(time, at: now) { thinUntil = now + Self.thinMemory }
            since = nil
            return
        }
        guard since == nil else { return }
        since = now
        isThin = isSmall && (isSteady || now < thinUntil)
    }

    /// The cheap paths can't carry in time what there is.
    func outlasts(_ time: Interval, at now: Instant) -> Bool {
        guard let since else { return false }
        return now - since >= (isThin ? min(time, Self.starving) : time)
    }
}

extension Connection {
    /// Keeps account of what waits for the cheap paths. A reader that is slow, whose window is
    /// shut, is no fault of theirs.
    func noteBacklog(at now: Instant) {
        standingBacklog.note(
            sender.backlog > 0 && !sender.isWindowBlocked,
            isSmall: sender.backlog <= Self.maximumThinBacklog,
            isSteady: shadowing.mayCopy(at: now), time: costs.backlogTime, at: now)
    }

    /// Whether paths that cost more carry nothing now, as far as others work.
    func sparesDear(at now: Instant) -> Bool {
        !costs.areEqual && !standingBacklog.outlasts(costs.backlogTime, at: now)
    }

    /// How far a subflow stands behind others for what it costs: 0 or 1.
    @inline(__always) func costStanding(_ member: MemberSubflow, sparesDear: Bool) -> Int {
        if costs.areEqual { return 0 }
        switch costs[member.path] {
        case .usual: return 0
        case .dear: return sparesDear ? 1 : 0
        case .spent: return 1
        }
    }
}
