import CMnl
import Glibc
import Logging
import Measures

/// A packet that the kernel holds until it is judged: the first of a TCP connection.
public struct HeldPacket: Sendable {
    /// The kernel's number for it.
    let id: UInt32
    let mark: UInt32
    /// By which it would leave: of a program of this machine.
    public let interface: UInt32?
    /// Address and port of who connects.
    public let source: SocketAddress
    /// Address and port that it connects to.
    public let destination: SocketAddress
}

/// A queue of nfnetlink: packets that a rule of nftables holds for a verdict.
///
/// What is held when the process ends is dropped by the kernel, and comes again as any lost SYN.
public final class PacketQueue {
    /// What becomes of a held packet.
    public enum Verdict {
        /// It goes on to the proxy's listener.
        case accept
        /// It is lost; who sent it sends it again.
        case drop
        /// Answered with a reset.
        case refuse
        /// Answered with ICMP: the host, the network, or what a policy forbids.
        case hostUnreachable, noRoute, prohibited
    }

    /// Which of the kernel's queues it is.
    public let number: UInt16
    private let socket: OpaquePointer
    private let watch: FileWatch
    private var handler: ((HeldPacket) -> Void)?
    private var isOpen = true
    /// Packets that were no SYN, or cut; the kernel's own losses are not among them.
    public private(set) var misread = 0

    /// Packets the kernel holds at once; those beyond are dropped.
    public static let maximumHeld: UInt32 = 2_048
    /// Bytes of a packet that are read: IP, its options, and TCP's ports and flags.
    private static let copied: UInt32 = 160
    /// Numbers that are tried: others have queues, too.
    private static let numbers: ClosedRange<UInt16> = 8_684...8_699

    /// The first number that nobody has. Needs CAP_NET_ADMIN.
    public init(loop: EventLoop) throws(SystemError) {
        var found: (UInt16, OpaquePointer)?, failure = SystemError("hold packets", code: ENOENT)
        for number in Self.numbers {
            do throws(SystemError) {
                found = (number, try Self.bind(number))
                break
            } catch {
                failure = error
                guard error.code == EBUSY || error.code == EPERM else { throw error }
            }
        }
        guard let found else { throw failure }
        (number, socket) = found
        let descriptor = mnl_socket_get_fd(socket)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        watch = loop.watch(descriptor)
        watch.onReadable(for: self) { $0.drain() }
    }

    deinit { close() }

    /// `handler` gets every packet from now on, from the loop.
    public func start(_ handler: @escaping (HeldPacket) -> Void) {
        self.handler = handler
        watch.wantsRead = true
    }

