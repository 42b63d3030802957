import Dialogue
import Measures
import Rules
import Shell
import Tunnel
import Wire

// The one place where it is decided what becomes of a request, however it came in, and where that
// is begun.
extension ProxyServer {
    /// What the rules say of a flow of `client`'s.
    func decide(
        _ transport: FlowFacts.Transport, _ target: Target, knownName: String? = nil,
        for client: ClientConnection
    ) -> Decision {
        settings.rules.decide(
            FlowFacts(
                transport, entry: client.listener.entry, source: client.address, target: target,
                knownName: knownName ?? nameAskedFor(target, by: client.address)))
    }

    /// The name by whose answer the client got to know a target that is an address.
    func nameAskedFor(_ target: Target, by client: IPAddress) -> String? {
        guard case .address(let address) = target.host else { return nil }
        return names.name(of: address, askedBy: client)
    }

    /// Begins to connect `client` to `target`, in whatever way the rules say. `knownName`: of a
    /// target that is an address, where something told it.
    func begin(
        _ target: Target, knownName: String? = nil, for client: ClientConnection
    ) -> Beginning {
        let decision = decide(.tcp, target, knownName: knownName, for: client)
        switch decision.action {
        case .tunnel(let options): return tunnel(target, options, for: client)
        case .direct, .block: return .refused(.rule(decision.rule ?? 0))
        }
    }

    private func tunnel(
        _ target: Target, _ options: TunnelOptions, for client: ClientConnection
    ) -> Beginning {
        if let obstacle {
            turnedAway(obstacle)
            return .refused(.obstacle(obstacle))
        }
        let handle = driver.endpoint.open(
            target, mode: options.mode ?? client.listener.mode, at: loop.now())
        handle.owner = client
        driver.kick()
        let open = options.open ?? settings.open
        return .begun(
            EngineStream(handle, driver: driver), answersAtOnce: open.answersAtOnce(target))
    }

    /// What an HTTP application is told.
    func httpRefusal(_ refusal: Refusal, _ target: Target) -> HTTPRefusal {
        switch refusal {
        case .obstacle(let obstacle): obstacle.refusal
        case .rule:
            HTTPRefusal(.forbidden, "A rule of this proxy forbids connections to \(target).")
        }
    }
}
