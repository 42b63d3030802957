import Logging
import Measures

/// The rules and the routes of a capture, for as long as it stands: others may take them away (a
/// network daemon that tidies up, a loopback that went down), or set a rule of their own ahead.
///
/// Meanwhile what is captured is dropped, see `CaptureTable`.
struct KeptRoutes {
    private var routes: CaptureRoutes
    /// Whether there is a port to which IPv6 could come.
    private let wantsIPv6: Bool
    private var wait = KeptRoutes.minimumWait
    private var nextTry = Instant.zero

    /// Between two tries; where one is no help, they grow rarer.
    private static let minimumWait = Interval.milliseconds(100)
    private static let maximumWait = Interval.seconds(5)

    /// Sets them, or where `adopts` is true goes on with those that are there, if they are the
    /// same. Needs CAP_NET_ADMIN.
    init(_ networks: [String], wantsIPv6: Bool, adopts: Bool = false) throws(SystemError) {
        let present = try adopts ? CaptureRoutes.present(networks) : nil
        routes = if let present { present } else { try CaptureRoutes.install(networks) }
        self.wantsIPv6 = wantsIPv6
    }

    /// Other networks than before, from the next look on.
    mutating func follow(_ networks: [String]) {
        routes.networks = networks
        nextTry = .zero
    }

    /// Sets them again where they are not in force; after how long to look once more, nil: with the
    /// next change.
    mutating func look(at now: Instant, log: Logger) -> Interval? {
        let isInForce = (try? routes.areInForce()) == true
        if isInForce, routes.hasIPv6 || !wantsIPv6 {
            wait = Self.minimumWait
            return nil
        }
        guard now >= nextTry else { return isInForce ? nil : nextTry - now }
        nextTry = now + wait
        wait = min(wait * 2, Self.maximumWait)
        do throws(SystemError) {
            routes = try CaptureRoutes.install(routes.networks)
        } catch {
            log.error("the capture's routes can't be set again", metadata: ["why": "\(error)"])
            return wait
        }
        if isInForce { return nil }
        guard (try? routes.areInForce()) == true else {
            log.error(
                "what is captured does not come in, and is dropped: another routing rule is ahead")
            return wait
        }
        log.warning("the capture's routes were not in force: they are set again")
        return nil
    }
}
