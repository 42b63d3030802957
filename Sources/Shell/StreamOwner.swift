import Tunnel
import Wire

/// What stands behind a stream of the engine: a server's object for it, found through
/// `StreamHandle.owner`.
///
/// A class with overridden methods instead of a protocol: `.activity` comes for every burst of
/// bytes, and a cast to a protocol would be looked up each time.
open class StreamOwner {
    /// For subclasses.
    public init() {}
    /// The concentrator's dial ended (proxy).
    open func answered(_ status: DialStatus) {}
    /// A datagram of the association arrived: from `target` (proxy), or for it. Within the engine's
    /// work: the endpoint must not be called.
    open func datagram(_ payload: UnsafeRawBufferPointer, _ target: Target) {}
    /// Bytes to read, space to write, the end or an error.
    open func activity() {}
}

extension StreamHandle {
    /// The owner, as the class that every owner here is derived from; set it through `owner`.
    public var streamOwner: StreamOwner? { owner.map { unsafeDowncast($0, to: StreamOwner.self) } }
}
