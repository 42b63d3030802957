import Measures
import Subflow

/// A connection's subflows, seen from outside.
extension Connection {
    /// Nil where the index is free.
    public func subflow(_ index: SubflowIndex) -> Subflow? {
        member(index)?.tcp
    }
    /// Its spans sent and not cumulatively acknowledged; zero where the index is free.
    public func outstandingCount(_ index: SubflowIndex) -> Int {
        member(index)?.tcp.outstandingCount ?? 0
    }
    /// The path it goes by; nil where the index is free.
    public func subflowPath(_ index: SubflowIndex) -> PathID? {
        member(index)?.path
    }
    /// Whether a living or opening subflow stands on `path`.
    public func hasSubflow(path: PathID) -> Bool {
        hasMember { $0.path == path && $0.isAlive && !$0.isEnding }
    }
    /// Whether the handshake of a subflow on `path` is done and it is not ending.
    public func isEstablished(path: PathID) -> Bool {
        hasMember { $0.path == path && $0.isAlive && !$0.isEnding && $0.tcp.state == .established }
    }
    /// Whether a subflow on `path` still has something to send or to hear there, if only its end.
    public func livesOn(path: PathID) -> Bool {
        hasMember { $0.path == path && $0.isAlive && $0.tcp.state != .timeWait }
    }
    /// Whether a subflow lives on a path that is known to work.
    public var hasUsableSubflow: Bool {
        hasMember { $0.isAlive && !$0.isEnding && $0.health == .usable }
    }
    /// Subflows that are neither ended nor ending.
    public var livingSubflows: Int {
        var n = 0
        for case let member? in members where member.isAlive && !member.isEnding { n += 1 }
        return n
    }
    /// Spans that all of them have under way.
    public var outstandingSpans: Int {
        var n = 0
        for case let member? in members { n += member.tcp.outstandingCount }
        return n
    }
    /// Subflows in any state on the paths whose bits are set, and the spans they have under way.
    public func load(onPaths bits: UInt32) -> (subflows: Int, spans: Int) {
        var subflows = 0, spans = 0
        for case let member? in members where bits >> UInt32(member.path.number) & 1 != 0 {
            subflows += 1
            spans += member.tcp.outstandingCount
        }
        return (subflows, spans)
    }
    /// Subflows in any state, those that are ending included.
    public var memberCount: Int { members.count { $0 != nil } }
    /// The most of them at once, at a listener: their indices are a byte in the session's table,
    /// and each turn looks at all.
    static let maximumMembers = 2 * SchedulingCandidates.capacity
    /// Indices of subflows that ended since last asked, one at a time: their numbers may be used
    /// again.
    public func takeEndedSubflow() -> SubflowIndex? { ended.popLast() }
    /// Whether `join` may be called now: both keys are known and the streams are not over.
    public var canJoin: Bool {
        guard remoteKey != nil, !hasFailed, raw.plain == nil else { return false }
        // RFC 8684 section 3.1: not before a DSS has come, unless nothing is left that could bring
        // one.
        if framing.joinsBehindFirstDSS, !raw.peerHasKeys, hasLivingMember { return false }
        return !isFinished || (lifecycle != .closed && !hasLivingMember)
    }
    /// The listener's token, once its key is known (initiator).
    public var peerToken: UInt32? { remoteKey == nil ? nil : peer.token }
    /// Nothing is under way or waiting, either way, and no payload came or went for `time`.
    public func isQuiet(for time: Interval, at now: Instant) -> Bool {
        remoteKey != nil && !hasFailed && !isFinished && !wantsSubflow && !receiver.hasHoles
            && now - traffic.lastPayload > time
    }
    /// Something is to be sent or acknowledged by the peer.
    public var wantsSubflow: Bool {
        !hasFailed && (sender.hasUnacknowledged || sender.backlog > 0 || sender.isFinDue)
    }
    /// Payload bytes sent and received on each path since the start.
    public func pathTotals(_ path: PathID) -> (sent: Int, received: Int) {
        path.number < traffic.byPath.count ? traffic.byPath[path.number] : (0, 0)
    }
}
