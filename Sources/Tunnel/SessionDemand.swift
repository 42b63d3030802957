import Measures

extension Endpoint {
    /// Proxy: an application was turned away for want of a session. The next attempt to open one
    /// comes as soon as if the application waited for it.
    public func hastenHandshake(at now: Instant) {
        guard let nextAt = handshake?.nextAt else { return }
        handshake?.nextAt = min(nextAt, now + Limits.waitingHandshakeTimeout)
    }
}
