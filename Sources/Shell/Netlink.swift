import CMnl
import Glibc
import Measures

/// Sockets and messages of netlink (netlink(7)): questions, changes, dumps and notifications.
enum Netlink {
    /// A socket of one of netlink's families, hearing of the groups.
    static func open(
        _ bus: Int32, groups: UInt32 = 0, isBlocking: Bool = true
    ) throws(SystemError) -> OpaquePointer {
        // The same bits as SOCK_CLOEXEC and SOCK_NONBLOCK.
        let flags = O_CLOEXEC | (isBlocking ? 0 : O_NONBLOCK)
        guard let socket = mnl_socket_open2(bus, flags) else {
            throw SystemError("open netlink", code: errno)
        }
        guard mnl_socket_bind(socket, groups, 0) == 0 else {
            let code = errno
            mnl_socket_close(socket)
            throw SystemError("bind netlink", code: code)
        }
        return socket
    }

    /// A non-blocking socket that hears of changes of links, addresses and routes. `hearsRules`: of
    /// routing rules, too.
    static func openEvents(hearsRules: Bool = false) throws(SystemError) -> OpaquePointer {
        var groups = UInt32(
            RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
                | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)
        // RTNLGRP_IPV6_RULE is 19.
        if hearsRules { groups |= UInt32(RTMGRP_IPV4_RULE) | 1 << 18 }
        return try open(NETLINK_ROUTE, groups: groups, isBlocking: false)
    }

    /// Reads the notifications that wait; whether one of them can matter to uplinks.
    static func drainEvents(_ socket: OpaquePointer) -> Bool {
        var matters = false
        withBuffer { buffer in
            // Bounded: others have their turn, and what is left is readable still.
            for _ in 0..<256 {
                let n = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
                if n < 0 {
                    if errno == EAGAIN { return }
                    // ENOBUFS: notifications were lost; ENOSPC: one was longer than the buffer.
                    // Look again.
                    matters = true
                    if errno == ENOBUFS || errno == ENOSPC || errno == EINTR { continue }
                    return
                }
                if n == 0 { return }
                forEachMessage(buffer, n) {
                    if isRelevant($0) { matters = true }; return true
                }
            }
        }
        return matters
    }

    /// Reads what waits on a non-blocking socket and forgets it.
    static func discard(_ socket: OpaquePointer) {
        withBuffer { buffer in
            for _ in 0..<256 {
                let n = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
                if n < 0, errno == ENOBUFS || errno == ENOSPC || errno == EINTR { continue }
                if n <= 0 { return }
            }
        }
    }

    // MARK: Changing

    /// Sends one message with `head` and what `put` appends; throws what the kernel answers.
    static func change<Head>(
        _ socket: OpaquePointer, _ type: Int, isNew: Bool, _ head: Head, _ operation: String,
        _ put: (UnsafeMutablePointer<nlmsghdr>) -> Void
    ) throws(SystemError) {
        var failure: Int32 = 0
        withBuffer { buffer in
            let flags = NLM_F_ACK | (isNew ? NLM_F_CREATE | NLM_F_EXCL : 0)
            let message = message(in: buffer, type, flags: UInt16(flags), head)
            put(message)
            failure = acknowledged(socket, message, buffer)
        }
        if failure != 0 { throw SystemError(operation, code: failure) }
    }

    /// Sends one question with `head` and what `put` appends; hands over the first message of the
    /// kernel's answer, and nothing where there is none.
    static func ask<Head>(
        _ socket: OpaquePointer, _ type: Int, _ head: Head,
        _ put: (UnsafeMutablePointer<nlmsghdr>) -> Void, _ take: (UnsafePointer<nlmsghdr>) -> Void
    ) {
        withBuffer { buffer in
            let message = message(in: buffer, type, flags: 0, head)
            put(message)
            guard mnl_socket_sendto(socket, message, Int(message.pointee.nlmsg_len)) >= 0 else {
                return
            }
            let n = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
            guard n > 0 else { return }
            forEachMessage(buffer, n) {
                take($0); return false
            }
        }
    }

    private static func message<Head>(
        in buffer: UnsafeMutableRawBufferPointer, _ type: Int, flags: UInt16, _ head: Head
    ) -> UnsafeMutablePointer<nlmsghdr> {
        let message = mnl_nlmsg_put_header(buffer.baseAddress)!
        message.pointee.nlmsg_type = UInt16(type)
        message.pointee.nlmsg_flags = UInt16(NLM_F_REQUEST) | flags
        message.pointee.nlmsg_seq = 1
        mnl_nlmsg_put_extra_header(message, MemoryLayout<Head>.size)!
            .storeBytes(of: head, as: Head.self)
        return message
    }

    /// Sends a message of `buffer` and waits for the kernel's answer: 0, or the errno.
    static func acknowledged(
        _ socket: OpaquePointer, _ message: UnsafeMutablePointer<nlmsghdr>,
        _ buffer: UnsafeMutableRawBufferPointer
    ) -> Int32 {
        guard mnl_socket_sendto(socket, message, Int(message.pointee.nlmsg_len)) >= 0 else {
            return errno
        }
        return answer(socket, buffer)
    }

    /// The first answer that is none of success's data: 0, or the errno.
    static func answer(_ socket: OpaquePointer, _ buffer: UnsafeMutableRawBufferPointer) -> Int32 {
        for _ in 0..<64 {
            let n = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
            if n < 0 { if errno == EINTR { continue }; return errno }
            var found: Int32?
            forEachMessage(buffer, n) { message in
                guard Int32(message.pointee.nlmsg_type) == NLMSG_ERROR else { return true }
                found = -(payload(message, as: nlmsgerr.self)?.error ?? -EIO)
                return false
            }
            if let found { return found }
        }
        return EIO
    }

