import CDatagram
import Glibc
import Measures

/// What a connection or a socket that leaves this machine is bound to.
public struct LocalBinding: Hashable, Sendable {
    /// Out through this device; nil: as the routes say.
    public var interface: String?
    /// From the first of these that is of the destination's family; without one of it there is no
    /// way. Nil: the kernel chooses.
    public var addresses: [IPAddress]?

    /// As the routes of the machine say.
    public init() {}
    /// By an uplink.
    public init(interface: String, addresses: [IPAddress]) {
        self.interface = interface
        self.addresses = addresses
    }

    /// Throws ENETUNREACH where there is no address of the family, else what the kernel says.
    func bind(_ descriptor: Int32, isIPv4: Bool) throws(SystemError) {
        if let interface {
            // Where it is not permitted, the routing rules for the source address decide.
            let result = braid_bind_device(descriptor, interface)
            if result < 0, result != -EPERM {
                throw SystemError("bind to interface \(interface)", code: -result)
            }
        }
        guard let addresses else { return }
        guard let source = addresses.first(where: { $0.isIPv4 == isIPv4 }) else {
            throw SystemError("leave by \(interface ?? "an uplink")", code: ENETUNREACH)
        }
        // The port is chosen with the destination: else one address has 28,000 connections at most.
        var yes: Int32 = 1
        _ = setsockopt(
            descriptor, Int32(IPPROTO_IP), Self.bindAddressNoPort, &yes,
            socklen_t(MemoryLayout<Int32>.size))
        var local = braid_address(source)
        try checked(braid_bind(descriptor, &local), "bind to \(source)")
    }

    /// IP_BIND_ADDRESS_NO_PORT of linux/in.h.
    private static let bindAddressNoPort: Int32 = 24

    /// For a socket of datagrams; nil where there is no address of the family.
    public func ofDatagrams(isIPv4: Bool) -> DatagramSocket.Binding? {
        guard let addresses else {
            return .listen(
                SocketAddress(isIPv4 ? .unspecifiedV4 : .unspecifiedV6, port: 0))
        }
        return addresses.first { $0.isIPv4 == isIPv4 }.map { .source($0, device: interface) }
    }
}
