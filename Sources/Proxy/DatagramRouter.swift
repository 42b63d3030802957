import Dialogue
import Measures
import Multipath
import Rules
import Shell
import Tunnel
import Wire

/// Whose datagrams are routed: an application's association, or what is captured of one endpoint.
protocol DatagramRouterOwner: AnyObject {
    /// A datagram has come back.
    func routed(_ payload: UnsafeRawBufferPointer, from source: Target)
    /// The first association is answered, or will not be.
    func associationAnswered(_ status: DialStatus)
    /// The first association has ended, and all that goes through the tunnel with it.
    func associationEnded()
}

/// Where the datagrams of one endpoint go: each flow, by its destination, as the rules say.
///
/// Without rules all go by one association. With them there is an association for each way that
/// rules have them go through the tunnel, and sockets of this machine for what leaves directly.
final class DatagramRouter {
    /// Flows whose decision is remembered, and how long after their last datagram.
    private static let maximumFlows = 4_096
    private static let flowLifetime = Interval.seconds(300)
    /// Associations of one endpoint, and how long after the end of one it is opened again.
    private static let maximumAssociations = 8
    private static let reopenAfter = Interval.seconds(1)

    /// How an association goes through the tunnel.
    fileprivate struct Way: Hashable {
        var policy: DatagramPolicy
        var mode: HandoverMode?
        var uplinks: [String]?
    }
    private enum Route {
        case tunnel(RoutedAssociation)
        case direct(DirectDatagrams)
        case nowhere
    }
    private struct Flow {
        var route: Route
        var lastUsed: Instant
    }

    private weak var owner: (any DatagramRouterOwner)?
    private let server: ProxyServer
    private let origin: FlowOrigin
    private let first: Way
    private var flows: [Target: Flow] = [:]
    private var associations: [Way: RoutedAssociation] = [:]
    private var directs: [String?: DirectDatagrams] = [:]
    private var mayOpenAt = Instant.zero
    /// As the server counts changes of the rules.
    private var rulesChanged: Int
    private var isOver = false

    /// `policy`: what rules leave to the listener.
    init(
        _ server: ProxyServer, from origin: FlowOrigin, policy: DatagramPolicy,
        for owner: any DatagramRouterOwner
    ) {
        self.server = server
        self.origin = origin
        self.owner = owner
        rulesChanged = server.rulesChanged
        first = Way(policy: policy, mode: origin.mode, uplinks: nil)
    }

    /// Opens the association that is meant where no rule says otherwise; its owner is told of its
    /// answer and its end.
    func openFirst() { _ = association(first, isFirst: true) }

    /// Ends all of it.
    func close() {
        isOver = true
        for association in associations.values { association.close() }
        for direct in directs.values { direct.close() }
        associations = [:]
        directs = [:]
        flows = [:]
    }

    // MARK: Out

    /// `knownName`: of a target that is an address, where something told it.
    func send(
        _ payload: UnsafeRawBufferPointer, to target: Target, knownName: String? = nil,
        at now: Instant
    ) {
        guard !isOver else { return }
        if !server.decidesDatagrams {
            send(payload, association(first, isFirst: false), target, at: now)
            return
        }
        if rulesChanged != server.rulesChanged {
            rulesChanged = server.rulesChanged
            // What goes on its way keeps to it; what was refused may be allowed now.
            flows = flows.filter {
                if case .nowhere = $0.value.route { false } else { true }
            }
        }
        if let flow = flows[target], now - flow.lastUsed < Self.flowLifetime {
            flows[target]?.lastUsed = now
            send(payload, flow.route, target, at: now)
            return
        }
        flows.forgetLongUnused(
            [.seconds(30), .seconds(1), .zero], maximum: Self.maximumFlows, at: now, \.lastUsed)
        let route = decide(target, knownName)
        if let route { flows[target] = Flow(route: route, lastUsed: now) }
        send(payload, route ?? .nowhere, target, at: now)
    }

    private func send(
        _ payload: UnsafeRawBufferPointer, _ route: Route, _ target: Target, at now: Instant
    ) {
        switch route {
        case .nowhere: server.datagrams.blocked += 1
        case .direct(let direct): direct.send(payload, to: target, at: now)
        case .tunnel(let association): send(payload, association, target, at: now)
        }
    }

    private func send(
        _ payload: UnsafeRawBufferPointer, _ association: RoutedAssociation?, _ target: Target,
        at now: Instant
    ) {
        server.datagrams.sent += 1
        guard let association,
            server.driver.endpoint.send(payload, on: association.handle, to: target, at: now)
        else {
            server.datagrams.dropped += 1
            return
        }
    }

