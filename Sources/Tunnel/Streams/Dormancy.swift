import Measures
import Multipath
import Wire

/// Single mode: a connection that nobody is using has no hurry to leave a lost path.
///
/// Two hundred open connections would join two hundred times at once, in the middle of a handover,
/// on the slower link. A quiet one joins when either end has something to say, or at leisure. The
/// listener can't open a subflow; it asks for one.
extension Session {
    /// Whether the connection may stay without a working subflow for now; its leisurely join is
    /// then set.
    func staysDormant(_ stream: StreamHandle, at now: Instant) -> Bool {
        guard mode(of: stream) == .single, !stream.connection.hasUsableSubflow,
            stream.connection.isQuiet(for: Limits.quiet, at: lastHeard(stream, at: now))
        else { return false }
        if stream.joining.isDue { return false }
        let leisure =
            now + Limits.dormancy + Limits.dormancySpread * Int64((stream.slot?.index ?? 0) % 64)
        if !stream.timers.isSet(.join) { stream.timers[.join] = leisure }
        return true
    }

    /// When its paths were last heard: how long nothing has come since then tells nothing of the
    /// connection, whose payload stopped with the path. The silence of a path may take seconds to
    /// be believed.
    private func lastHeard(_ stream: StreamHandle, at now: Instant) -> Instant {
        var last: Instant?
        for link in stream.links where link.isUsed {
            guard let path = paths[link.path] else { continue }
            last = max(last ?? path.monitor.lastArrival, path.monitor.lastArrival)
        }
        return min(now, last ?? now)
    }

    /// Listener: a connection without a subflow that works has something to send.
    func requestJoin(_ stream: StreamHandle, at now: Instant) {
        guard !isInitiator, !hasExpiredKeys, !stream.connection.hasUsableSubflow,
            stream.connection.wantsSubflow
        else {
            stream.joining.request.stop()
            return
        }
        if stream.joining.request.isRunning, stream.joining.request.at > now { return }
        var timeout = Limits.initialTimeout
        if let path = bestPath(),
            let out = append(JoinRequestFrame.size, to: path, work: ArrivalWork.joinRequest)
        {
            JoinRequestFrame(token: stream.connection.localToken).write(into: out)
            noteEliciting(path, at: now)
            timeout = path.probeTimeout
        }
        stream.joining.request.sent(at: now, first: timeout, maximum: Limits.maximumSignalInterval)
    }

    func receive(_ frame: JoinRequestFrame, _ arrival: inout Arrival, at now: Instant) {
        guard isInitiator, let slot = directory.tokens[frame.token],
            let stream = host.streams[slot], arrival.work.affords(costOfNews(for: stream))
        else { return }
        withConnection(of: stream, at: now) { connection in
            if connection.hasUsableSubflow {
                // The listener has given up what works here (we slept, and it did not): its resets
                // will tell.
                connection.askSubflows(at: now)
            } else {
                stream.joining.isDue = true
            }
        }
    }
}
