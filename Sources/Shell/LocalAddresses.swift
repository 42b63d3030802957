import CMnl
import Logging
import Measures

/// What the kernel delivers to this machine itself, kept up to date by rtnetlink: the addresses of
/// all interfaces and the ranges of local routes.
///
/// As in `UplinkMonitor`, a notification only says *that* something changed; then all is listed
/// afresh.
public final class LocalAddresses {
    /// The loopback's ranges among them. Empty where the kernel can't be asked, which is logged.
    public private(set) var ranges: [Subnet] = []
    /// How often they have become others.
    public private(set) var changes = 0

    private let log: Logger
    private var events: OpaquePointer?
    private var watch: FileWatch?
    private var look: LoopTimer?

    /// A burst of changes is one look; the first one is at once.
    private static let rest = Interval.milliseconds(20)

    /// Looks at once, and from then on whenever the kernel tells of a change. Without netlink the
    /// log says so, and every address that was listed last is still covered.
    public init(loop: EventLoop, log: Logger = Logger(label: "addresses")) {
        self.log = log
        look = loop.timer(for: self) { $0.list() }
        do throws(SystemError) {
            let events = try Netlink.openEvents()
            self.events = events
            let watch = loop.watch(mnl_socket_get_fd(events))
            self.watch = watch
            watch.onReadable(for: self) { $0.changed() }
            watch.wantsRead = true
        } catch {
            log.warning(
                "changes of this machine's addresses are not heard", metadata: ["error": "\(error)"]
            )
        }
        list()
    }

    deinit {
        watch?.cancel()
        if let events { mnl_socket_close(events) }
    }

    /// Whether the address is this machine's: of an interface, or a local route's.
    public func contains(_ address: IPAddress) -> Bool { ranges.contains { $0.contains(address) } }

    private var listedAt = Instant.zero
    private func changed() {
        guard let events, Netlink.drainEvents(events) else { return }
        let next = listedAt + Self.rest
        if EventLoop.monotonic() >= next { list() } else { look?.arm(at: next) }
    }

    private func list() {
        listedAt = EventLoop.monotonic()
        do throws(SystemError) {
            // In a fixed order, so that logs and tests see the same.
            let found = try Netlink.localRanges().sorted { "\($0)" < "\($1)" }
            if found != ranges { changes += 1 }
            ranges = found
        } catch {
            log.warning(
                "cannot list this machine's addresses, trying again",
                metadata: ["error": "\(error)"])
            look?.arm(after: .seconds(1))
        }
    }
}
