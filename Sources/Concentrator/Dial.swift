import Glibc
import Measures
import Shell
import Wire

/// What dials have in common.
final class Dialer {
    let loop: EventLoop
    let resolver: Resolver
    let timeout: Interval
    private let policy: EgressPolicy
    private let personal: [String: EgressRules]
    private let local: LocalAddresses
    /// What users take by turns.
    let dials: Turns
    let lookUps: Turns

    /// `personal`: the rules of those users who have some.
    init(
        loop: EventLoop, policy: EgressPolicy, personal: [String: EgressRules] = [:],
        timeout: Interval, dials: Turns.Limits = Turns.Limits(inAll: 4_096, perUser: 512),
        lookUps: Turns.Limits = Turns.Limits(inAll: 480, perUser: 64),
        resolver: Resolver? = nil
    ) throws(SystemError) {
        self.dials = Turns(dials)
        self.lookUps = Turns(lookUps)
        self.loop = loop
        self.policy = policy
        self.personal = personal
        self.timeout = timeout
        local = LocalAddresses(loop: loop)
        self.resolver = if let resolver { resolver } else { try Resolver(loop: loop) }
    }

    /// What holds for the user at this moment.
    func policy(for user: String) -> EgressPolicy {
        var policy = policy
        policy.own += local.ranges
        if let rules = personal[user] { policy.personal = rules }
        return policy
    }
}

/// One target being dialled: its name resolved, its addresses judged by the policy and tried by
/// Happy Eyeballs (RFC 8305), until the first connects or nothing is left.
final class Dial {
    enum Outcome {
        case connected(StreamSocket, SocketAddress)
        case failed(DialStatus)
    }

    /// RFC 8305 section 3: how long an A answer waits for the AAAA answer.
    static let resolutionDelay = Interval.milliseconds(50)
    /// RFC 8305 section 5: how long an attempt stays alone.
    static let attemptDelay = Interval.milliseconds(250)
    /// Addresses tried for one target; a name with more is tried on the first of them.
    static let maximumAddresses = 16

    private let dialer: Dialer
    private let target: Target
    private let user: String
    private var done: ((Outcome) -> Void)?
    private var resolution: Resolver.Resolution?
    private var place: Turns.Place?
    private var lookUp: Turns.Place?
    private var deadline: LoopTimer?
    /// Ends the wait for AAAA, then the time an attempt stays alone.
    private var delay: LoopTimer?
    private var hasStarted = false
    private var queue: AddressQueue
    private var attempts: [(address: IPAddress, attempt: StreamSocket.Attempt)] = []
    private var failure: DialStatus?

    /// `done` is called once, from the loop, unless the dial is cancelled or released before.
    init(_ target: Target, user: String = "", _ dialer: Dialer, done: @escaping (Outcome) -> Void) {
        self.dialer = dialer
        self.target = target
        self.user = user
        queue = AddressQueue(port: target.port)
        self.done = done
        deadline = dialer.loop.timer(for: self) { $0.finish(.failed(.timedOut)) }
        delay = dialer.loop.timer(for: self) { $0.delayEnded() }
        deadline?.arm(after: dialer.timeout)
        switch target.host {
        case .address(let address):
            queue.complete(with: address, policy: dialer.policy(for: user))
            delay?.arm(after: .zero)  // never answers before `init` returned
        case .name(let name):
            let lookUp = dialer.lookUps.enter(user) { [weak self] in self?.ask(name) }
            self.lookUp = lookUp
            if lookUp.isRunning { ask(name) }
        }
    }

    deinit { cancel() }

    /// Gives the dial up without a word.
    func cancel() {
        done = nil
        place?.leave()
        place = nil
        resolution?.cancel()
        resolution = nil
        lookUp?.leave()
        lookUp = nil
        attempts.forEach { $0.attempt.cancel() }
        attempts = []
        deadline = nil
        delay = nil
    }

    // MARK: Names

    private func ask(_ name: String) {
        guard done != nil else { return }
        resolution = dialer.resolver.resolve(name) { [weak self] in self?.resolved($0) }
    }

    private func resolved(_ resolution: Resolver.Resolution) {
        if resolution.isComplete { lookUp?.leave() }
        guard done != nil else { return }
        queue.absorb(resolution, policy: dialer.policy(for: user))
        if hasStarted {
            // A family that came late joins; it need not wait where nothing else is under way.
            if attempts.isEmpty, place?.isRunning == true { tryNext() }
            return
        }
        switch (resolution.v6, resolution.v4) {
        case (.addresses, _), (.failed, .addresses), (.failed, .failed): start()
        case (.pending, .addresses): delay?.arm(after: Self.resolutionDelay)
        default: break
        }
    }

    private func delayEnded() { if hasStarted { tryNext() } else { start() } }

