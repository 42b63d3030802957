import CMnl
import Glibc

/// The rule that queues, for kernels that have no `queue` in nftables but xt_NFQUEUE, which
/// libnftables shows and can't write: nf_tables_compat.h, as iptables-nft uses it.
enum CompatibleHold {
    /// Adds it to the chain `held` of the table `braid_hold`. Needs CAP_NET_ADMIN.
    static func install(queue: UInt16) throws(SystemError) {
        let socket = try Netlink.open(NETLINK_NETFILTER)
        defer { mnl_socket_close(socket) }
        var failure: Int32 = 0
        Netlink.withBuffer { buffer in
            let batch = mnl_nlmsg_batch_start(buffer.baseAddress, buffer.count)
            defer { mnl_nlmsg_batch_stop(batch) }
            put(batch, 16) { _ in }  // NFNL_MSG_BATCH_BEGIN
            put(batch, 10 << 8 | 6) { rule($0, queue) }  // NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE
            put(batch, 17) { _ in }  // NFNL_MSG_BATCH_END
            let sent = mnl_socket_sendto(
                socket, mnl_nlmsg_batch_head(batch), mnl_nlmsg_batch_size(batch))
            failure = sent < 0 ? errno : Netlink.answer(socket, buffer)
        }
        if failure != 0 { throw SystemError("queue packets (xt_NFQUEUE)", code: failure) }
    }

    private static func put(
        _ batch: OpaquePointer?, _ type: UInt16, _ fill: (UnsafeMutablePointer<nlmsghdr>) -> Void
    ) {
        let message = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(batch))!
        let isRule = type > 255
        message.pointee.nlmsg_type = type
        message.pointee.nlmsg_flags =
            UInt16(NLM_F_REQUEST)
            | (isRule ? UInt16(NLM_F_CREATE) | UInt16(NLM_F_APPEND) | UInt16(NLM_F_ACK) : 0)
        message.pointee.nlmsg_seq = 1
        // struct nfgenmsg: the family (NFPROTO_INET) of a rule, the subsystem of a batch.
        let head = mnl_nlmsg_put_extra_header(message, 4)!
        head.storeBytes(of: isRule ? 1 : 0, as: UInt8.self)
        head.storeBytes(of: UInt16(isRule ? 0 : 10).bigEndian, toByteOffset: 2, as: UInt16.self)
        fill(message)
        mnl_nlmsg_batch_next(batch)
    }

    private static func rule(_ message: UnsafeMutablePointer<nlmsghdr>, _ queue: UInt16) {
        mnl_attr_put_strz(message, 1, CaptureTable.holdName)  // NFTA_RULE_TABLE
        mnl_attr_put_strz(message, 2, "held")  // NFTA_RULE_CHAIN
        let expressions = mnl_attr_nest_start(message, 4)  // NFTA_RULE_EXPRESSIONS
        let element = mnl_attr_nest_start(message, 1)  // NFTA_LIST_ELEM
        mnl_attr_put_strz(message, 1, "target")  // NFTA_EXPR_NAME
        let data = mnl_attr_nest_start(message, 2)  // NFTA_EXPR_DATA
        mnl_attr_put_strz(message, 1, "NFQUEUE")  // NFTA_TARGET_NAME
        mnl_attr_put_u32(message, 2, UInt32(3).bigEndian)  // NFTA_TARGET_REV
        // struct xt_NFQ_info_v3: the queue, one of them, NFQ_FLAG_BYPASS.
        var information = (queue, UInt16(1), UInt16(1), UInt16(0))
        mnl_attr_put(message, 3, 8, &information)  // NFTA_TARGET_INFO
        mnl_attr_nest_end(message, data)
        mnl_attr_nest_end(message, element)
        mnl_attr_nest_end(message, expressions)
    }
}
