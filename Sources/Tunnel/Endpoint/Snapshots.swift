import Measures
import Multipath
import Wire

/// A path at one moment, for whoever watches it every second: no text is made for it.
public struct PathSnapshot {
    /// Its session's slot, and the user's name at a concentrator.
    public var session: SessionSlot, user: String
    /// Its number on the wire, the same at both ends.
    public var number: PathID
    /// The uplink's name at a proxy; empty at a concentrator.
    public var uplink: String
    /// As this end judges it, and since when.
    public var health: PathHealth, since: Instant
    /// Never answered, though another path of its uplink works.
    public var isFutile: Bool
    /// Carries data only while no regular path works.
    public var isBackup: Bool
    /// Full datagrams have shown that they pass.
    public var isBaseConfirmed: Bool
    /// RFC 6298's, and the shortest of late; zero before the first answer.
    public var smoothedRTT: Interval, minimumRTT: Interval
    /// Share of datagrams lost recently, 0 to 1.
    public var loss: Double
    /// UDP payloads of late.
    public var sendRate: Rate, receiveRate: Rate
    /// UDP payloads since the path is known, bytes.
    public var bytesSent: Int, bytesReceived: Int
}

/// What went over one path of all that a connection or a flow sent and received.
public struct PathShare: Sendable, Equatable {
    /// The path's number.
    public var path: PathID
    /// The uplink's name at a proxy; empty at a concentrator.
    public var uplink: String
    /// Payload bytes; those that went twice count twice.
    public var sent: Int, received: Int
}

/// A connection or a flow of datagrams at one moment.
public struct StreamSnapshot {
    /// What carries it.
    public enum Kind: Equatable, Sendable {
        case connection
        /// With the policy that its datagrams go by now.
        case flow(DatagramPolicy)
    }
    /// What it is.
    public var kind: Kind
    /// Tells it from all others of its kind that live.
    public var identifier: UInt64
    /// Where to, as far as the engine knows.
    public var target: Target?
    /// Its owner's object: a flow's is that of its association.
    public var owner: (any StreamOwner)?
    /// At the concentrator.
    public var user: String
    /// The handover mode it has.
    public var mode: HandoverMode
    /// Since when it can send; nil while it waits for a session.
    public var since: Instant?
    /// Payload bytes, once each.
    public var sent: Int, received: Int
    /// Paths that carried some of it.
    public var shares: [PathShare]
}

/// Where a walk through an endpoint's connections and flows stands. What comes or goes meanwhile
/// may be met or not.
public struct StreamCursor: Sendable {
    fileprivate enum Place { case stream(Int), flow(session: Int, index: Int), end }
    fileprivate var place = Place.stream(0)
    /// At the beginning.
    public init() {}
    /// Nothing is left.
    public var isAtEnd: Bool { if case .end = place { true } else { false } }
}

extension Endpoint {
    /// Every path of a confirmed session that is open or was, in their order.
    public func forEachPath(at now: Instant, _ body: (PathSnapshot) -> Void) {
        for case let session? in sessions where !session.isClosing {
            for case let path? in session.paths
            where path.isOpen || path.health != .lost || path.records.next > 1 {
                body(session.snapshot(path, at: now))
            }
        }
    }

    /// Looks at `count` places from `cursor` on and moves it; `body` gets the connections and flows
    /// that stand there.
    public func forEachStream(
        from cursor: inout StreamCursor, places count: Int, _ body: (StreamSnapshot) -> Void
    ) {
        for _ in 0..<count {
            switch cursor.place {
            case .stream(let slot):
                guard slot < host.streams.count else {
                    cursor.place = .flow(session: 0, index: 0)
                    continue
                }
                cursor.place = .stream(slot + 1)
                if let stream = host.streams[StreamSlot(slot)],
                    stream.association == nil, !stream.progress.isReleased
                {
                    body(stream.snapshot())
                }
            case .flow(let slot, let index):
                guard slot < sessions.count else { cursor.place = .end; return }
                guard let session = sessions[SessionSlot(slot)],
                    index < session.datagrams.flows.count
                else {
                    cursor.place = .flow(session: slot + 1, index: 0)
                    continue
                }
                cursor.place = .flow(session: slot, index: index + 1)
                if let flow = session.datagrams.flows[index], flow.association.isOpen {
                    body(session.snapshot(flow))
                }
            case .end: return
            }
        }
    }
}

extension Session {
    fileprivate func snapshot(_ path: Path, at now: Instant) -> PathSnapshot {
        PathSnapshot(
            session: slot, user: user?.name ?? "", number: path.id,
            uplink: path.uplinkName,
            health: path.health, since: path.monitor.lifecycle.since, isFutile: isFutile(path),
            isBackup: path.role.isBackup, isBaseConfirmed: path.mtu.isBaseConfirmed,
            smoothedRTT: path.roundTrip.smoothed,
            minimumRTT: path.roundTrip.isKnown ? path.roundTrip.minimum : .zero,
            loss: path.traffic.loss.share, sendRate: path.traffic.sent.value(at: now),
            receiveRate: path.traffic.received.value(at: now),
            bytesSent: path.traffic.sent.total, bytesReceived: path.traffic.received.total)
    }

    fileprivate func snapshot(_ flow: DatagramFlow) -> StreamSnapshot {
        let policy = flow.association.policy.effective(
            for: flow.meter.kind, modes.session)
        let owner = host.streams[flow.association.owner]?.owner
        return StreamSnapshot(
            kind: .flow(policy),
            identifier: UInt64(UInt32(truncatingIfNeeded: slot.index)) << 16 | UInt64(flow.number),
            target: flow.opening.target, owner: owner, user: user?.name ?? "",
            mode: modes.session, since: flow.since, sent: flow.traffic.sent,
            received: flow.traffic.received, shares: shares { flow.traffic[$0] })
    }

    fileprivate func shares(
        _ bytes: (_ path: PathID) -> (sent: Int, received: Int)
    ) -> [PathShare] {
        paths.compactMap { path in
            guard let path, case (let sent, let received) = bytes(path.id), sent + received > 0
            else { return nil }
            return PathShare(
                path: path.id, uplink: path.uplinkName, sent: sent, received: received)
        }
    }
}

extension StreamHandle {
    fileprivate func snapshot() -> StreamSnapshot {
        let counted = connection.statistics
        return StreamSnapshot(
            kind: .connection,
            identifier: UInt64(UInt32(truncatingIfNeeded: slot?.index ?? 0)) << 32
                | UInt64(UInt32(truncatingIfNeeded: place.attachedAt.nanoseconds / 1_000_000)),
            target: target, owner: owner, user: account?.name ?? "", mode: mode,
            since: session == nil ? nil : place.attachedAt,
            sent: counted.bytesSent - counted.bytesReinjected,
            received: counted.bytesReceived - counted.duplicateBytesReceived,
            shares: session?.shares { connection.pathTotals($0) } ?? [])
    }
}
