import Glibc
import Measures
import Wire

/// Whether a port of an address may be dialled.
public typealias DialJudge = (_ address: IPAddress, _ port: UInt16) -> Bool

/// What dials have in common. A subclass says which addresses may be dialled.
open class DialContext {
    /// The one that all is called back from.
    public let loop: EventLoop
    /// For targets that are names.
    public let resolver: Resolver
    /// For a whole dial, and for a look-up.
    public var timeout: Interval
    /// What users take by turns.
    public let dials: Turns
    /// The same for names.
    public let lookUps: Turns

    /// `resolver`: nil for one of its own; throws where the system has none.
    public init(
        loop: EventLoop, resolver: Resolver? = nil, timeout: Interval, dials: Turns, lookUps: Turns
    ) throws(SystemError) {
        self.loop = loop
        self.resolver = if let resolver { resolver } else { try Resolver(loop: loop) }
        self.timeout = timeout
        self.dials = dials
        self.lookUps = lookUps
    }

    /// What holds for the user at this moment; here nothing may be dialled.
    open func judge(for user: String) -> DialJudge { { _, _ in false } }
}

/// One target being dialled: its name resolved, its addresses judged by the policy and tried by
/// Happy Eyeballs (RFC 8305), until the first connects or nothing is left.
public final class Dial {
    /// How a dial ended.
    public enum Outcome {
        case connected(StreamSocket, SocketAddress)
        case failed(DialStatus)
    }

    /// RFC 8305 section 3: how long an A answer waits for the AAAA answer.
    static let resolutionDelay = Interval.milliseconds(50)
    /// RFC 8305 section 5: how long an attempt stays alone.
    static let attemptDelay = Interval.milliseconds(250)
    /// Addresses tried for one target; a name with more is tried on the first of them.
    static let maximumAddresses = 16

    private let context: DialContext
    private let localBinding: LocalBinding
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
    /// `user`: who takes turns with others; `localBinding`: how it leaves this machine.
    public init(
        _ target: Target, user: String = "", _ context: DialContext,
        from localBinding: LocalBinding = LocalBinding(), done: @escaping (Outcome) -> Void
    ) {
        self.context = context
        self.localBinding = localBinding
        self.target = target
        self.user = user
        queue = AddressQueue(port: target.port)
        self.done = done
        deadline = context.loop.timer(for: self) { $0.finish(.failed(.timedOut)) }
        delay = context.loop.timer(for: self) { $0.delayEnded() }
        deadline?.arm(after: context.timeout)
        switch target.host {
        case .address(let address):
            queue.complete(with: address, context.judge(for: user))
            // Begins in this turn, but never answers before `init` returned.
            if queue.isEmpty { delay?.arm(after: .zero) } else { start() }
        case .name(let name):
            let lookUp = context.lookUps.enter(user) { [weak self] in self?.ask(name) }
            self.lookUp = lookUp
            if lookUp.isRunning { ask(name) }
        }
    }

    deinit { cancel() }

    /// Ends the dial at once where an attempt has its outcome already (`Attempt.settle`): `done` is
    /// called before this returns.
    public func settle() {
        for (_, attempt) in attempts { attempt.settle() }
    }

    /// Gives the dial up without a word.
    public func cancel() {
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
        resolution = context.resolver.resolve(name) { [weak self] in self?.resolved($0) }
    }

    private func resolved(_ resolution: Resolver.Resolution) {
        if resolution.isComplete { lookUp?.leave() }
        guard done != nil else { return }
        queue.absorb(resolution, context.judge(for: user))
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
        let place = context.dials.enter(user) { [weak self] in self?.tryNext() }
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
        let attempt = StreamSocket.connect(
            to: remote, from: localBinding, loop: context.loop
        ) { [weak self] result in
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
            guard context.judge(for: user)(address, target.port) else {
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

    mutating func complete(with address: IPAddress, _ judge: DialJudge) {
        add([address], judge)
        isComplete = true
    }

    /// Takes what was not taken yet of a resolution under way.
    mutating func absorb(_ resolution: Resolver.Resolution, _ judge: DialJudge) {
        take(
            v6: resolution.v6.addresses, v4: resolution.v4.addresses,
            isComplete: resolution.isComplete, judge)
    }

    mutating func take(
        v6 new6: [IPAddress], v4 new4: [IPAddress], isComplete: Bool, _ judge: DialJudge
    ) {
        if !hasV6, !new6.isEmpty { hasV6 = true; add(new6, judge) }
        if !hasV4, !new4.isEmpty { hasV4 = true; add(new4, judge) }
        self.isComplete = isComplete
    }

    private mutating func add(_ addresses: [IPAddress], _ judge: DialJudge) {
        for address in addresses.map(\.unmapped) {
            guard judge(address, port) else { sawDenied = true; continue }
            if address.isIPv4 { v4.append(address) } else { v6.append(address) }
        }
    }

    var isEmpty: Bool { v4.isEmpty && v6.isEmpty }

    mutating func next() -> IPAddress? {
        guard given < Dial.maximumAddresses, !isEmpty else { return nil }
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
