import CDatagram
import Glibc
import Measures

/// One UDP socket of an association.
public final class RelaySocket {
    /// The socket itself, for a process that follows this one.
    public let datagrams: DatagramSocket
    /// Whether `close()` was not called yet.
    public private(set) var isOpen = true
    /// With the port the kernel chose.
    public var localAddress: SocketAddress { datagrams.localAddress }

    /// Bytes of the kernel's buffer each way: a tenth of a second at 80 Mbit/s, so that a
    /// stranger's flood costs no more.
    private static let kernelBuffer = 1 << 20

    /// Port 0: one of the system's. Throws where there is no descriptor or no port left.
    public convenience init(
        _ address: SocketAddress, _ sockets: RelaySockets
    ) throws(SystemError) {
        try self.init(.listen(address), sockets)
    }

    /// The same, bound otherwise.
    public init(_ binding: DatagramSocket.Binding, _ sockets: RelaySockets) throws(SystemError) {
        datagrams = try DatagramSocket(
            binding, loop: sockets.loop, kernelBuffer: Self.kernelBuffer, mayFragment: true)
        guard datagrams.descriptor < DescriptorLimit.forRelays else {
            datagrams.close()
            throw SystemError("open a UDP socket", code: EMFILE)
        }
    }

    /// Calls `action` while there is something to receive, for as long as `owner` lives.
    public func onReadable<Owner: AnyObject>(for owner: Owner, _ action: @escaping (Owner) -> Void)
    {
        datagrams.watch.onReadable(for: owner, action)
        datagrams.watch.wantsRead = true
    }

    /// From now on the kernel takes nothing from anybody else.
    public func restrict(to remote: SocketAddress) {
        var address = braid_address(remote)
        _ = braid_connect(datagrams.descriptor, &address)
    }

    /// Harmless when repeated.
    public func close() {
        isOpen = false
        datagrams.close()
    }
}