    /// Nil where it can't go now, and may later.
    private func decide(_ target: Target, _ knownName: String?) -> Route? {
        let decision = server.decide(.udp, target, knownName: knownName, from: origin)
        switch decision.action {
        case .block: return .nowhere
        case .direct(let uplink): return direct(uplink)
        case .tunnel(let options):
            if options.uplinks == nil, server.settings.withoutSession == .direct,
                server.session.obstacleOrSilence != nil
            {
                server.session.hasten()
                return direct(nil)
            }
            var way = first
            switch options.datagrams {
            case .off?: return .nowhere
            case .policy(let policy)?: way.policy = policy
            case nil: break
            }
            way.mode = options.mode ?? way.mode
            way.uplinks = options.uplinks
            return association(way, isFirst: false).map { .tunnel($0) }
        }
    }

    private func association(_ way: Way, isFirst: Bool) -> RoutedAssociation? {
        if let association = associations[way] { return association }
        let now = server.loop.now()
        guard associations.count < Self.maximumAssociations, now >= mayOpenAt else { return nil }
        let handle = server.openAssociation(way.policy, mode: way.mode, uplinks: way.uplinks)
        let association = RoutedAssociation(handle, server.driver, self, way, isFirst: isFirst)
        handle.owner = association
        associations[way] = association
        return association
    }

    private func direct(_ uplink: String?) -> Route? {
        if let direct = directs[uplink] { return .direct(direct) }
        guard let dials = server.directDials(),
            let localBinding = server.localBinding(by: uplink)
        else { return nil }
        let direct = DirectDatagrams(
            localBinding, dials.context(for: origin.address), user: "\(Source(origin.address))",
            server
        ) { [weak self] payload, source in self?.owner?.routed(payload, from: source) }
        directs[uplink] = direct
        return .direct(direct)
    }

    // MARK: Events of an association

    fileprivate func answered(_ association: RoutedAssociation, _ status: DialStatus) {
        if association.isFirst { owner?.associationAnswered(status) }
        if status != .connected { forget(association) }
    }

    fileprivate func received(_ payload: UnsafeRawBufferPointer, _ source: Target) {
        owner?.routed(payload, from: source)
    }

    fileprivate func ended(_ association: RoutedAssociation) {
        forget(association)
        if association.isFirst { owner?.associationEnded() }
    }

    private func forget(_ association: RoutedAssociation) {
        guard !isOver, associations[association.way] === association else { return }
        associations[association.way] = nil
        association.close()
        mayOpenAt = server.loop.now() + Self.reopenAfter
        flows = flows.filter {
            if case .tunnel(let other) = $0.value.route { other !== association } else { true }
        }
    }
}

/// One association of an endpoint's.
final class RoutedAssociation: StreamOwner {
    let handle: StreamHandle
    fileprivate let way: DatagramRouter.Way
    fileprivate let isFirst: Bool
    private let driver: EngineDriver
    private weak var router: DatagramRouter?
    private var isOver = false

    fileprivate init(
        _ handle: StreamHandle, _ driver: EngineDriver, _ router: DatagramRouter,
        _ way: DatagramRouter.Way, isFirst: Bool
    ) {
        self.handle = handle
        self.driver = driver
        self.router = router
        self.way = way
        self.isFirst = isFirst
    }

    func answered(_ status: DialStatus) { router?.answered(self, status) }

    /// Nothing but the end is of interest on the stream.
    func activity() {
        guard !isOver else { return }
        let count = handle.readable.count
        if count > 0 { handle.consume(count, at: driver.now) }
        if handle.error != nil || handle.isReadFinished { router?.ended(self) }
    }

    func datagram(_ payload: UnsafeRawBufferPointer, _ source: Target) {
        if !isOver { router?.received(payload, source) }
    }

    func close() {
        guard !isOver else { return }
        isOver = true
        EngineStream(handle, driver: driver).giveUp()
    }
}

extension Dictionary {
    /// Where there are `maximum` or more: those go that were used longer ago than the first of
    /// `spans`, then than the next, until a quarter of the maximum is free.
    mutating func forgetLongUnused(
        _ spans: [Interval], maximum: Int, at now: Instant, _ lastUsed: (Value) -> Instant
    ) {
        guard count >= maximum else { return }
        for span in spans {
            self = filter { now - lastUsed($0.value) < span }
            if count < maximum * 3 / 4 { return }
        }
    }
}
