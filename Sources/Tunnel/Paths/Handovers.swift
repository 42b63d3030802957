import Measures
import Multipath

/// How the connections and calls of a session got over the end, or the silence, of a path that
/// carried data.
public struct Handover: Sendable {
    /// Its uplink's name at the proxy; empty at the concentrator.
    public var uplink: String
    /// When this end noticed it.
    public var at: Instant
    /// Connections that had a subflow there, and steady flows of datagrams it was used for.
    public var connections: Int, calls: Int
    /// The longest time for which one of them, having received until then, got nothing; nil where
    /// none of them was receiving. What it sends, the other end knows of.
    public var longestPause: Interval?
    /// The names of the uplinks that carry data in its place, at the concentrator `path 1`; empty
    /// where none does.
    public var others: [String]
    /// All that were receiving go on, or it was waited for long enough: nothing of it changes.
    public var isComplete: Bool
}

/// When bytes or datagrams last came for the application, and the longest pause of late.
struct ProgressMeter {
    /// Zero: nothing has.
    private(set) var last = Instant.zero
    private var pause = Interval.zero
    private var pauseEnded = Instant.zero

    /// Something got on: since when nothing had.
    @inline(__always) mutating func note(at now: Instant) -> Instant {
        let before = last
        last = now
        let gap = now - before
        if gap > pause || now - pauseEnded > HandoverMeter.span { pause = gap; pauseEnded = now }
        return before
    }

    /// It got on in the second before `instant`.
    func wasBusy(at instant: Instant) -> Bool {
        last > .zero && instant - last < HandoverMeter.span
    }

    /// The pause of late that ended behind `instant`; zero where there is none.
    func pause(since instant: Instant) -> Interval {
        last > .zero && pauseEnded > instant && pause < HandoverMeter.span ? pause : .zero
    }
}

/// How a connection gets on.
struct StreamPauses {
    /// Bytes in order for its owner.
    var deliveries = ProgressMeter()
    /// Paths it had a subflow on when they were last lost: a bit each.
    var lostPaths: UInt16 = 0
}

/// The handovers of a session that are being measured: one for each path that was lost of late.
///
/// It needs no timer: pauses are noted when they end, and who asks for a handover
/// (`Endpoint.handover`) learns whether it is over.
final class HandoverMeter {
    /// Pauses that begin within this time after a loss are its; who received within it before was
    /// receiving.
    static let span = Interval.seconds(1)
    /// For those that don't go on it is waited so long; where no path is left, for another.
    static let timeout = Interval.seconds(5), timeoutWithoutPath = Interval.seconds(60)

    private struct Record {
        var path: PathID
        /// `PathChanges.latest` of the loss: what has not heard of it was on the path still.
        var change: UInt64
        var uplink: String
        var at: Instant
        /// When the path was last heard.
        var lastArrival: Instant
        var connections = 0, calls = 0
        /// Those that were receiving, and those of them that went on.
        var busy = 0, resumed = 0
        var longest = Interval.zero
    }
    /// One for each path at most.
    private var records: [Record] = []
    private(set) var isMeasuring = false

    /// A path that carried data is silent or gone.
    func begin(_ path: Path, change: UInt64, at now: Instant) {
        records.removeAll { $0.path == path.id }
        records.append(
            Record(
                path: path.id, change: change, uplink: path.uplinkName, at: now,
                lastArrival: path.monitor.lastArrival))
        isMeasuring = true
    }

    /// A connection hears of changes up to now and has heard of those up to `heard`.
    func count(_ stream: StreamHandle, heard: UInt64) {
        for i in records.indices where records[i].change > heard {
            let path = records[i].path, bit = UInt16(1) << path.number
            guard stream.association == nil, stream.connection.hasSubflow(path: path) else {
                stream.pauses.lostPaths &= ~bit
                continue
            }
            stream.pauses.lostPaths |= bit
            records[i].connections += 1
            note(stream.pauses.deliveries, i)
        }
    }

    /// A steady flow was carried by the path that was lost just now.
    func count(_ flow: DatagramFlow, path: PathID) {
        guard let i = records.firstIndex(where: { $0.path == path }) else { return }
        flow.lostPaths |= 1 << path.number
        records[i].calls += 1
        note(flow.deliveries, i)
    }

    private func note(_ progress: ProgressMeter, _ i: Int) {
        guard progress.wasBusy(at: records[i].at) else { return }
        records[i].busy += 1
        records[i].longest = max(
            records[i].longest, progress.pause(since: records[i].lastArrival))
    }

    /// One that was on `paths` gets something, after nothing since `last`.
    func notePause(from last: Instant, to now: Instant, lostPaths paths: UInt16) {
        for i in records.indices where paths & 1 << records[i].path.number != 0 {
            let lost = records[i].at
            guard lost - last < Self.span, last - lost <= Self.span else { continue }
            if last <= lost { records[i].resumed += 1 }
            records[i].longest = max(records[i].longest, now - last)
        }
    }

    /// What is known of the handover from `path`; nil where none is measured. Forgotten once it is
    /// settled.
    func look(_ path: PathID, others: [String], at now: Instant) -> Handover? {
        guard let i = records.firstIndex(where: { $0.path == path }) else { return nil }
        let record = records[i], age = now - record.at
        let timeout = others.isEmpty ? Self.timeoutWithoutPath : Self.timeout
        let isComplete =
            age >= Self.span && record.resumed >= record.busy
            && (!others.isEmpty || record.busy > 0) || age >= timeout
        if isComplete {
            records.remove(at: i)
            isMeasuring = !records.isEmpty
        }
        return Handover(
            uplink: record.uplink, at: record.at, connections: record.connections,
            calls: record.calls, longestPause: record.longest > .zero ? record.longest : nil,
            others: others, isComplete: isComplete)
    }
}

extension Session {
    /// Bytes in order have come for the stream's owner.
    @inline(__always) func noteDelivery(_ stream: StreamHandle, at now: Instant) {
        let last = stream.pauses.deliveries.note(at: now)
        if handovers.isMeasuring {
            handovers.notePause(from: last, to: now, lostPaths: stream.pauses.lostPaths)
        }
    }

    /// A path that carried data is silent or gone since the change of this number.
    func beginHandover(_ path: Path, change: UInt64, at now: Instant) {
        handovers.begin(path, change: change, at: now)
        for case let flow? in datagrams.flows
        where flow.meter.kind == .steady && flow.traffic.isCarried(by: path.id) {
            handovers.count(flow, path: path.id)
        }
    }
}

extension Endpoint {
    /// What is known of the handover from a path that was lost (`EndpointEvent.pathChanged`): ask
    /// again until it is settled. Nil where none is measured.
    public func handover(session slot: SessionSlot, path: PathID, at now: Instant) -> Handover? {
        guard let session = sessions[slot] else { return nil }
        var others: [String] = []
        for case let other? in session.paths
        where other.id != path && other.health == .usable {
            let name = other.uplinkName.isEmpty ? "path \(other.id)" : other.uplinkName
            if !others.contains(name) { others.append(name) }
        }
        return session.handovers.look(path, others: others, at: now)
    }
}
