import Buffers
import Measures
import Subflow
import Wire

/// The three handover modes of the paper's section 3.
public enum HandoverMode: String, CaseIterable, Sendable { case full, backup, single }

/// How well a path is known to work.
public enum PathHealth: Sendable {
    case usable
    /// Silent past a probe time-out: carries nothing new, its unacknowledged data is reinjected elsewhere.
    case suspect
    /// Gone (interface event or long silence): its subflows are ended.
    case lost
}

public struct ConnectionConfiguration: Sendable {
    public var subflow = SubflowConfiguration()
    /// Bytes of unacknowledged and unsent data kept for sending.
    public var sendLimit = 16 << 20
    /// Bytes offered as receive window at most.
    public var receiveLimit = 8 << 20
    public enum Framing: Sendable { case sealed, rawIP }
    public var framing = Framing.sealed
    public var requiresChecksum = false
    public init() {}
}

/// One segment the connection wants sent, and where.
public struct OutgoingSegment {
    public var segment = Segment()
    public var payload = Pieces.empty
    /// Index of the subflow, and the path it was opened on.
    public var subflow = 0
    public var path = 0
    public init() {}
}

/// Why a connection ended before its streams did.
public enum ConnectionError: Error, Equatable, Sendable {
    case peerAborted, localAbort, timedOut, protocolViolation(String)
}

/// One MPTCP connection (RFC 8684): the data sequence, its mapping onto subflows, reassembly, reinjection.
///
/// Pure: segments and time go in, segments and one deadline come out. Payload pieces handed out by
/// `nextSegment` and `readable` are valid until the next call that changes the connection.
public final class Connection {
    public enum Role: Sendable { case initiator, listener }
    /// What happened since the last `takeEvents()`.
    public struct Events: OptionSet, Sendable {
        public var rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        public static let established = Events(rawValue: 1 << 0)
        /// New bytes to read, or the end of the stream.
        public static let readable = Events(rawValue: 1 << 1)
        /// Send space after there was none.
        public static let writable = Events(rawValue: 1 << 2)
        /// Both streams ended, or `error` is set: nothing more will happen but subflows winding up.
        public static let closed = Events(rawValue: 1 << 3)
        /// Subflows ended: see `takeEndedSubflow()`.
        public static let subflowEnded = Events(rawValue: 1 << 4)
    }

    public let role: Role
    public let configuration: ConnectionConfiguration
    public let localKey: UInt64
    public private(set) var remoteKey: UInt64?
    public let localToken: UInt32
    public private(set) var error: ConnectionError?
    /// For the owner.
    public var tag = 0
    public var mode = HandoverMode.full

    public init(role: Role, configuration: ConnectionConfiguration, localKey: UInt64, at now: Instant) { fatalError("stub") }

    // MARK: Subflows

    /// The initiator's first subflow: SYN with MP_CAPABLE. Returns the subflow's index.
    public func open(path: Int, localPort: UInt16, remotePort: UInt16, initialSequence: SubflowSequence, backup: Bool,
                     estimate: PathEstimate?, at now: Instant) -> Int { fatalError("stub") }
    /// A further subflow: SYN with MP_JOIN. Nil before the remote key is known (or the peer's token).
    public func join(path: Int, localPort: UInt16, remotePort: UInt16, initialSequence: SubflowSequence, addressID: AddressID,
                     nonce: UInt32, backup: Bool, estimate: PathEstimate?, at now: Instant) -> Int? { fatalError("stub") }
    /// The listener's first subflow, from a SYN with MP_CAPABLE.
    public func accept(_ syn: borrowing Segment, payload: UnsafeRawBufferPointer, path: Int, initialSequence: SubflowSequence,
                       estimate: PathEstimate?, at now: Instant) -> Int { fatalError("stub") }
    /// The listener's further subflow, from a SYN with MP_JOIN whose token is ours; nil where it is refused
    /// (the caller answers with RST).
    public func acceptJoin(_ syn: borrowing Segment, payload: UnsafeRawBufferPointer, path: Int, initialSequence: SubflowSequence,
                           nonce: UInt32, estimate: PathEstimate?, at now: Instant) -> Int? { fatalError("stub") }
    public func receive(_ segment: borrowing Segment, payload: UnsafeRawBufferPointer, subflow: Int, at now: Instant) { fatalError("stub") }
    public func setHealth(_ health: PathHealth, path: Int, at now: Instant) { fatalError("stub") }
    /// Makes the subflows on `path` backup or regular, telling the peer (MP_PRIO).
    public func setBackup(_ backup: Bool, path: Int, at now: Instant) { fatalError("stub") }
    /// Whether a living or opening subflow stands on `path`.
    public func hasSubflow(path: Int) -> Bool { fatalError("stub") }
    /// Indices of subflows that ended since last asked, one at a time: their numbers may be used again.
    public func takeEndedSubflow() -> Int? { fatalError("stub") }
    /// One past the highest subflow index in use; nil entries are free.
    public var subflowSlots: Int { fatalError("stub") }
    public func subflow(_ index: Int) -> Subflow? { fatalError("stub") }
    public func subflowPath(_ index: Int) -> Int? { fatalError("stub") }
    /// Whether `join` may be called now.
    public var canJoin: Bool { fatalError("stub") }

    // MARK: Out, and time

    /// The next segment to send at `now`, written into `out`; false where there is none.
    public func nextSegment(at now: Instant, into out: inout OutgoingSegment) -> Bool { fatalError("stub") }
    public var deadline: Instant { fatalError("stub") }
    public func advance(to now: Instant) { fatalError("stub") }
    public func takeEvents() -> Events { fatalError("stub") }

    // MARK: The application's side

    /// A contiguous piece of the send ring to write into; empty when full or finished.
    public func writeSpace(_ wanted: Int) -> UnsafeMutableRawBufferPointer { fatalError("stub") }
    public func commitWrite(_ n: Int, at now: Instant) { fatalError("stub") }
    public func write(_ bytes: UnsafeRawBufferPointer, at now: Instant) -> Int { fatalError("stub") }
    /// DATA_FIN after the last byte written.
    public func finishWriting(at now: Instant) { fatalError("stub") }
    /// Bytes in order and not yet consumed.
    public var readable: Pieces { fatalError("stub") }
    public func consume(_ n: Int, at now: Instant) { fatalError("stub") }
    /// Everything the peer sent was consumed and its DATA_FIN arrived.
    public var isReadFinished: Bool { fatalError("stub") }
    /// The peer acknowledged everything written and our DATA_FIN.
    public var isWriteFinished: Bool { fatalError("stub") }
    /// MP_FASTCLOSE.
    public func abort(at now: Instant) { fatalError("stub") }
    /// No subflow is left and nothing more will be sent: the owner may drop the connection.
    public var isOver: Bool { fatalError("stub") }

    public struct Statistics: Sendable {
        public var bytesSent = 0, bytesReceived = 0, bytesReinjected = 0, duplicateBytesReceived = 0
        public var joinsAccepted = 0, joinsRefused = 0, dssErrors = 0
        public init() {}
    }
    public private(set) var statistics = Statistics()
    /// Payload bytes sent and received on each path index since the start.
    public func pathTotals(_ path: Int) -> (sent: Int, received: Int) { fatalError("stub") }
}
