import CLab
import Glibc
import Measures
import Simulator

/// Two network namespaces on this machine, joined by emulated uplinks: a client's and a server's.
///
/// ```
/// client: wlan0 192.168.1.2/24  ==(WiFi)==       192.168.1.1/24  wifi      :server
///         wwan0 100.64.0.2/24   ==(cellular)==   100.64.0.1/24   cellular
///                                                203.0.113.7     lo   concentrator
///                                                198.51.100.80   lo   origin
/// ```
/// The namespaces are anonymous and the children die with this process, so nothing is left behind
/// however it ends. Works as root, and as an ordinary user where the system allows user namespaces.
public final class Lab {
    /// An uplink to build.
    public struct Plan: Sendable {
        /// What control lines call it: wifi, cellular.
        public var name: String
        /// The client's interface.
        public var device: String
        /// The client has .2 of this /24, the server .1.
        public var network: UInt32
        /// From the client.
        public var up: LinkConditions
        /// To the client.
        public var down: LinkConditions

        /// The paper's WiFi: `wlan0`, a queue of 200 ms.
        public static func wifi(_ link: LinkSpecification = .wifi) -> Plan {
            Plan(
                name: "wifi", device: "wlan0", network: 0xc0a8_0100, link, queue: .milliseconds(200)
            )
        }
        /// The paper's cellular link: `wwan0`, a queue of 2 s.
        public static func cellular(_ link: LinkSpecification = .cellular) -> Plan {
            Plan(name: "cellular", device: "wwan0", network: 0x6440_0000, link, queue: .seconds(2))
        }

        /// The same rate, delay and queue in both directions.
        public init(
            name: String, device: String, network: UInt32, _ link: LinkSpecification,
            queue: Interval
        ) {
            self.name = name
            self.device = device
            self.network = network
            up = LinkConditions(rate: link.rate, delay: link.roundTrip / 2, queue: queue)
            down = up
        }

        /// The same uplink with a simulated one's conditions.
        func with(_ simulated: UplinkPlan) -> Plan {
            var copy = self
            copy.up = simulated.up
            copy.down = simulated.down
            return copy
        }
    }

    /// In which of the two namespaces a program runs.
    public enum Side: Sendable { case client, server }

    /// 203.0.113.7, of the server (RFC 5737).
    public static let concentratorAddress = IPAddress(v4: 0xcb00_7107)
    /// 198.51.100.80, of the server, where files are fetched from.
    public static let originAddress = IPAddress(v4: 0xc633_6450)

    /// Its uplinks, in the order of the emulator's duplex links.
    public let plans: [Plan]
    /// Between the two namespaces; runs in a thread of its own.
    public let emulator: LinkEmulator
    private let client: Int32, server: Int32  // namespaces
    private var children: [LabChild] = []
    /// The last octet of each uplink's address on the client's side.
    private var hosts: [UInt32]

    /// Builds it. Call while the process has a single thread: an ordinary user needs a namespace of
    /// users.
    public init(_ plans: [Plan], seed: UInt64 = 1) throws {
        if braid_lab_may_unshare() == 0 { try Lab.becomeRoot() }
        self.plans = plans
        hosts = plans.map { _ in 2 }
        client = try checked(braid_lab_new_namespace(), "a network namespace")
        server = try checked(braid_lab_new_namespace(), "a network namespace")
        emulator = try LinkEmulator()
        for (number, plan) in plans.enumerated() {
            try build(plan, number, seed: seed &+ UInt64(number))
        }
        for (label, address) in [("lo:1", Lab.concentratorAddress), ("lo:2", Lab.originAddress)] {
            try checked(braid_lab_address(server, label, address.v4, 32), "the address \(address)")
        }
        try emulator.start()
    }

    deinit {
        endChildren()
        emulator.stop()
        close(client)
        close(server)
    }

    private static func becomeRoot() throws {
        let result = braid_lab_become_root()
        guard result == 0, braid_lab_may_unshare() != 0 else {
            let reason =
                result == 0 ? "Operation not permitted" : String(cString: strerror(-result))
            throw LabError(
                """
                this system lets you make no network namespaces (\(reason)); run it as root, in a container with \
                --privileged, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
                kernel.apparmor_restrict_unprivileged_userns=0)
                """)
        }
    }

    private func build(_ plan: Plan, _ number: Int, seed: UInt64) throws {
        let here = braid_lab_tun(client, plan.device)
        if here == -ENOENT || here == -ENODEV || here == -EACCES {
            throw LabError(
                """
                /dev/net/tun can't be opened (\(String(cString: strerror(-here)))); load it with modprobe tun, or give \
                the container --device /dev/net/tun
                """)
        }
        try checked(here, "the interface \(plan.device)")
        let there = try checked(braid_lab_tun(server, plan.name), "the interface \(plan.name)")
        _ = try emulator.join(client: here, server: there, up: plan.up, down: plan.down, seed: seed)
        try checked(
            braid_lab_address(client, plan.device, plan.network | 2, 24),
            "the address of \(plan.device)")
        try checked(
            braid_lab_address(server, plan.name, plan.network | 1, 24),
            "the address of \(plan.name)")
        try checked(braid_lab_set_up(server, plan.name, 1), "\(plan.name) up")
        try bringUp(number)
    }

