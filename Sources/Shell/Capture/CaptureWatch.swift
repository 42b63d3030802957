import CMnl
import Glibc
import Logging

/// Tells of changes of links, addresses, routing rules, default routes and nftables.
final class CaptureWatch {
    private var watches: [FileWatch] = []
    private var sockets: [OpaquePointer] = []

    /// `changed` is called from the loop, once or more often for each change.
    init(loop: EventLoop, log: Logger, changed: @escaping () -> Void) {
        let rules6: UInt32 = 1 << 18  // RTNLGRP_IPV6_RULE is 19
        let routing =
            UInt32(
                RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_LINK | RTMGRP_IPV4_RULE
                    | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE) | rules6
        for (bus, groups) in [
            (NETLINK_ROUTE, routing),
            (NETLINK_NETFILTER, 1 << 6)  // NFNLGRP_NFTABLES is 7
        ] {
            do throws(SystemError) {
                let socket = try Netlink.open(bus, groups: groups, isBlocking: false)
                let watch = loop.watch(mnl_socket_get_fd(socket))
                watch.onReadable(for: self) { _ in
                    if bus == NETLINK_ROUTE {
                        guard Netlink.drainEvents(socket) else { return }
                    } else {
                        Netlink.discard(socket)
                    }
                    changed()
                }
                watch.wantsRead = true
                watches.append(watch)
                sockets.append(socket)
            } catch {
                log.warning(
                    "changes of addresses and tables are not heard", metadata: ["why": "\(error)"])
            }
        }
    }

    deinit { cancel() }

    /// Nothing is told any more. Harmless when repeated.
    func cancel() {
        for watch in watches { watch.cancel() }
        for socket in sockets { mnl_socket_close(socket) }
        watches = []
        sockets = []
    }
}
