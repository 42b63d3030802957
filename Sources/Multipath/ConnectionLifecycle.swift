/// Where a connection stands between its first handshake and its end.
///
/// Its inputs are what has happened; what they return is to be reported to the owner
/// (`Connection.report`). An error is for good: whatever comes later does not change it.
enum ConnectionLifecycle: Equatable {
    /// No subflow's handshake is done.
    case opening
    /// At least one was.
    case open
    /// Both streams ended, and the subflows end with them. The connection can still be joined: our
    /// last DATA_ACK may have been lost with its path.
    case closing
    /// Both streams ended, and the peer is known to know it, or too much time has gone by.
    case closed
    /// Ended before its streams did, and the peer knows it or can't be told.
    case failed(ConnectionError)
    /// The same, but for the peer, whom RST with MP_FASTCLOSE tells on every subflow.
    case aborting(ConnectionError)

    /// Nil while all is well, and after an orderly end.
    var error: ConnectionError? {
        switch self {
        case .failed(let error), .aborting(let error): error
        case .opening, .open, .closing, .closed: nil
        }
    }
    /// It has an error.
    @inline(__always) var hasFailed: Bool {
        switch self {
        case .failed, .aborting: true
        case .opening, .open, .closing, .closed: false
        }
    }
    /// RST with MP_FASTCLOSE goes on every subflow.
    @inline(__always) var isAborting: Bool {
        if case .aborting = self { true } else { false }
    }

    /// A subflow's handshake is done.
    @inline(__always) mutating func established() -> Connection.Events {
        guard case .opening = self else { return [] }
        self = .open
        return .established
    }

    /// Both streams ended. Something is returned the first time only: then the subflows are to be
    /// closed.
    mutating func streamsEnded() -> Connection.Events {
        switch self {
        case .opening, .open: self = .closing
        case .closing, .closed: return []
        // who has aborted may hear of the end all the same
        case .failed, .aborting: return []
        }
        return .closed
    }

    /// The peer knows that both streams ended, or is not waited for any longer. Before they have
    /// ended here it can't.
    mutating func endConfirmed() {
        if self == .closing { self = .closed }
    }

    /// The application, or a violation of the protocol, ends it at once. Something is returned the
    /// first time only: then every subflow is to be reset.
    mutating func abort(_ error: ConnectionError) -> Connection.Events {
        if hasFailed { return [] }
        self = .aborting(error)
        return .closed
    }

    /// The peer has ended it at once. The owner hears of it in any case: its subflows are gone.
    mutating func abortedByPeer() -> Connection.Events {
        if !hasFailed { self = .failed(.peerAborted) }
        return .closed
    }

    /// Nothing more can be sent or received: what both ends have said counts. The owner hears of it
    /// in any case: its subflows are gone.
    mutating func fail(_ error: ConnectionError) -> Connection.Events {
        switch self {
        case .opening, .open: self = .failed(error)
        case .closing: self = .closed
        case .closed, .failed, .aborting: break
        }
        return .closed
    }
}