    private func start() {
        hasStarted = true
        guard place == nil else { return }
        let place = dialer.dials.enter(user) { [weak self] in self?.tryNext() }
        self.place = place
        if place.isRunning { tryNext() }
    }

    // MARK: Addresses

    private func tryNext() {
        guard done != nil, place?.isRunning == true else { return }
        delay?.cancel()
        guard let address = queue.next() else {
            if attempts.isEmpty, queue.isComplete { finish(.failed(failure ?? whyNoAddress)) }
            return
        }
        let remote = SocketAddress(address, port: target.port)
        let attempt = StreamSocket.connect(to: remote, loop: dialer.loop) { [weak self] result in
            self?.attemptEnded(address, result)
        }
        attempts.append((address, attempt))
        delay?.arm(after: Self.attemptDelay)
    }

    private func attemptEnded(_ address: IPAddress, _ result: Result<StreamSocket, SystemError>) {
        attempts.removeAll { $0.address == address }
        switch result {
        case .success(let socket):
            // An address may have become this machine's own since it was judged.
            guard dialer.policy(for: user).allows(address, port: target.port) else {
                socket.reset()
                failure = .denied
                tryNext()
                return
            }
            finish(.connected(socket, SocketAddress(address, port: target.port)))
        case .failure(let error):
            let status = DialStatus(errno: error.code)
            if failure.map({ status.tellsMore(than: $0) }) ?? true { failure = status }
            tryNext()
        }
    }

    private var whyNoAddress: DialStatus {
        if queue.sawDenied { return .denied }
        return switch resolution?.failure {
        case .timedOut: .timedOut
        case .serverFailed: .generalFailure
        default: .nameNotFound
        }
    }

    private func finish(_ outcome: Outcome) {
        guard let tell = done else { return }
        cancel()
        tell(outcome)
    }
}

/// Addresses not yet tried, IPv6 first and then by turns (RFC 8305 section 4), with those the
/// policy denies left out.
struct AddressQueue {
    private let port: UInt16
    private var v4: [IPAddress] = []
    private var v6: [IPAddress] = []
    private var hasV4 = false, hasV6 = false
    private var lastWasV6 = false
    private var given = 0
    private(set) var sawDenied = false

    /// No further addresses will come.
    private(set) var isComplete = false

    init(port: UInt16) { self.port = port }

    mutating func complete(with address: IPAddress, policy: EgressPolicy) {
        add([address], policy)
        isComplete = true
    }

    /// Takes what was not taken yet of a resolution under way.
    mutating func absorb(_ resolution: Resolver.Resolution, policy: EgressPolicy) {
        take(
            v6: resolution.v6.addresses, v4: resolution.v4.addresses,
            isComplete: resolution.isComplete, policy)
    }

    mutating func take(
        v6 new6: [IPAddress], v4 new4: [IPAddress], isComplete: Bool, _ policy: EgressPolicy
    ) {
        if !hasV6, !new6.isEmpty { hasV6 = true; add(new6, policy) }
        if !hasV4, !new4.isEmpty { hasV4 = true; add(new4, policy) }
        self.isComplete = isComplete
    }

    private mutating func add(_ addresses: [IPAddress], _ policy: EgressPolicy) {
        for address in addresses.map(\.unmapped) {
            guard policy.allows(address, port: port) else { sawDenied = true; continue }
            if address.isIPv4 { v4.append(address) } else { v6.append(address) }
        }
    }

    mutating func next() -> IPAddress? {
        guard given < Dial.maximumAddresses, !v4.isEmpty || !v6.isEmpty else { return nil }
        given += 1
        let takesV6 = !v6.isEmpty && (v4.isEmpty || !lastWasV6)
        lastWasV6 = takesV6
        return takesV6 ? v6.removeFirst() : v4.removeFirst()
    }
}

extension DialStatus {
    /// What a failed `connect` says of its destination.
    init(errno code: Int32) {
        self =
            switch code {
            case ECONNREFUSED: .connectionRefused
            case ENETUNREACH, ENETDOWN, EADDRNOTAVAIL, EAFNOSUPPORT: .networkUnreachable
            case EHOSTUNREACH, EHOSTDOWN: .hostUnreachable
            case ETIMEDOUT: .timedOut
            case EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN: .tooManyConnections
            default: .generalFailure
            }
    }

    /// Of the failures of several addresses, the one that says most about the destination is
    /// reported: that IPv6 is missing here must not hide that the port is closed there.
    func tellsMore(than other: DialStatus) -> Bool { rank > other.rank }
    private var rank: Int {
        switch self {
        case .connectionRefused: 6
        case .timedOut: 5
        case .hostUnreachable: 4
        case .networkUnreachable: 3
        case .tooManyConnections: 2
        case .denied: 1
        default: 0
        }
    }
}