    /// The interface is there, with a default route of its own; the first uplink's is preferred.
    private func bringUp(_ number: Int) throws {
        let device = plans[number].device
        try checked(braid_lab_set_up(client, device, 1), "\(device) up")
        try checked(
            braid_lab_default_route(client, device, Int32(100 * (number + 1))),
            "a route through \(device)")
    }

    // MARK: What may happen to an uplink

    /// Takes an uplink's interface away: the client is told. What was on its way is lost, or what
    /// the client had sent arrives.
    public func takeDown(_ number: Int, _ underWay: HandoverTrial.UnderWay = .lost) throws {
        if underWay == .lost {
            emulator.change(number) { $0.outage = .blackHole }
            emulator.clear(number)
        }
        try checked(
            braid_lab_set_up(client, plans[number].device, 0), "\(plans[number].device) down")
    }

    /// Lets an uplink's packets vanish without telling anybody. What flies already arrives, as in
    /// the simulator: it is past the place where the others vanish.
    public func silence(_ number: Int) { emulator.change(number) { $0.outage = .blackHole } }

    /// The client's interface has another address of its network from now on, .2 to .9 by turns, as
    /// where another network is met; it is down meanwhile.
    func renumber(_ number: Int) throws {
        let plan = plans[number]
        hosts[number] = hosts[number] < 9 ? hosts[number] + 1 : 2
        try checked(
            braid_lab_address(client, plan.device, plan.network | hosts[number], 24),
            "another address of \(plan.device)")
    }

    /// Ends `takeDown` and `silence`.
    public func restore(_ number: Int) throws {
        emulator.change(number) { $0.outage = .none }
        try bringUp(number)
    }

    // MARK: Programs and sockets

    /// A TCP socket in one of the namespaces; the caller closes it.
    func socket(on side: Side) throws -> Int32 {
        try checked(braid_lab_tcp(side == .client ? client : server), "a socket")
    }

    /// A UDP socket in one of the namespaces; the caller closes it.
    func datagramSocket(on side: Side) throws -> Int32 {
        try checked(braid_lab_udp(side == .client ? client : server), "a socket")
    }

    /// Starts a program in one of the namespaces. Descriptors left out are /dev/null.
    public func start(
        _ program: String, _ arguments: [String], on side: Side, environment: [String] = [],
        input: Int32? = nil, output: Int32? = nil, errors: Int32? = nil,
        inForeground: Bool = false
    ) throws -> LabChild {
        let namespace = side == .client ? client : server
        let path = try Lab.find(program)
        let id = withCStrings([program] + arguments) { argv in
            withCStrings(Lab.inheritedEnvironment() + environment) { envp in
                braid_lab_spawn(
                    path, argv, envp, namespace, input ?? -1, output ?? -1, errors ?? -1,
                    inForeground ? 0 : 1)
            }
        }
        let child = LabChild(id: try checked(id, "a process for \(program)"), name: program)
        children.append(child)
        return child
    }

    /// A path other processes find a namespace by, while this one lives: `nsenter --net=PATH`.
    public func path(of side: Side) -> String {
        "/proc/\(getpid())/fd/\(side == .client ? client : server)"
    }

    /// Ends every child: SIGTERM, and SIGKILL for what is still there two seconds later.
    public func endChildren() {
        for child in children { child.signal(SIGTERM) }
        let limit = Instant.monotonic + .seconds(2)
        while Instant.monotonic < limit, !children.allSatisfy({ $0.hasEnded }) { usleep(5_000) }
        for child in children where !child.hasEnded {
            child.signal(SIGKILL)
            child.wait()
        }
        children.removeAll()
    }

    private static func find(_ program: String) throws -> String {
        if program.contains("/") { return program }
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        for folder in path.split(separator: ":") where access("\(folder)/\(program)", X_OK) == 0 {
            return "\(folder)/\(program)"
        }
        throw LabError("\(program) is not installed")
    }

    private static func inheritedEnvironment() -> [String] {
        var found: [String] = [], at = environ
        while let entry = at.pointee {
            found.append(String(cString: entry))
            at += 1
        }
        return found
    }
}

/// A program that runs in the lab.
public final class LabChild {
    /// Of the process, until it was waited for.
    public let id: pid_t
    /// What messages call it.
    public let name: String
    /// How it ended: its exit code, or 128 and the signal's number; nil while it runs.
    public private(set) var status: Int32?

    init(id: pid_t, name: String) {
        self.id = id
        self.name = name
    }

    /// Asks the system, once.
    public var hasEnded: Bool {
        if status == nil { collect(WNOHANG) }
        return status != nil
    }

    /// Until it has ended; returns at once where it has.
    public func wait() { if status == nil { collect(0) } }

    /// Only to a process that is still ours.
    public func signal(_ number: Int32) { if !hasEnded { kill(id, number) } }

    private func collect(_ options: Int32) {
        var raw: Int32 = 0, result: pid_t
        repeat { result = waitpid(id, &raw, options) } while result < 0 && errno == EINTR
        if result == id {
            status = raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f)
        } else if result < 0 {
            status = 255
        }
    }
}

/// `body` with a null-terminated array of C strings.
private func withCStrings<R>(
    _ strings: [String],
    _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R
) -> R {
    var pointers = strings.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
}