    private static func isRelevant(_ message: UnsafePointer<nlmsghdr>) -> Bool {
        switch Int(message.pointee.nlmsg_type) {
        case Int(RTM_NEWLINK), Int(RTM_DELLINK), Int(RTM_NEWADDR), Int(RTM_DELADDR): return true
        case Int(RTM_NEWRULE), Int(RTM_DELRULE): return true
        case Int(RTM_NEWROUTE), Int(RTM_DELROUTE):
            guard let head = payload(message, as: rtmsg.self) else { return false }
            return head.rtm_dst_len == 0 || Int(head.rtm_type) == Int(RTN_LOCAL)
        default: return false
        }
    }

    // MARK: Dumping

    /// The buffer size libmnl recommends for dumps is 8 kB; the kernel fills up to 32 kB where it
    /// may.
    static func withBuffer(_ body: (UnsafeMutableRawBufferPointer) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: 32 << 10, alignment: 16, body)
    }

    /// Hands over every message of a dump, of all families.
    static func dump(
        _ socket: OpaquePointer, _ type: UInt16,
        _ take: (UnsafePointer<nlmsghdr>) -> Void
    ) throws(SystemError) {
        // Zero is AF_UNSPEC in the first byte of every one of the three headers.
        try dump(socket, type, rtmsg(), take)
    }

    /// Hands over every message of a dump that `head` asks for.
    static func dump<Head>(
        _ socket: OpaquePointer, _ type: UInt16, _ head: Head,
        _ take: (UnsafePointer<nlmsghdr>) -> Void
    ) throws(SystemError) {
        var failure: Int32 = 0
        withBuffer { buffer in
            // The kernel notes a table that changed under the dump; then it is asked once more.
            for _ in 0..<2 {
                failure = dumpOnce(socket, type, head, buffer, take)
                if failure != EINTR { return }
            }
        }
        if failure != 0, failure != EINTR {
            throw SystemError("list interfaces (netlink)", code: failure)
        }
    }

    private static func dumpOnce<Head>(
        _ socket: OpaquePointer, _ type: UInt16, _ head: Head,
        _ buffer: UnsafeMutableRawBufferPointer,
        _ take: (UnsafePointer<nlmsghdr>) -> Void
    ) -> Int32 {
        let request = message(in: buffer, Int(type), flags: UInt16(NLM_F_DUMP), head)
        guard mnl_socket_sendto(socket, request, Int(request.pointee.nlmsg_len)) >= 0 else {
            return errno
        }
        var done = false, failure: Int32 = 0
        while !done {
            let n = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
            if n < 0 { if errno == EINTR { continue }; return errno }
            if n == 0 { return EIO }
            forEachMessage(buffer, n) { message in
                if message.pointee.nlmsg_flags & UInt16(NLM_F_DUMP_INTR) != 0 { failure = EINTR }
                switch Int32(message.pointee.nlmsg_type) {
                case NLMSG_DONE: done = true
                case NLMSG_ERROR:
                    failure = -(payload(message, as: nlmsgerr.self)?.error ?? -EIO)
                    done = true
                default: take(message)
                }
                return !done
            }
        }
        return failure
    }

    static func forEachMessage(
        _ buffer: UnsafeMutableRawBufferPointer, _ count: Int,
        _ body: (UnsafePointer<nlmsghdr>) -> Bool
    ) {
        var left = Int32(count)
        var message = UnsafePointer(buffer.baseAddress!.assumingMemoryBound(to: nlmsghdr.self))
        // libmnl takes a length of more than 2^31 for a negative one.
        while mnl_nlmsg_ok(message, left), message.pointee.nlmsg_len <= UInt32(left) {
            if !body(message) { return }
            guard let next = mnl_nlmsg_next(message, &left) else { return }
            message = UnsafePointer(next)
        }
    }

    // MARK: Messages

    static func payload<T>(_ message: UnsafePointer<nlmsghdr>, as type: T.Type) -> T? {
        guard mnl_nlmsg_get_payload_len(message) >= MemoryLayout<T>.size else { return nil }
        return mnl_nlmsg_get_payload(message).loadUnaligned(as: T.self)
    }

    static func forEachAttribute(
        _ message: UnsafePointer<nlmsghdr>, after header: Int,
        _ body: (Int, UnsafeRawBufferPointer) -> Void
    ) {
        guard mnl_nlmsg_get_payload_len(message) >= header else { return }
        let end = UnsafeRawPointer(mnl_nlmsg_get_payload_tail(message)!)
        let start = UnsafeRawPointer(mnl_nlmsg_get_payload_offset(message, header)!)
        var attribute = start.assumingMemoryBound(to: nlattr.self)
        while mnl_attr_ok(attribute, Int32(end - UnsafeRawPointer(attribute))) {
            body(
                Int(mnl_attr_get_type(attribute)),
                UnsafeRawBufferPointer(
                    start: mnl_attr_get_payload(attribute),
                    count: Int(mnl_attr_get_payload_len(attribute))))
            attribute = UnsafePointer(mnl_attr_next(attribute))
        }
    }

    static func number(_ bytes: UnsafeRawBufferPointer) -> Int? {
        bytes.count >= 4 ? Int(bytes.loadUnaligned(as: UInt32.self)) : nil
    }

    static func address(_ bytes: UnsafeRawBufferPointer) -> IPAddress? {
        switch bytes.count {
        case 4: IPAddress(v4: UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
        case 16:
            IPAddress(
                v6High: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
        default: nil
        }
    }
}
