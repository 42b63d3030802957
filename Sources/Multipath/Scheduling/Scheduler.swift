import Measures

/// What a scheduler knows of one subflow that may carry data.
public struct SchedulingCandidate: Sendable {
    /// Index of the subflow in its connection.
    public var subflow: SubflowIndex = 0
    /// Bytes it may take now (congestion window and pacing).
    public var room = 0
    /// Zero while unknown.
    public var smoothedRTT = Interval.zero
    /// Zero while unknown.
    public var rttVariation = Interval.zero
    /// Bytes that may be in flight.
    public var congestionWindow = 0
    /// Bytes that are.
    public var bytesInFlight = 0
    /// What its congestion control knows the path to carry; zero where it does not.
    public var measuredRate = Rate.zero
    /// To be filled in.
    public init() {}

    /// Its throughput, bytes per second, at least 1: as measured, else as the window allows it.
    var rate: Double {
        measuredRate > .zero
            ? max(1, Double(measuredRate.bytesPerSecond))
            : max(1, Double(congestionWindow) / max(1e-4, smoothedRTT.seconds))
    }
}

/// At most eight subflows are looked at for one segment: more than a host has uplinks.
public struct SchedulingCandidates {
    /// The maximum of candidates.
    public static let capacity = 8
    /// 0 to `capacity`.
    public private(set) var count = 0
    private var items = InlineArray<8, SchedulingCandidate>(repeating: SchedulingCandidate())
    /// To be filled in.
    public init() {}
    /// The candidate with this index, below `count`.
    public subscript(i: Int) -> SchedulingCandidate { items[i] }
    /// None is left.
    public mutating func removeAll() { count = 0 }
    /// Adds one, where there is a place.
    public mutating func append(_ c: SchedulingCandidate) {
        guard count < Self.capacity else { return }
        items[count] = c
        count += 1
    }
}

/// Chooses the subflow for the next segment of new data.
public protocol SegmentScheduler {
    /// An index into `candidates` (all of the same standing: usable, regular or all backup), or nil
    /// to wait for a better one. `backlog`: bytes that wait to be scheduled, this segment included.
    mutating func choose(
        _ candidates: borrowing SchedulingCandidates, backlog: Int, segment: Int
    ) -> Int?
}

/// By the name that a configuration has for it.
public enum SchedulerKind: String, CaseIterable, Sendable {
    case predictedArrival = "predicted-arrival", roundRobin = "round-robin"
    /// Every byte on two paths (`ConnectionRedundancy`); where there is one, as predicted arrival.
    case redundant
}

/// The scheduler of a connection, dispatched statically.
enum Scheduler {
    case predictedArrival(PredictedArrivalScheduler)
    case roundRobin(RoundRobinScheduler)

    init(_ kind: SchedulerKind) {
        switch kind {
        case .predictedArrival, .redundant: self = .predictedArrival(PredictedArrivalScheduler())
        case .roundRobin: self = .roundRobin(RoundRobinScheduler())
        }
    }

    mutating func choose(
        _ candidates: borrowing SchedulingCandidates, backlog: Int, segment: Int
    ) -> Int? {
        switch self {
        case .predictedArrival(var s):
            defer { self = .predictedArrival(s) }
            return s.choose(candidates, backlog: backlog, segment: segment)
        case .roundRobin(var s):
            defer { self = .roundRobin(s) }
            return s.choose(candidates, backlog: backlog, segment: segment)
        }
    }
}
