import Measures
import Multipath

/// The mode that suits what connections do (`mode: auto`): one path while nothing but keepalives
/// and small exchanges pass, more where somebody waits for what is carried, and one again after a
/// quiet time. The paper's open question (section 4.5), answered by the traffic instead of the
/// screen.
///
/// Every `interval` in which something moved it is shown what did; it says which mode follows. A
/// state is entered on evidence that has lasted, and left when its evidence has been missing for a
/// quiet time, which doubles for a state that is entered again soon, so that nothing flaps.
public struct ModeByUse: Sendable {
    /// What somebody waits for; later ones ask for no less than earlier ones.
    public enum Demand: Int, CaseIterable, Sendable {
        case nothing, interactive, pages, transfer, call

        /// For status and logs.
        public var label: String {
            switch self {
            case .nothing: "nobody waits"
            case .interactive: "interactive traffic"
            case .pages: "slow pages at an even pace"
            case .transfer: "a transfer that lasts"
            case .call: "a call"
            }
        }
    }

    /// What is known from outside about the person in front of the machine.
    public enum Hint: String, CaseIterable, Sendable {
        case unknown
        /// Somebody looks at it: what moves is waited for sooner.
        case inUse = "in-use"
        /// Nobody does: only a call is waited for.
        case idle
    }

    /// What moved in an interval.
    public struct Observation: Equatable, Sendable {
        /// Payload of streams that moved at least `minimumTransfer` each, and of bulky flows of
        /// datagrams.
        public var transferBytes = 0
        /// Streams on which a little went in both directions.
        public var exchanges = 0
        /// Flows of small datagrams at a steady pace: voice, games.
        public var steadyFlows = 0
        /// An uplink went or came within `movingMemory`, or fell silent within `silenceMemory`.
        public var isMoving = false
        /// Nothing moved.
        public init() {}
    }

    /// From one observation to the next, while something moves or is waited for.
    public static let interval = Interval.milliseconds(500)
    /// Bytes of payload that make a stream's or the flows' interval one of a transfer: 64 kbit/s.
    public static let minimumTransfer = 4_000

    /// What is done sooner gains nothing by a radio that takes 2 s to wake, and pays its tail.
    static let leastTransfer = Interval.milliseconds(2_500)
    /// What takes so long is waited for, whatever there was before; where somebody looks, sooner.
    static func certainTransfer(_ hint: Hint) -> Interval {
        hint == .inUse ? .seconds(3) : .seconds(5)
    }
    /// Short ones of so long ago still tell how long things take here: one that lasts is more than
    /// half as long again.
    static let shortTransferMemory = Interval.seconds(600)
    /// A call is one after so long.
    static let callLasts = Interval.seconds(1)
    /// Somebody whose uplink went or came is on the move for so long: on a way they do again within
    /// it.
    static let movingMemory = Interval.seconds(180)
    /// What was silent once where all have stood for hours mostly is not again.
    static let silenceMemory = Interval.seconds(60)
    /// Intervals without evidence that interrupt nothing: a server's pause, a burst's gap.
    static let gap = Interval.milliseconds(1_000)
    /// Intervals with an exchange, less a quarter for each without one, that make traffic
    /// interactive: somebody who types, not a page or a keepalive.
    static func interactiveScore(_ hint: Hint) -> Double { hint == .inUse ? 4 : 8 }
    static let maximumScore = 16.0
    /// For so long its evidence must be missing before a demand ends.
    static func quiet(_ demand: Demand) -> Interval {
        switch demand {
        case .nothing, .pages: .zero
        case .interactive: .seconds(10)
        case .transfer: .milliseconds(1_500)
        case .call: .seconds(4)
        }
    }
    /// A demand that comes back within this time of its end lasts twice as long the next time, up
    /// to eight times.
    static let flapMemory = Interval.seconds(30)
    static let maximumDoublings = 3

    /// Evidence of one kind: since when, without a gap, and when last.
    private struct Evidence {
        private(set) var since: Instant?
        private(set) var last = Instant(nanoseconds: .min / 2)

        /// How long it had lasted, where it has ended with this.
        @discardableResult mutating func note(_ isThere: Bool, at now: Instant) -> Interval? {
            if isThere {
                if since == nil { since = now - ModeByUse.interval }
                last = now
            } else if let since, now - last > ModeByUse.gap {
                self.since = nil
                return last - since
            }
            return nil
        }
        func hasLasted(_ time: Interval) -> Bool { since.map { last - $0 >= time } ?? false }
    }

