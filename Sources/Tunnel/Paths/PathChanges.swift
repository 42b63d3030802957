import Measures
import Multipath

/// How the connections of a session hear of what changed on its paths: each by itself, before it is
/// used or when its turn comes.
///
/// A datagram may say of 32 paths that they are gone, and a session may have 100,000 connections.
/// So a change is only noted where it is seen; the endpoint's `advance` and `transmit` notify
/// connections as far as `Limits.newsPerTurn` goes each time. A segment that comes meanwhile counts
/// as if it had come before the news. What our own clock or uplinks say concerns all connections at
/// once: who calls the session for these says so (`Session.notifyingAll`).
struct PathChanges {
    /// Counts changes; a connection remembers the last one it has heard of.
    private(set) var latest: UInt64 = 1
    /// Counts those after which another path may be joined: a connection that has joined at this
    /// value has nothing to look for.
    var forJoins: UInt32 = 1
    /// Connections of the session's list that have yet to be notified, and the place of the next.
    private(set) var left = 0
    private var cursor = 0
    var isPending: Bool { left > 0 }

    /// Another change, of which `count` connections are to hear.
    mutating func note(_ count: Int) -> UInt64 {
        latest &+= 1
        left = count
        return latest
    }

    /// The place of the next connection to notify in a list of `count`; nil once all were.
    /// The list may have changed since the last step.
    mutating func next(of count: Int) -> Int? {
        guard left > 0, count > 0 else { left = 0; return nil }
        left &-= 1
        if cursor >= count { cursor = 0 }
        defer { cursor &+= 1 }
        return cursor
    }
}

extension Path {
    /// When something last changed on the path that connections hear of (`PathChanges.latest`);
    /// when it was last lost, and when it last moved: to another network, or to another port only.
    struct Changes {
        var any: UInt64 = 0
        var health: UInt64 = 0
        var lost: UInt64 = 0
        var moved: UInt64 = 0
        var movedElsewhere: UInt64 = 0
        /// When its datagrams last had another size, and when a smaller one.
        var sized: UInt64 = 0
        var shrank: UInt64 = 0
    }
}

extension Session {
    /// What paths cost changed.
    func costsChanged(at now: Instant) { noteChange(nil, at: now) }

    /// The connections' mode changed.
    func modeChanged(at now: Instant) { noteChange(nil, at: now) }

    /// The path's health as its connections see it changed to `health`.
    func healthChanged(
        _ health: PathHealth, _ path: Path, wasUsable: Bool = false, at now: Instant
    ) {
        let change = noteChange(path, at: now)
        path.changes.health = change
        if health == .lost { path.changes.lost = change }
        if wasUsable { beginHandover(path, change: change, at: now) }
    }

    func addressChanged(_ path: Path, isElsewhere: Bool, at now: Instant) {
        let change = noteChange(path, at: now)
        path.changes.moved = change
        if isElsewhere { path.changes.movedElsewhere = change }
    }

    func sizesChanged(_ path: Path, isSmaller: Bool, at now: Instant) {
        let change = noteChange(path, at: now)
        path.changes.sized = change
        if isSmaller { path.changes.shrank = change }
    }

    @discardableResult
    private func noteChange(_ path: Path?, at now: Instant) -> UInt64 {
        let wasPending = changes.isPending
        let change = changes.note(streams.count)
        path?.changes.any = change
        if changes.isPending, !wasPending { host.work.sessionsWithChanges.append(self) }
        return change
    }

    /// What it costs the connection to hear of what it has not heard of yet, besides `notice`: the
    /// subflows on paths that have changed, and what they have under way.
    func costOfNews(for stream: StreamHandle) -> Int {
        let seen = stream.place.seenChange
        guard seen != changes.latest else { return 0 }
        var bits: UInt32 = 0
        for case let path? in paths where path.changes.any > seen {
            bits |= 1 << UInt32(path.id.number)
        }
        // Another cost or mode moves no data.
        if bits == 0 { return 0 }
        let load = stream.connection.load(onPaths: bits)
        return load.subflows * ArrivalWork.subflowEnd + load.spans * ArrivalWork.span
    }

