import Measures
import Shell
import Tunnel

/// Whoever asks for a connection, and hears of it.
protocol Requester: StreamOwner {
    /// The port it came in by, or what stands for one.
    var listener: ProxyListener { get }
    /// Where it comes from, an IPv4-mapped address as IPv4.
    var address: IPAddress { get }
    /// The same as limits see it.
    var source: Source { get }
    /// As rules see it.
    var flowOrigin: FlowOrigin { get }
}

extension ClientConnection: Requester {}
