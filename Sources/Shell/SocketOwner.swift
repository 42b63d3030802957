import Glibc
import Measures

/// Whose program has a socket of this machine, asked of the kernel (sock_diag(7)): one question
/// about one socket, answered at once.
public enum SocketOwner {
    private static let sockDiag: Int32 = 4  // NETLINK_SOCK_DIAG
    private static let byFamily: UInt16 = 20  // SOCK_DIAG_BY_FAMILY
    private static let requestLength = 72
    /// Behind the message's head, the family's four bytes, the addresses, three counters.
    private static let userOffset = 16 + 4 + 48 + 12

    /// In the answer, behind the message's head and the family's four bytes: the socket's own port.
    private static let portOffset = 16 + 4

    /// What kind of socket it is.
    public enum Transport: UInt8, Sendable {
        /// IPPROTO_TCP.
        case stream = 6
        /// IPPROTO_UDP.
        case datagrams = 17
    }

    /// The user of the socket that stands at `local` and is connected to `remote`, of UDP also one
    /// that is connected to nobody; nil where there is none on this machine, or the kernel does
    /// not say. `local` must be this machine's: a socket that is bound to every address would be
    /// found for any other.
    public static func user(
        of transport: Transport = .stream, local: SocketAddress, remote: SocketAddress
    ) -> UInt32? {
        let local = SocketAddress(local.address.unmapped, port: local.port)
        let remote = SocketAddress(remote.address.unmapped, port: remote.port)
        guard local.address.isIPv4 == remote.address.isIPv4 else { return nil }
        let descriptor = socket(
            AF_NETLINK, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), sockDiag)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let request = request(transport, local, remote)
        guard send(descriptor, request, request.count, 0) == request.count else { return nil }
        var answer = [UInt8](repeating: 0, count: 4096)
        // The kernel has answered by now: it does not keep anybody waiting.
        let count = recv(descriptor, &answer, answer.count, Int32(MSG_DONTWAIT))
        guard count >= userOffset + 4 else { return nil }
        return answer.withUnsafeBytes { bytes in
            guard bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self) == byFamily else {
                return nil
            }
            let port = bytes.loadUnaligned(fromByteOffset: portOffset, as: UInt16.self).bigEndian
            guard port == local.port else { return nil }
            return bytes.loadUnaligned(fromByteOffset: userOffset, as: UInt32.self)
        }
    }

    /// nlmsghdr, then inet_diag_req_v2 (linux/inet_diag.h).
    private static func request(
        _ transport: Transport, _ local: SocketAddress, _ remote: SocketAddress
    ) -> [UInt8] {
        // udp_dump_one() takes them for those of a packet that comes in.
        let (source, target) = transport == .stream ? (local, remote) : (remote, local)
        var out = [UInt8](repeating: 0, count: requestLength)
        out.withUnsafeMutableBytes { bytes in
            bytes.storeBytes(of: UInt32(requestLength), toByteOffset: 0, as: UInt32.self)
            bytes.storeBytes(of: byFamily, toByteOffset: 4, as: UInt16.self)
            bytes.storeBytes(of: 1, toByteOffset: 6, as: UInt16.self)  // NLM_F_REQUEST
            bytes[16] = UInt8(local.address.isIPv4 ? AF_INET : AF_INET6)
            bytes[17] = transport.rawValue
            bytes.storeBytes(of: UInt32.max, toByteOffset: 20, as: UInt32.self)  // any state
            bytes.storeBytes(of: source.port.bigEndian, toByteOffset: 24, as: UInt16.self)
            bytes.storeBytes(of: target.port.bigEndian, toByteOffset: 26, as: UInt16.self)
            store(source.address, at: 28, bytes)
            store(target.address, at: 44, bytes)
            // No cookie is known.
            bytes.storeBytes(of: UInt64.max, toByteOffset: 64, as: UInt64.self)
        }
        return out
    }

    private static func store(
        _ address: IPAddress, at offset: Int, _ bytes: UnsafeMutableRawBufferPointer
    ) {
        if address.isIPv4 {
            bytes.storeBytes(of: address.v4.bigEndian, toByteOffset: offset, as: UInt32.self)
        } else {
            bytes.storeBytes(of: address.high.bigEndian, toByteOffset: offset, as: UInt64.self)
            bytes.storeBytes(of: address.low.bigEndian, toByteOffset: offset + 8, as: UInt64.self)
        }
    }
}
