import Measures

/// One question on its way through the servers, in their order: the next is asked when the one
/// before has failed or said nothing for the time it has. Whoever knows the answer first, even
/// late, has given it.
final class ServerSearch {
    private let name: String
    private let isIPv4: Bool
    private let settings:
        () -> (servers: [NameServer], configuration: ResolverConfiguration, version: Int)?
    private var done: ((Result<[IPAddress], Resolver.Failure>, _ isTruncated: Bool) -> Void)?
    private var servers: [NameServer] = []
    private var configuration = ResolverConfiguration()
    private var version = 0
    private var order = ServerOrder(servers: 0, attempts: 0)
    private var questions: [NameServer.Question] = []
    private var timer: LoopTimer?

    /// - Parameter settings: the servers of the present; asked for anew at each time-out, since the
    ///   machine may have moved to another network; nil where the resolver is gone.
    /// - Parameter done: called once, from the loop or from within `start()`.
    init(
        _ name: String, isIPv4: Bool, loop: EventLoop,
        settings:
            @escaping () -> (
                servers: [NameServer], configuration: ResolverConfiguration, version: Int
            )?,
        done: @escaping (Result<[IPAddress], Resolver.Failure>, _ isTruncated: Bool) -> Void
    ) {
        self.name = name
        self.isIPv4 = isIPv4
        self.settings = settings
        self.done = done
        timer = loop.timer(for: self) { $0.timedOut() }
    }

    deinit { questions.forEach { $0.cancel() } }

    func start() {
        adopt()
        askNext()
    }

    /// Nothing is reported any more.
    func cancel() { finish { _ in } }

    var isOver: Bool { done == nil }

    /// Why there is no answer yet.
    var failure: Resolver.Failure { order.anyHasFailed ? .serverFailed : .timedOut }

    private func adopt() {
        guard let settings = settings() else {
            // The resolver is gone, and its servers with it.
            servers = []
            order = ServerOrder(servers: 0, attempts: 0)
            return
        }
        guard settings.version != version || servers.isEmpty else { return }
        (servers, configuration, version) = settings
        order = ServerOrder(servers: servers.count, attempts: configuration.attempts)
    }

    private func timedOut() {
        guard done != nil else { return }
        adopt()
        askNext()
    }

    private func askNext() {
        while done != nil {
            guard let asked = order.next() else {
                let failure = failure
                finish { $0(.failure(failure), false) }
                return
            }
            let version = version
            guard
                let question = servers[asked].ask(
                    name, isIPv4: isIPv4,
                    done: { [weak self] outcome in
                        self?.answered(by: asked, version, outcome)
                    })
            else {
                _ = order.failed(asked)
                continue
            }
            questions.append(question)
            timer?.arm(after: configuration.timeout)
            return
        }
    }

    private func answered(by server: Int, _ version: Int, _ outcome: NameServer.Outcome) {
        guard done != nil else { return }
        switch outcome {
        case .addresses(let found): finish { $0(.success(found), false) }
        case .notFound: finish { $0(.failure(.notFound), false) }
        case .truncated: finish { $0(.failure(.serverFailed), true) }
        case .failed:
            if version == self.version, order.failed(server) { askNext() }
        }
    }

    private func finish(
        _ tell: (_ done: (Result<[IPAddress], Resolver.Failure>, _ isTruncated: Bool) -> Void) ->
            Void
    ) {
        timer = nil
        questions.forEach { $0.cancel() }
        questions = []
        guard let done else { return }
        self.done = nil
        tell(done)
    }
}
