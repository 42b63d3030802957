import Measures
import Shell

/// A proxy that another process follows, and one that follows another.
extension ProxyServer {
    /// What applications and programs connect to, for a process that is to follow this one.
    public var listeningSockets: [Int32] { ports.descriptors + names.descriptors }

    /// What is captured, for a process that is to follow this one, which is `generation`; nil where
    /// nothing is.
    public func offerCapture(_ generation: Int) throws(SystemError) -> CaptureOffer? {
        try capture?.offer(generation)
    }

    /// That process did not come to it.
    public func resumeCapture() { capture?.resume() }

    /// Takes over what the process before this one has captured; whether there was something.
    public func takeCaptureOver() throws(SystemError) -> Bool { try capture?.takeOver() ?? false }

    /// Of the processes that this one follows these live, by their generations.
    public func follows(_ older: [Int]) { capture?.follows(older) }

    /// Another process serves the sockets now: those who are here are served to their end.
    /// `hasCapture`: it has also taken over what is captured.
    public func follow(drain: Interval?, hasCapture: Bool) {
        names.stopListening()
        if hasCapture { capture?.handedOver() }
        stop(drain: drain)
    }
}