    /// Does what our own clock, uplinks or handshakes call for; all connections have heard of what
    /// that has changed when it returns.
    func notifyingAll<Result>(at now: Instant, _ body: () -> Result) -> Result {
        let before = changes.latest, result = body()
        if changes.latest != before { notifyAll(at: now) }
        return result
    }

    private func notifyAll(at now: Instant) {
        while let place = changes.next(of: streams.count) {
            if let stream = host.streams[streams[place]] { notify(stream, at: now) }
        }
    }

    /// The connection hears of what it has not heard of yet. Called before it is used.
    @inline(__always) func catchUp(_ stream: StreamHandle, at now: Instant) {
        if stream.place.seenChange != changes.latest { notify(stream, at: now) }
    }

    fileprivate func notify(_ stream: StreamHandle, at now: Instant) {
        let seen = stream.place.seenChange
        guard seen != changes.latest else { return }
        stream.place.seenChange = changes.latest
        if handovers.isMeasuring { handovers.count(stream, heard: seen) }
        for case let path? in paths where path.changes.any > seen {
            // Lost and open again meanwhile: its subflows ended all the same.
            if path.changes.lost > seen {
                stream.connection.setHealth(.lost, path: path.id, at: now)
            }
            if path.changes.sized > seen {
                stream.connection.limitSegments(
                    to: DatagramSizes.segmentSize(datagramLimit: path.datagramLimit),
                    path: path.id, repeatsAll: path.changes.shrank > seen, at: now)
            }
            if path.changes.moved > seen {
                stream.connection.addressMoved(
                    path: path.id,
                    isElsewhere: path.changes.movedElsewhere > seen, at: now)
            }
            if path.changes.health > seen {
                stream.connection.setHealth(path.health, path: path.id, at: now)
                // Who asked for a join in vain through a silence of minutes asks again now.
                if path.health == .usable { stream.joining.request.stop() }
            }
        }
        if !isInitiator { stream.connection.mode = modes.session }
        stream.connection.costs = costs
        followUp(stream, at: now)
    }

    // MARK: Whatever is done to a connection

    /// Does something to a connection: it hears of its paths' changes before, and afterwards what
    /// it has to tell is heard and it gets its turn.
    @inline(__always) func withConnection(
        of stream: StreamHandle, at now: Instant, _ body: (Connection) -> Void
    ) {
        catchUp(stream, at: now)
        arrived(for: stream, at: now, body)
    }

    /// The same for what a datagram says of it: as if that had come before the news, where the
    /// connection has not heard of it yet.
    @inline(__always) func arrived(
        for stream: StreamHandle, at now: Instant, _ body: (Connection) -> Void
    ) {
        body(stream.connection)
        followUp(stream, at: now)
    }

    /// What follows from what was done to a connection: its events, and its place among those that
    /// may have something to send.
    @inline(__always) func followUp(_ stream: StreamHandle, at now: Instant) {
        dispatchEvents(of: stream, at: now)
        host.work.ready.append(stream)
    }
}

extension Endpoint {
    /// Notifies connections of what has changed: some of each session that has such.
    func notifyConnections(at now: Instant) {
        if !ending.isEmpty { failStreams(at: now) }
        guard !host.work.sessionsWithChanges.isEmpty else { return }
        var budget = Limits.newsPerTurn
        while budget > 0, let session = host.work.sessionsWithChanges.last {
            let before = session.changes
            guard !session.isClosing,
                let place = session.changes.next(of: session.streams.count)
            else {
                host.work.sessionsWithChanges.removeLast()
                continue
            }
            guard let stream = host.streams[session.streams[place]] else { continue }
            let cost = ArrivalWork.notice + session.costOfNews(for: stream)
            if cost > budget, budget < Limits.newsPerTurn {
                // The first of the next call.
                session.changes = before
                return
            }
            budget -= cost
            session.notify(stream, at: now)
        }
    }
}
