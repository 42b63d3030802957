import Measures
import Rules
import Shell
import Wire

/// What `braid rule` asks: what would become of a flow.
public struct RuleQuestion: Sendable {
    private var transport = FlowFacts.Transport.tcp
    private var target: Target
    private var source = IPAddress(v4: 0x7f00_0001)
    private var entry: String?
    private var name: String?
    private var user: UInt32?

    /// A question about a connection to `target`, or about datagrams.
    public init(
        _ target: Target, isUDP: Bool = false, from source: IPAddress? = nil,
        listener entry: String? = nil, name: String? = nil, user: UInt32? = nil
    ) {
        self.target = target
        transport = isUDP ? .udp : .tcp
        if let source { self.source = source.unmapped }
        self.entry = entry
        self.name = name
        self.user = user
    }

    // MARK: As words of a line

    /// For the control socket, behind the word `rule`.
    public var words: [String] {
        var out = [transport.rawValue, "\(target)", "from=\(source)"]
        if let entry { out.append("listener=\(entry)") }
        if let name { out.append("name=\(name)") }
        if let user { out.append("user=\(user)") }
        return out
    }

    /// Reads `words`; nil where they make no question.
    public init?(words: some Collection<String>, readTarget: (String) -> Target?) {
        var rest = words[...]
        guard let first = rest.popFirst(), let transport = FlowFacts.Transport(rawValue: first),
            let text = rest.popFirst(), let target = readTarget(text)
        else { return nil }
        self.transport = transport
        self.target = target
        for word in rest {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { return nil }
            switch parts[0] {
            case "from":
                guard let address = IPAddress(parts[1]) else { return nil }
                source = address.unmapped
            case "listener": entry = parts[1]
            case "name": name = parts[1]
            case "user":
                guard let number = UInt32(parts[1]) else { return nil }
                user = number
            default: return nil
            }
        }
    }

    // MARK: The answer

    /// Lines for a person: what was asked, which rule fits and why, and what is done.
    public func answer(_ settings: ProxySettings) -> String {
        let listener: ProxyListener?
        let flowEntry: FlowFacts.Entry
        switch entry {
        case "captured":
            listener = nil
            flowEntry = .captured
        case let text?:
            guard let found = settings.listeners.first(where: { "\($0.address)" == text }) else {
                let known = settings.listeners.map { "\($0.address)" } + ["captured"]
                return "\(text) is none of \(known.joined(separator: ", "))"
            }
            listener = found
            flowEntry = found.entry
        case nil:
            listener = settings.listeners.first
            flowEntry = listener?.entry ?? .captured
        }
        let flow = FlowFacts(
            transport, entry: flowEntry, source: source, target: target, knownName: name,
            user: user)
        let way =
            flowEntry == .captured
            ? "captured" : "by \(listener?.address ?? .init(source, port: 0))"
        var lines = ["\(target) (\(transport.rawValue), from \(source), \(way))"]
        let explanation = settings.rules.explain(flow)
        if let number = explanation.decision.rule {
            let why = explanation.reasons
            lines.append(
                "rule \(number)\(why.isEmpty ? ", which is about everything" : ": " + why.joined(separator: ", "))"
            )
        } else {
            lines.append("no rule fits")
        }
        lines.append(Self.text(explanation.decision.action, transport, listener, settings))
        switch settings.rules.question(about: flow) {
        case .name?: lines.append("a rule asks for the name of this address: say it with --name")
        case .user?: lines.append("a rule asks for the local user: say it with --user")
        case nil: break
        }
        return lines.joined(separator: "\n")
    }

    private static func text(
        _ action: Action, _ transport: FlowFacts.Transport, _ listener: ProxyListener?,
        _ settings: ProxySettings
    ) -> String {
        switch action {
        case .block:
            return transport == .tcp ? "block: refused at once" : "block: dropped and counted"
        case .direct(let uplink):
            return "direct: from this machine" + (uplink.map { ", by \($0)" } ?? "")
        case .tunnel(let options):
            var parts = [
                "mode \(((options.mode ?? listener?.mode)?.rawValue ?? settings.mode.rawValue))"
            ]
            if transport == .tcp {
                parts.append("open \((options.open ?? settings.open).rawValue)")
            } else {
                switch options.datagrams {
                case .off?: return "dropped: the rule says udp: off"
                case .policy(let policy)?: parts.append("udp \(policy.label)")
                case nil: parts.append("udp \((listener?.datagrams ?? .auto).label)")
                }
            }
            if let uplinks = options.uplinks {
                parts.append("by \(uplinks.joined(separator: ", ")) only")
            }
            return "tunnel: " + parts.joined(separator: ", ")
        }
    }
}
