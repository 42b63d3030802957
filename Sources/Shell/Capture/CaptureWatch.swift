import CMnl
import Glibc
import Logging

/// Tells of changes of links, addresses, routing rules, default routes and nftables.
final class CaptureWatch {
    private var watches: [FileWatch] = []
    private var sockets: [OpaquePointer] = []

    /// `changed` is called from the loop, once or more often for each change.
    init(loop: EventLoop, log: Logger, changed: @escaping () -> Void) {
        let openRouting = { () throws(SystemError) in try Netlink.openEvents(hearsRules: true) }
        hear(loop, log, openRouting) { if Netlink.drainEvents($0) { changed() } }
        // NFNLGRP_NFTABLES is 7.
        let openTables = { () throws(SystemError) in
            try Netlink.open(NETLINK_NETFILTER, groups: 1 << 6, isBlocking: false)
        }
        hear(loop, log, openTables) {
            Netlink.discard($0)
            changed()
        }
    }

    private func hear(
        _ loop: EventLoop, _ log: Logger, _ open: () throws(SystemError) -> OpaquePointer,
        _ read: @escaping (OpaquePointer) -> Void
    ) {
        do throws(SystemError) {
            let socket = try open()
            let watch = loop.watch(mnl_socket_get_fd(socket))
            watch.onReadable(for: self) { _ in read(socket) }
            watch.wantsRead = true
            watches.append(watch)
            sockets.append(socket)
        } catch {
            log.warning(
                "changes of addresses and tables are not heard", metadata: ["why": "\(error)"])
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
