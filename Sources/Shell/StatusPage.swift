import CLibevent
import Measures

/// A small HTTP server for watching: `/` (HTML), `/status` (JSON), `/metrics` (Prometheus text).
public final class StatusPage {
    public struct Content {
        public var html: () -> String
        public var json: () -> String
        public var metrics: () -> String
        public init(html: @escaping () -> String, json: @escaping () -> String, metrics: @escaping () -> String) {
            self.html = html; self.json = json; self.metrics = metrics
        }
    }
    public let address: SocketAddress
    public init(_ address: SocketAddress, loop: EventLoop, content: Content) throws(SystemError) { fatalError("stub") }
    public func close() {}
}
