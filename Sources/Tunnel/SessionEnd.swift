import Buffers
import Measures
import Multipath
import Wire

/// Reasons of `EndpointEvent.sessionClosed` that others tell apart.
public enum SessionEnd {
    /// The same proxy has opened another one.
    public static let replaced = "replaced by a new session"
    /// Another process has followed the concentrator's, and this session's connections have ended.
    public static let left = "its process was followed by another one"
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
            end(session, reason: "shut down", at: now)
        }
        failStreams(maximum: .max, at: now)
    }

    /// Ends a session whose peer knows or will never hear of it: its slot is free, and its streams
    /// fail in the calls that follow.
    func end(_ session: Session, reason: String, at now: Instant) {
        guard sessions[session.slot] === session else { return }
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