    /// The longest of what was fetched or sent lately and was over before it was certain to last:
    /// pages, mail.
    private struct ShortTransfers {
        private var longest = Interval.zero
        private var notedAt = Instant(nanoseconds: .min / 2)

        mutating func note(_ length: Interval, at now: Instant) {
            guard length < ModeByUse.certainTransfer(.unknown) else { return }
            if length >= longest || now - notedAt > ModeByUse.shortTransferMemory {
                longest = length
                notedAt = now
            }
        }
        /// What has lasted so long is more than one of them.
        func limit(_ hint: Hint, at now: Instant) -> Interval {
            let usual = now - notedAt <= ModeByUse.shortTransferMemory ? longest : .zero
            return min(
                max(usual + usual / 2, ModeByUse.leastTransfer), ModeByUse.certainTransfer(hint))
        }
    }

    /// What is waited for at present.
    public private(set) var demand = Demand.nothing
    /// The mode that follows from it. A call needs both uplinks where one is likely to go; where
    /// all have stood for long, a path that stands ready is enough.
    public var mode: HandoverMode {
        switch demand {
        case .nothing: .single
        case .interactive: .backup
        case .pages, .transfer: .full
        case .call:
            isMoving || hint != .idle && isTransferring
                ? .full : .backup
        }
    }
    /// As last given.
    public var hint = Hint.unknown
    private var transfer = Evidence()
    private var shortTransfers = ShortTransfers()
    private var isTransferring = false
    private var rhythm = PageRhythm()
    private var isPageDue = false
    private var call = Evidence()
    private var exchange = Evidence()
    private var score = 0.0
    private var isMoving = false
    /// When a demand last ended, and how often it had come back by then.
    private var endedAt = Instant(nanoseconds: .min / 2)
    private var doublings = 0

    /// Nothing was seen yet.
    public init() {}

    /// Whether the next interval must be looked at even where nothing moves in it.
    public var isWatching: Bool {
        demand != .nothing || transfer.since != nil || call.since != nil || score > 0
            || rhythm.isKnown
    }

    /// What moved in the interval that ends now. Nil where the mode stays.
    public mutating func observe(_ seen: Observation, at now: Instant) -> HandoverMode? {
        let before = mode
        isMoving = seen.isMoving
        if let length = transfer.note(seen.transferBytes >= Self.minimumTransfer, at: now) {
            shortTransfers.note(length, at: now)
            if length < Self.certainTransfer(.unknown) {
                rhythm.note(length, endedAt: transfer.last)
            }
        }
        // While something is fetched it is as it was when that began.
        if transfer.since == nil { isPageDue = rhythm.isDue(at: now) }
        isTransferring = transfer.hasLasted(shortTransfers.limit(hint, at: now))
        call.note(seen.steadyFlows > 0, at: now)
        exchange.note(seen.exchanges > 0, at: now)
        score =
            seen.exchanges > 0
            ? min(score + 1, Self.maximumScore) : max(score - 0.25, 0)
        let wanted = wanted
        if wanted.rawValue > demand.rawValue {
            begin(wanted, at: now)
        } else if wanted != demand, now - lastEvidence(of: demand) >= quietTime(demand) {
            if wanted == .nothing, demand != .pages { endedAt = now }
            demand = wanted
        }
        return mode == before ? nil : mode
    }

    /// What the evidence asks for by itself, whatever there was before.
    private var wanted: Demand {
        if call.hasLasted(Self.callLasts) { return .call }
        if hint == .idle { return .nothing }
        if isTransferring { return .transfer }
        if isPageDue { return .pages }
        return score >= Self.interactiveScore(hint) ? .interactive : .nothing
    }

    private mutating func begin(_ next: Demand, at now: Instant) {
        if demand == .nothing || demand == .pages, next != .pages {
            doublings =
                now - endedAt < Self.flapMemory ? min(doublings + 1, Self.maximumDoublings) : 0
        }
        demand = next
    }

    private func quietTime(_ demand: Demand) -> Interval {
        Self.quiet(demand) * Int64(1 << doublings)
    }

    /// When the demand was last seen to be one; of nobody who looks on nothing but a call is.
    private func lastEvidence(of demand: Demand) -> Instant {
        switch demand {
        case .call: call.last
        case .transfer where hint != .idle: transfer.last
        case .interactive where hint != .idle: max(exchange.last, transfer.last)
        case .nothing, .pages, .transfer, .interactive: Instant(nanoseconds: .min / 2)
        }
    }
}
