import Buffers
import Measures
import Shell

/// What connections that leave from this machine, without the concentrator, have in common.
final class DirectDials {
    /// Of this machine's programs, and of others, who are kept from what listens on loopback.
    private(set) var own: DialContext
    private(set) var others: DialContext
    /// Of their buffers.
    let memory: MemoryShare
    private let dials: Turns
    private let lookUps: Turns
    let driver: EngineDriver
    private let local: LocalAddresses
    /// Those whose application is gone, while the rest of what it wrote is sent.
    private var lingering: [ObjectIdentifier: DirectStream] = [:]
    /// Begun, failed, and open now.
    var counters = Counters()

    struct Counters {
        var begun = 0, failed = 0, living = 0

        var status: [ServerStatus.Counter] {
            [
                .init("direct", living), .init("direct_total", begun),
                .init("direct_failed_total", failed)
            ]
        }
    }

    init(_ settings: DirectSettings, memory: Int, driver: EngineDriver) throws(SystemError) {
        self.driver = driver
        let budget = MemoryBudget(limit: memory)
        self.memory = MemoryShare(of: budget, isOnlyOne: true)
        local = LocalAddresses(loop: driver.loop)
        let resolver = try Resolver(loop: driver.loop)
        let dials = Turns(settings.dials), lookUps = Turns(settings.lookUps)
        self.dials = dials
        self.lookUps = lookUps
        own = try Context(
            loop: driver.loop, resolver: resolver, timeout: settings.timeout, dials: dials,
            lookUps: lookUps, reachesLoopback: true)
        others = try Context(
            loop: driver.loop, resolver: resolver, timeout: settings.timeout, dials: dials,
            lookUps: lookUps, reachesLoopback: false)
    }

    /// For those that begin from now on.
    func apply(_ settings: DirectSettings, memory limit: Int) {
        dials.limits = settings.dials
        lookUps.limits = settings.lookUps
        memory.budget.limit = limit
    }

    /// For an application at `address`.
    func context(for address: IPAddress) -> DialContext {
        address.isLoopback || local.contains(address) ? own : others
    }

    func linger(_ stream: DirectStream) { lingering[ObjectIdentifier(stream)] = stream }
    func lingered(_ stream: DirectStream) { lingering[ObjectIdentifier(stream)] = nil }

    /// One of those that linger ends now; false where there is none.
    func stopLingering() -> Bool {
        guard let stream = lingering.values.first else { return false }
        stream.abort()
        return true
    }

    /// Nothing is sent any more.
    func stop() {
        for stream in Array(lingering.values) { stream.abort() }
        lingering = [:]
    }

    private final class Context: DialContext {
        private let reachesLoopback: Bool

        init(
            loop: EventLoop, resolver: Resolver, timeout: Interval, dials: Turns, lookUps: Turns,
            reachesLoopback: Bool
        ) throws(SystemError) {
            self.reachesLoopback = reachesLoopback
            try super.init(
                loop: loop, resolver: resolver, timeout: timeout, dials: dials, lookUps: lookUps)
        }

        override func judge(for user: String) -> DialJudge {
            if reachesLoopback { return { address, _ in !address.unmapped.isUnspecified } }
            return { address, _ in
                let address = address.unmapped
                return !address.isUnspecified && !address.isLoopback
            }
        }
    }
}

/// What a proxy does for connections that leave from its machine.
public struct DirectSettings: Equatable, Sendable {
    /// Under way at once, of all applications and of one source.
    public var dials = Turns.Limits(inAll: 4_096, perUser: 512)
    /// Names being looked up, likewise.
    public var lookUps = Turns.Limits(inAll: 480, perUser: 64)
    /// For a dial, all addresses of its name together.
    public var timeout = Interval.seconds(10)

    /// The defaults.
    public init() {}
}
