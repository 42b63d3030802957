import Crypto
import Measures
import Multipath
import Wire

/// What the endpoint tells its owner.
public enum EndpointEvent {
    case sessionOpened(session: SessionSlot, user: String)
    case sessionClosed(session: SessionSlot, reason: SessionEnd)
    /// Proxy: nothing works any more and the concentrator is silent; it may have another address by
    /// now. A path that becomes usable ends the silence.
    case sessionSilent(session: SessionSlot)
    /// The session goes on with new keys after a silence, and its connections with it. `session`:
    /// its number from here on.
    case sessionResumed(session: SessionSlot, silence: Interval)
    /// Proxy: another process follows the concentrator's. The session goes on with what is open in
    /// it, within so long; what is opened from now on gets another session.
    case sessionGoesAway(session: SessionSlot, within: Interval)
    /// A path came, went or changed its health; for logs and status.
    /// `uplink`: its name at the proxy, empty at the concentrator.
    case pathChanged(
        session: SessionSlot, path: PathID, uplink: String, remote: SocketAddress,
        health: PathHealth)
    /// Concentrator: the path's datagrams come from another address, which has shown that it
    /// receives there.
    case pathMoved(session: SessionSlot, path: PathID, from: SocketAddress, to: SocketAddress)
    /// Proxy: the concentrator has a further address, or no longer.
    case addressAnnounced(session: SessionSlot, address: SocketAddress, isThere: Bool)
    /// Proxy: the mode that follows from use is another one, for what is waited for now.
    case modeChanged(session: SessionSlot, mode: HandoverMode, demand: ModeByUse.Demand)
    /// Proxy: a session has 16 paths, and this pair of uplink and address would be one more. Said
    /// whenever it is looked at.
    case pathLeftOut(session: SessionSlot, uplink: String, remote: SocketAddress)
    /// Concentrator: a user's authentic hello did not begin a session as it was. At once, then
    /// seldom.
    case helloRefused(user: String, remote: SocketAddress, reason: HelloRefusal)
    /// Concentrator: somebody who knows our public key, and has the private one to `key`, is no
    /// user. Seldom.
    case strangerRefused(key: Key32, remote: SocketAddress)
    /// Concentrator: dial `target`, then `StreamHandle.answer(with:at:)`.
    case incoming(StreamHandle, target: Target, user: String)
    /// Proxy: the concentrator's dial ended. Comes once for every stream; `.generalFailure` where
    /// the stream ended before an answer.
    case answered(StreamHandle, DialStatus)
    /// Concentrator: the user wants an association; `StreamHandle.answer(with:at:)`, then
    /// `Endpoint.send` and `Endpoint.datagramArrived`.
    case associating(StreamHandle, user: String)
    /// Bytes to read, space to write, or the end: look at the handle.
    case activity(StreamHandle)
    /// Concentrator: the user met a limit. Seldom, whatever he does.
    case limited(user: String, UserLimit)
}

/// What stands behind a stream at its owner's: its own object for it, which hears of it.
public protocol StreamOwner: AnyObject {
    /// Proxy: the concentrator's dial ended.
    func answered(_ status: DialStatus)
    /// Bytes to read, space to write, the end or an error.
    func activity()
    /// Where its bytes go, where the handle does not know.
    var dialledTarget: Target? { get }
    /// A datagram of the association: at the proxy from `target`, at the concentrator for it. Not
    /// to be kept, and the endpoint not to be called.
    func datagram(_ payload: UnsafeRawBufferPointer, _ target: Target)
}

extension StreamOwner {
    /// The handle knows it.
    public var dialledTarget: Target? { nil }
    /// Streams that are no association have no datagrams.
    public func datagram(_ payload: UnsafeRawBufferPointer, _ target: Target) {}
}

/// One application connection in a session, from `open` or `.incoming` until `release`: all that
/// its owner reads, writes and ends it by.
///
/// Its bytes start behind the preface and the dial status. Whatever an operation makes sendable is
/// sent with the next `Endpoint.transmit`.
public final class StreamHandle {
    /// For the engine, and for tests that look inside.
    package let connection: Connection
    let host: SessionHost
    /// The session it belongs to; nil while it waits for one, and when it is over.
    var session: Session?
    /// For the owner: its own object for this stream, which the handle holds.
    public var owner: (any StreamOwner)?

    /// Its place at the endpoint; nil once the connection is over.
    var slot: StreamSlot?
    /// Concentrator: the user for whom it counts.
    var account: UserState?
    /// Whose turn it takes (`ReadyQueue`): zero of no user, else one more than the user's number.
    var turnNumber: Int { account.map { $0.number + 1 } ?? 0 }
    let target: Target?
    /// What it is where it has no target; known at the concentrator with its preface.
    var association: AssociationPreface?
    /// How it gets on, for handovers.
    var pauses = StreamPauses()
    /// The mode its listener gave it; nil: the session's.
    var ownMode: HandoverMode?
    /// Proxy: what of it was seen, where the mode follows from use.
    var use = StreamUse()
    /// Proxy: the only uplinks it may use; nil: all.
    var restriction: UplinkRestriction?

    /// By subflow index.
    var links: [SubflowLink] = []
    var place = StreamPlace()
    var progress = StreamProgress()
    var joining = StreamJoining()
    var timers = TimerTable<StreamTimer>()
    var queues = QueueLinks()

    /// Ahead of a target: both ends send every byte on two paths.
    static let redundantMark: UInt8 = 17

    /// Single mode: subflows beside the one on the active path are still to be ended.
    func isMoving(_ activePath: PathID?) -> Bool {
        activePath != nil && (ownMode ?? connection.mode) == .single
            && connection.livingSubflows > 1
    }

    init(connection: Connection, host: SessionHost, session: Session?, target: Target?) {
        self.connection = connection
        self.host = host
        self.session = session
        self.target = target
    }
}

/// What the session knows of a subflow.
struct SubflowLink {
    /// What its segments name it by.
    let number: UInt16
    var path: PathID
    var isUsed = true
}
