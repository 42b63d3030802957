import Dialogue
import Logging
import Measures
import Shell
import Wire

/// The concentrator's addresses, its names resolved at the start, and again while there is no
/// session or its session is silent: it may have moved.
final class ConcentratorAddresses {
    /// From one round of resolution to the next while it is needed, doubled up to the longest: a
    /// change of address is found within seconds, however long it took to come.
    private static let minimumInterval = Interval.seconds(1), maximumInterval = Interval.seconds(4)

    private let targets: [Target]
    private let loop: EventLoop
    private let log: Logger
    private let changed: ([SocketAddress]) -> Void
    private let resolver: Resolver?
    private var resolutions: [Resolver.Resolution?]
    private var answers: [[SocketAddress]]
    private(set) var current: [SocketAddress] = []
    private var timer: LoopTimer?
    private var complaints = NoticeLimit(1, in: .seconds(60))
    private var interval = ConcentratorAddresses.minimumInterval

    /// Whether no session is up, or it is silent, so that looking again is worth it.
    var isNeeded = true {
        didSet {
            guard isNeeded != oldValue else { return }
            interval = Self.minimumInterval
            if isNeeded { resolveAll() } else { timer?.cancel() }
        }
    }

    /// Those of the targets that are names.
    static func names(of targets: [Target]) -> Set<DNSName> {
        Set(
            targets.compactMap {
                if case .name(let name) = $0.host { DNSName(name) } else { nil }
            })
    }

    init(
        _ targets: [Target], loop: EventLoop, log: Logger,
        changed: @escaping ([SocketAddress]) -> Void
    ) throws(SystemError) {
        self.targets = targets
        self.loop = loop
        self.log = log
        self.changed = changed
        answers = targets.map { target in target.socketAddress.map { [$0] } ?? [] }
        resolutions = targets.map { _ in nil }
        current = answers.flatMap { $0 }
        let hasNames = targets.contains { $0.socketAddress == nil }
        resolver = hasNames ? try Resolver(loop: loop) : nil
        timer = hasNames ? loop.timer(for: self) { $0.resolveAll() } : nil
    }

    func start() { resolveAll() }

    func stop() {
        timer = nil
        resolutions.forEach { $0?.cancel() }
    }

    private func resolveAll() {
        guard let resolver else { return }
        for (i, target) in targets.enumerated() {
            guard case .name(let name) = target.host,
                resolutions[i].map(\.isComplete) ?? true
            else { continue }
            resolutions[i] = resolver.resolve(name) { [weak self] in self?.resolved(i, $0) }
        }
        timer?.arm(after: interval)
        interval = min(interval * 2, Self.maximumInterval)
    }

    private func resolved(_ i: Int, _ resolution: Resolver.Resolution) {
        let found = (resolution.v4.addresses + resolution.v6.addresses).map {
            SocketAddress($0, port: targets[i].port)
        }
        if found.isEmpty {
            guard resolution.isComplete else { return }
            // The addresses known before are better than none.
            if complaints.pass(at: loop.now()) != nil {
                log.warning(
                    "cannot resolve the concentrator's name",
                    metadata: ["name": "\(resolution.name)"])
            }
            return
        }
        // While one family is still asked for, what is known of the other stays.
        answers[i] =
            resolution.isComplete ? found : found + answers[i].filter { !found.contains($0) }
        let all = answers.flatMap { $0 }
        guard all != current else { return }
        current = all
        log.info(
            "concentrator",
            metadata: ["addresses": "\(all.map(\.description).joined(separator: " "))"])
        changed(all)
    }
}
