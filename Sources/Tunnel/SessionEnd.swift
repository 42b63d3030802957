import Buffers
import Measures
import Multipath
import Wire

/// Why a session has ended.
public enum SessionEnd: Equatable, Sendable, CustomStringConvertible {
    /// The same proxy has opened another one.
    case replaced
    /// Another process has followed the concentrator's, and this session's connections have ended.
    case left
    /// This process ends.
    case shutDown
    /// Nothing was heard for too long.
    case silent
    /// At the concentrator: its user was removed.
    case userRemoved
    /// At the concentrator: the user has `newer` sessions besides, as many as one may have.
    case oldest(newer: Int)
    /// The peer's close frame; nil for a reason that is not known here.
    case closed(CloseFrame.Reason?)

    public var description: String {
        switch self {
        case .replaced: "replaced by a new session"
        case .left: "its process was followed by another one"
        case .shutDown: "shut down"
        case .silent: "silent"
        case .userRemoved: "its user was removed"
        case .oldest(let newer): "the user has \(newer) newer ones"
        case .closed(let reason):
            "closed by the peer (\(reason.map { "\($0)" } ?? "unknown reason"))"
        }
    }
}

/// How sessions end: an end that closes one tells the other, its slot is free at once, and its
/// connections fail a few at a time.
extension Endpoint {
    /// Ends every session, telling the peers. One `transmit` more carries the news.
    /// `isFollowed`: another process takes their sessions at once, and they ask it.
    public func shutDown(isFollowed: Bool = false, at now: Instant) {
        endHandshake()
        host.proxy.uplinks.removeAll()
        for stream in host.proxy.waiting {
            stream.connection.fail(.sessionLost, at: now)
            host.reportEnd(stream, isProxy: true)
            host.remove(stream)
        }
        host.proxy.waiting.removeAll()
        for case let session? in sessions where !session.isClosing {
            session.sendClose(isFollowed ? .moved : .shutDown, at: now)
            end(session, .shutDown, at: now)
        }
        failStreams(maximum: .max, at: now)
    }

    /// Ends a session whose peer knows or will never hear of it: its slot is free, and its streams
    /// fail in the calls that follow.
    func end(_ session: Session, _ reason: SessionEnd, at now: Instant) {
        guard sessions.holds(session) else { return }
        if !session.streams.isEmpty { ending.append(session) }
        if listener?.pending.mayResume(session.slot) == true {
            forgetPending { $0.indices.slot == session.slot }
        }
        session.keys.wipe()
        for case let path? in session.paths { session.user?.past.keep(path) }
        session.user?.sessions.removeAll { $0 == session.slot }
        sessions.giveBack(session.slot)
        host.deadlines.set(session.slot, .distantFuture)
        session.life = .closing
        if currentSession === session { currentSession = nil }
        host.emit(.sessionClosed(session: session.slot, reason: reason))
    }

    /// Fails the streams of sessions that have ended, `maximum` of them: one datagram may end
    /// 100,000, a microsecond each.
    func failStreams(maximum: Int = Limits.streamsPerTurn, at now: Instant) {
        var left = maximum
        while left > 0, let session = ending.last {
            guard let slot = session.streams.last, let stream = host.streams[slot] else {
                assert(session.streams.isEmpty, "a session's streams are in the table")
                ending.removeLast()
                continue
            }
            left -= 1
            stream.connection.fail(.sessionLost, at: now)
            session.drop(stream, at: now)
        }
    }
}

extension Session {
    /// The close frame of a session that this end closes, on every path.
    func sendClose(_ reason: CloseFrame.Reason, at now: Instant) {
        for case let path? in paths where path.isOpen {
            path.waiting.removeSmall()
            if let out = path.append(CloseFrame.size) {
                CloseFrame(reason: reason).write(into: out)
            }
        }
        flushClosing(at: now)
    }

    /// The close frames of a session that ends before the next batch: kept as ready datagrams.
    func flushClosing(at now: Instant) {
        let scratch = DatagramBatch(laneBytes: 2 * DatagramBatch.maximumDatagram)
        for case let path? in paths where path.isOpen {
            _ = flush(path, scratch, at: now)
        }
        for run in scratch.runs {
            var at = run.offset
            while at < run.offset + run.length {
                let length = min(run.segmentSize, run.offset + run.length - at)
                host.post(
                    Outgoing(
                        bytes: Array(
                            UnsafeRawBufferPointer(start: scratch.arena + at, count: length)),
                        uplink: run.uplink, remote: run.remote, local: run.local))
                at += length
            }
        }
    }
}
