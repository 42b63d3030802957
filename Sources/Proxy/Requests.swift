import Dialogue
import Measures
import Multipath
import Rules
import Shell
import Tunnel
import Wire

/// What becomes of a request while there is no session to the concentrator.
public enum WithoutSession: String, CaseIterable, Sendable {
    /// It waits, for as long as an answer may take.
    case wait
    /// It goes from this machine, as if a rule said `direct`.
    case direct
    /// It is refused as soon as it is known that there is none.
    case refuse
}

/// Where a flow comes from, however it came in.
struct FlowOrigin {
    var entry: FlowFacts.Entry
    /// The application's.
    var address: IPAddress
    /// Its own mode; nil: the proxy's.
    var mode: HandoverMode?
    /// The local user whose program it is, found out where a rule asks; nil: not of this machine.
    var user: () -> UInt32? = { nil }
}

// The one place where it is decided what becomes of a request, however it came in, and where that
// is begun.
extension ProxyServer {
    /// What the rules say of a flow.
    func decide(
        _ transport: FlowFacts.Transport, _ target: Target, knownName: String? = nil,
        from origin: FlowOrigin
    ) -> Decision {
        guard !settings.rules.rules.isEmpty else { return .standard }
        var flow = facts(transport, target, knownName: knownName, from: origin)
        if settings.rules.question(about: flow, given: [.name]) == .user {
            flow.user = origin.user()
        }
        return settings.rules.decide(flow)
    }

    private func facts(
        _ transport: FlowFacts.Transport, _ target: Target, knownName: String? = nil,
        from origin: FlowOrigin
    ) -> FlowFacts {
        FlowFacts(
            transport, entry: origin.entry, source: origin.address, target: target,
            knownName: knownName ?? nameAskedFor(target, by: origin.address))
    }

    /// When the rules have to know a captured connection's name, for which its first bytes are
    /// looked at.
    enum NameNeed {
        case never
        /// The rules may keep it from the concentrator.
        case beforeDial
        /// It is dialled in the same way whatever its name, so that the program hears of a dial
        /// that failed.
        case afterDial
    }

    func needsName(_ target: Target, from origin: FlowOrigin) -> NameNeed {
        let rules = settings.rules
        guard !rules.rules.isEmpty else { return .never }
        var flow = facts(.tcp, target, from: origin)
        let questions = [rules.question(about: flow, given: [.name]), rules.question(about: flow)]
        if questions.contains(.user) { flow.user = origin.user() }
        guard rules.question(about: flow, given: [.user]) == .name else { return .never }
        return rules.isTunnelledAlike(flow) ? .afterDial : .beforeDial
    }

    /// Whether a connection that was dialled without a name is another one with it.
    func goesAnotherWay(_ target: Target, named name: String, from origin: FlowOrigin) -> Bool {
        let without = decide(.tcp, target, from: origin).action
        let with = decide(.tcp, target, knownName: name, from: origin).action
        guard case .tunnel(let old) = without, case .tunnel(let new) = with else {
            return without != with
        }
        return old.mode != new.mode || old.uplinks != new.uplinks
    }

    /// Whether datagrams of one association may go different ways.
    var decidesDatagrams: Bool {
        !settings.rules.rules.isEmpty || settings.withoutSession == .direct
    }

    /// The name by whose answer the client got to know a target that is an address.
    func nameAskedFor(_ target: Target, by client: IPAddress) -> String? {
        guard case .address(let address) = target.host else { return nil }
        return names.name(of: address, askedBy: client)
    }

    /// What becomes of questions for names for want of a session; nil while there is one.
    var absenceForNames: WithoutSession? {
        guard session.obstacleOrSilence != nil else { return nil }
        session.hasten()
        return settings.withoutSession
    }

    /// Begins to connect `client` to `target`, in whatever way the rules say. `knownName`: of a
    /// target that is an address, where something told it.
    func begin(
        _ target: Target, knownName: String? = nil, for client: any Requester
    ) -> Beginning {
        let decision = decide(.tcp, target, knownName: knownName, from: client.flowOrigin)
        log.debug(
            "decided",
            metadata: [
                "target": "\(target)", "rule": "\(decision.rule ?? 0)",
                "action": "\(decision.action.word)"
            ])
        switch decision.action {
        case .tunnel(let options): return tunnel(target, options, for: client)
        case .direct(let uplink): return beginDirect(target, uplink: uplink, for: client)
        case .block:
            notices.counters.blocked += 1
            return .refused(.rule(decision.rule ?? 0))
        }
    }

    private func tunnel(
        _ target: Target, _ options: TunnelOptions, for client: any Requester
    ) -> Beginning {
        var isHealthy = true
        if session.obstacleOrSilence != nil {
            isHealthy = false
            session.hasten()
            switch settings.withoutSession {
            case .wait: break
            // A rule that names uplinks means those or none.
            case .direct where options.uplinks == nil:
                return beginDirect(target, uplink: nil, for: client)
            case .direct, .refuse:
                if let obstacle = session.refusedFor {
                    notices.counters.failedDials += 1
                    return .refused(.obstacle(obstacle))
                }
            }
        }
        let handle = driver.endpoint.open(
            target, mode: options.mode ?? client.listener.mode,
            only: options.uplinks.map { restrictions[$0] },
            isRedundant: client.listener.isRedundant, at: loop.now())
        handle.owner = client
        let open = options.open ?? settings.open
        return .begun(
            EngineStream(handle, driver: driver),
            answersAtOnce: isHealthy && !session.mayStillGoDirect && open.answersAtOnce(target))
    }

    /// Begins a connection from this machine.
    func beginDirect(_ target: Target, uplink: String?, for client: any Requester) -> Beginning {
        guard let direct = directDials() else { return .refused(.dial(.generalFailure)) }
        guard let localBinding = localBinding(by: uplink) else {
            notices.counters.failedDials += 1
            return .refused(.dial(.networkUnreachable))
        }
        let stream = DirectStream(
            to: target, from: localBinding, for: client, address: client.address,
            source: client.source, direct)
        return .begun(stream, answersAtOnce: false)
    }

    /// What an HTTP application is told where nothing was dialled.
    func httpRefusal(_ refusal: Refusal, _ target: Target) -> HTTPRefusal {
        switch refusal {
        case .obstacle(let obstacle): obstacle.refusal
        case .rule:
            HTTPRefusal(.forbidden, "A rule of this proxy forbids connections to \(target).")
        case .dial(let status): HTTPRefusal(status, target: target, by: .proxy)
        }
    }
}