    /// What is held is dropped. Harmless when repeated.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        handler = nil
        watch.cancel()
        mnl_socket_close(socket)
    }

    /// Judges a held packet, once.
    public func judge(_ packet: HeldPacket, _ verdict: Verdict) {
        guard isOpen else { return }
        let mark: UInt32? =
            switch verdict {
            case .accept, .drop: nil
            case .refuse: CaptureMark.refused
            case .hostUnreachable: CaptureMark.unreachable
            case .noRoute: CaptureMark.noRoute
            case .prohibited: CaptureMark.prohibited
            }
        var isDropped = false
        if case .drop = verdict { isDropped = true }
        judge(
            packet.id, accept: !isDropped, mark: mark.map { packet.mark & ~CaptureMark.mask | $0 })
    }

    private func judge(_ id: UInt32, accept: Bool, mark: UInt32?) {
        Netlink.withBuffer { buffer in
            let message = Self.head(buffer, QueueMessage.verdict, number)
            var verdict = (UInt32(accept ? 1 : 0).bigEndian, id.bigEndian)  // NF_ACCEPT, NF_DROP
            mnl_attr_put(message, QueueAttribute.verdict, 8, &verdict)
            if let mark { mnl_attr_put_u32(message, QueueAttribute.mark, mark.bigEndian) }
            _ = mnl_socket_sendto(socket, message, Int(message.pointee.nlmsg_len))
        }
    }

    // MARK: Opening

    /// The queue of that number for nobody else, until the socket is closed.
    static func claim(_ number: UInt16) throws(SystemError) -> OpaquePointer {
        let socket = try Netlink.open(NETLINK_NETFILTER)
        do throws(SystemError) {
            try configure(socket, number) { message in
                var command = (UInt8(1), UInt8(0), UInt16(0))  // NFQNL_CFG_CMD_BIND
                mnl_attr_put(message, QueueAttribute.command, 4, &command)
            }
        } catch {
            mnl_socket_close(socket)
            throw error
        }
        return socket
    }

    private static func bind(_ number: UInt16) throws(SystemError) -> OpaquePointer {
        let socket = try claim(number)
        do throws(SystemError) {
            try configure(socket, number) { message in
                // NFQNL_COPY_PACKET, and how much; packed, so byte by byte.
                let n = copied
                let parameters: [UInt8] = [
                    UInt8(n >> 24), UInt8(n >> 16 & 255), UInt8(n >> 8 & 255), UInt8(n & 255), 2
                ]
                mnl_attr_put(message, QueueAttribute.parameters, parameters.count, parameters)
                mnl_attr_put_u32(message, QueueAttribute.maximum, maximumHeld.bigEndian)
            }
        } catch {
            mnl_socket_close(socket)
            throw error
        }
        return socket
    }

    private static func configure(
        _ socket: OpaquePointer, _ number: UInt16,
        _ put: (UnsafeMutablePointer<nlmsghdr>) -> Void
    ) throws(SystemError) {
        var failure: Int32 = 0
        Netlink.withBuffer { buffer in
            let message = head(buffer, QueueMessage.config, number)
            message.pointee.nlmsg_flags |= UInt16(NLM_F_ACK)
            put(message)
            failure = Netlink.acknowledged(socket, message, buffer)
        }
        if failure != 0 { throw SystemError("hold packets (nfnetlink_queue)", code: failure) }
    }

    private static func head(
        _ buffer: UnsafeMutableRawBufferPointer, _ type: UInt16, _ number: UInt16
    ) -> UnsafeMutablePointer<nlmsghdr> {
        let message = mnl_nlmsg_put_header(buffer.baseAddress)!
        message.pointee.nlmsg_type = 3 << 8 | type  // NFNL_SUBSYS_QUEUE
        message.pointee.nlmsg_flags = UInt16(NLM_F_REQUEST)
        // struct nfgenmsg: family, version, the queue's number.
        let head = mnl_nlmsg_put_extra_header(message, 4)!
        head.storeBytes(of: number.bigEndian, toByteOffset: 2, as: UInt16.self)
        return message
    }

    // MARK: Receiving

    private func drain() {
        Netlink.withBuffer { buffer in
            // Bounded: others have their turn, and what is left is readable still.
            for _ in 0..<64 where isOpen {
                let n = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
                guard n > 0 else {
                    // Lost on the way: those are held until the queue's end, and sent again.
                    if n < 0, errno == ENOBUFS || errno == EINTR { continue }
                    return
                }
                Netlink.forEachMessage(buffer, n) {
                    take($0); return isOpen
                }
            }
        }
    }

    private func take(_ message: UnsafePointer<nlmsghdr>) {
        guard let held = Self.read(message) else { return }
        guard let ends = held.ends, let handler else {
            misread += 1
            judge(held.id, accept: true, mark: nil)
            return
        }
        handler(
            HeldPacket(
                id: held.id, mark: held.mark, interface: held.interface, source: ends.0,
                destination: ends.1))
    }

    /// A held packet's number, mark and interface, and whom it is from and to, nil where that can't
    /// be read; nil for other messages.
    static func read(
        _ message: UnsafePointer<nlmsghdr>
    ) -> (id: UInt32, mark: UInt32, interface: UInt32?, ends: (SocketAddress, SocketAddress)?)? {
        guard message.pointee.nlmsg_type == 3 << 8 | QueueMessage.packet else { return nil }
        var id: UInt32?, mark: UInt32 = 0, interface: UInt32?
        var ends: (SocketAddress, SocketAddress)?
        Netlink.forEachAttribute(message, after: 4) { type, bytes in
            switch UInt16(type) {
            case QueueAttribute.packetHead where bytes.count >= 4:
                id = UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self))
            case QueueAttribute.mark where bytes.count >= 4:
                mark = UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self))
            case QueueAttribute.outInterface where bytes.count >= 4:
                interface = UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self))
            case QueueAttribute.payload: ends = Self.ends(of: bytes)
            default: break
            }
        }
        return id.map { ($0, mark, interface, ends) }
    }

    /// Who a TCP packet is from, and to; nil where it is none, or too short.
    static func ends(of packet: UnsafeRawBufferPointer) -> (SocketAddress, SocketAddress)? {
        guard let first = packet.first else { return nil }
        func port(_ at: Int) -> UInt16 { UInt16(packet[at]) << 8 | UInt16(packet[at + 1]) }
        func word(_ at: Int) -> UInt64 {
            UInt64(bigEndian: packet.loadUnaligned(fromByteOffset: at, as: UInt64.self))
        }
        if first >> 4 == 4 {
            let length = Int(first & 15) * 4
            guard length >= 20, packet.count >= length + 4, packet[9] == 6 else { return nil }
            func address(_ at: Int) -> IPAddress {
                IPAddress(
                    v4: UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: at, as: UInt32.self))
                )
            }
            return (
                SocketAddress(address(12), port: port(length)),
                SocketAddress(address(16), port: port(length + 2))
            )
        }
        guard first >> 4 == 6, packet.count >= 40, let tcp = tcpOffset(packet) else { return nil }
        return (
            SocketAddress(IPAddress(v6High: word(8), low: word(16)), port: port(tcp)),
            SocketAddress(IPAddress(v6High: word(24), low: word(32)), port: port(tcp + 2))
        )
    }

    /// Behind the extension headers of an IPv6 packet (RFC 8200 section 4).
    private static func tcpOffset(_ packet: UnsafeRawBufferPointer) -> Int? {
        var next = packet[6], at = 40
        while next == 0 || next == 43 || next == 60 {
            guard packet.count >= at + 8 else { return nil }
            next = packet[at]
            at += 8 + Int(packet[at + 1]) * 8
        }
        return next == 6 && packet.count >= at + 4 ? at : nil
    }
}

// linux/netfilter/nfnetlink_queue.h, whose headers don't go together with the C library's.
private enum QueueMessage { static let packet: UInt16 = 0, verdict: UInt16 = 1, config: UInt16 = 2 }
private enum QueueAttribute {
    static let command: UInt16 = 1, parameters: UInt16 = 2, maximum: UInt16 = 3
    static let packetHead: UInt16 = 1, verdict: UInt16 = 2, mark: UInt16 = 3
    static let outInterface: UInt16 = 6, payload: UInt16 = 10
}
