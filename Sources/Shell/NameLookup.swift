import Measures

/// A host name that datagrams go to: resolved once, kept while its association lives.
final class NameLookup {
    /// Datagrams that wait for it.
    private static let maximumWaiting = 16
    /// A name that does not resolve is asked for again after so long.
    private static let retryAfter = Interval.seconds(10)

    /// A datagram that waits for its name.
    struct Waiting {
        /// What it says.
        var payload: [UInt8]
        /// Where it goes.
        var port: UInt16
    }
    private enum State {
        case pending(turn: Turns.Place?, Resolver.Resolution?)
        case found(IPAddress)
        case failed(Instant)
    }
    private let name: String
    private let user: String
    private let context: DialContext
    /// Bytes that datagrams for names may take while they wait, of all of the user's; nil: any.
    private let share: SharedLimit?
    private let done: (IPAddress?, [Waiting]) -> Void
    private var state = State.pending(turn: nil, nil)
    private var waiting: [Waiting] = []
    private var timer: LoopTimer?

    /// Once it is known.
    var address: IPAddress? { if case .found(let address) = state { address } else { nil } }
    /// Whether it is being asked for.
    var isPending: Bool { if case .pending = state { true } else { false } }

    /// `waiting`: of how many bytes the datagrams that wait may have; nil: any.
    /// `done` is called once for each attempt, with what waited; nil: there is no such name, or
    /// none of its addresses is allowed.
    init(
        _ name: String, user: String, _ context: DialContext, waiting: SharedLimit? = nil,
        done: @escaping (IPAddress?, [Waiting]) -> Void
    ) {
        self.name = name
        self.user = user
        self.context = context
        share = waiting
        self.done = done
        ask()
    }

    /// Nothing is reported any more; harmless when repeated.
    func cancel() {
        if case .pending(let turn, let resolution) = state {
            resolution?.cancel()
            turn?.leave()
        }
        state = .failed(.distantFuture)
        timer = nil
        _ = takeWaiting()
    }

    private func takeWaiting() -> [Waiting] {
        defer { waiting = [] }
        share?.change(by: -waiting.reduce(0) { $0 + Self.cost($1.payload.count) })
        return waiting
    }

    /// Bytes that a datagram of `size` takes while it waits.
    private static func cost(_ size: Int) -> Int { size + 64 }

    /// Keeps a copy until the name is resolved; false where it is dropped.
    func wait(_ payload: UnsafeRawBufferPointer, port: UInt16, at now: Instant) -> Bool {
        if case .failed(let until) = state {
            guard now >= until else { return false }
            ask()
        }
        guard isPending, waiting.count < Self.maximumWaiting,
            share?.take(Self.cost(payload.count)) ?? true
        else { return false }
        waiting.append(Waiting(payload: Array(payload), port: port))
        return true
    }

    private func ask() {
        state = .pending(turn: nil, nil)
        let turn = context.lookUps.enter(user) { [weak self] in self?.resolve() }
        state = .pending(turn: turn, nil)
        if turn.isRunning { resolve() }
        let timer = context.loop.timer(for: self) { $0.finish(nil) }
        timer.arm(after: context.timeout)
        self.timer = timer
    }

    private func resolve() {
        guard case .pending(let turn, nil) = state else { return }
        let resolution = context.resolver.resolve(name) { [weak self] in self?.resolved($0) }
        state = .pending(turn: turn, resolution)
    }

    /// IPv4 where there is such an address: without a handshake nobody notices that IPv6 leads
    /// nowhere.
    private func resolved(_ resolution: Resolver.Resolution) {
        guard isPending else { return }
        let judge = context.judge(for: user)
        let port = waiting.first?.port ?? 1
        let v4 = resolution.v4.addresses.first { judge($0, port) }
        if let v4 { return finish(v4) }
        guard resolution.isComplete else { return }
        finish(resolution.v6.addresses.first { judge($0, port) })
    }

    private func finish(_ address: IPAddress?) {
        guard case .pending(let turn, let resolution) = state else { return }
        timer = nil
        resolution?.cancel()
        turn?.leave()
        if let address {
            state = .found(address.unmapped)
        } else {
            state = .failed(context.loop.now() + Self.retryAfter)
        }
        done(address?.unmapped, takeWaiting())
    }
}
