import Measures

/// One rule: what it is about, all of which must fit, and what it has done.
public struct Rule: Equatable, Sendable {
    /// Names and ranges a flow goes to; one of them must fit.
    public struct Destinations: Equatable, Sendable {
        /// Hosts by name.
        public var names = NameList()
        /// Addresses that the rule is about.
        public var ranges = RangeList()

        /// Nowhere.
        public init() {}
    }
    /// Nil: everywhere. None in it (a list that is empty): nowhere.
    public var destinations: Destinations?
    /// Of the destination; empty: every port.
    public var ports: [ClosedRange<UInt16>] = []
    /// TCP or UDP; nil: both.
    public var transport: FlowFacts.Transport?
    /// Empty: however it came in.
    public var entries: [FlowFacts.Entry] = []
    /// Networks it comes from; empty: from everywhere.
    public var sources = RangeList()
    /// Local users by number; empty: everybody, and who is not of this machine.
    public var users: [UInt32] = []
    /// What is done.
    public var action: Action

    /// A rule about everything.
    public init(_ action: Action) { self.action = action }

    /// What is known to fit, before name and user.
    fileprivate func fitsAllBut(nameAndUser flow: FlowFacts) -> Bool {
        if let transport, transport != flow.transport { return false }
        if !ports.isEmpty, !ports.contains(where: { $0.contains(flow.target.port) }) {
            return false
        }
        if !entries.isEmpty, !entries.contains(flow.entry) { return false }
        return sources.isEmpty || sources.contains(flow.source)
    }
}

/// What a rule still has to know before it can be said whether it fits.
public enum Question: Hashable, Sendable {
    /// The name of the address that is gone to.
    case name
    /// The local user.
    case user
}

/// The rules of a proxy, in their order.
public struct RuleSet: Equatable, Sendable {
    /// The first one is number 1.
    public let rules: [Rule]

    /// No rules: everything goes through the tunnel.
    public init() { rules = [] }
    /// In their order.
    public init(_ rules: [Rule]) { self.rules = rules }

    /// The uplinks that rules keep connections to, each list once.
    public var uplinkLists: Set<[String]> {
        Set(
            rules.compactMap {
                if case .tunnel(let options) = $0.action { options.uplinks } else { nil }
            })
    }

    /// The first rule that fits decides. What is not known of a flow fits no rule that asks for it.
    public func decide(_ flow: FlowFacts) -> Decision {
        guard !rules.isEmpty else { return .standard }
        var name = LazyKey(flow.name)
        for (i, rule) in rules.enumerated() where fits(rule, flow, &name) {
            return Decision(rule: i + 1, rule.action)
        }
        return .standard
    }

    /// What must be found out before the rules can decide; nil: everything that counts is known.
    /// What `given` has is asked for no more.
    public func question(about flow: FlowFacts, given: Set<Question> = []) -> Question? {
        var name = LazyKey(flow.name)
        for rule in rules where rule.fitsAllBut(nameAndUser: flow) {
            let asksForUser = !rule.users.isEmpty && flow.user == nil && !given.contains(.user)
            if !rule.users.isEmpty, !asksForUser {
                guard let user = flow.user, rule.users.contains(user) else { continue }
            }
            if fitsDestination(rule, flow, &name) {
                if asksForUser { return .user }
                return nil
            }
            guard rule.destinations?.names.isEmpty == false, flow.name == nil,
                !given.contains(.name)
            else { continue }
            return asksForUser ? .user : .name
        }
        return nil
    }

    /// Whether all that the rules could say of a flow whose name is not known, whatever it is, is
    /// the tunnel over the same uplinks: then it can be dialled before the name is known.
    public func isTunnelledAlike(_ flow: FlowFacts) -> Bool {
        var name = LazyKey(flow.name), uplinks: Set<[String]?> = []
        for rule in rules where rule.fitsAllBut(nameAndUser: flow) {
            if let user = flow.user, !rule.users.isEmpty, !rule.users.contains(user) { continue }
            let isCertain = fits(rule, flow, &name)
            guard isCertain || flow.name == nil && rule.destinations?.names.isEmpty == false else {
                continue
            }
            guard case .tunnel(let options) = rule.action else { return false }
            uplinks.insert(options.uplinks)
            if isCertain { return uplinks.count == 1 }
        }
        uplinks.insert(nil)
        return uplinks.count == 1
    }

    private func fits(_ rule: Rule, _ flow: FlowFacts, _ name: inout LazyKey) -> Bool {
        guard rule.fitsAllBut(nameAndUser: flow) else { return false }
        if !rule.users.isEmpty {
            guard let user = flow.user, rule.users.contains(user) else { return false }
        }
        return fitsDestination(rule, flow, &name)
    }

    private func fitsDestination(
        _ rule: Rule, _ flow: FlowFacts, _ name: inout LazyKey
    ) -> Bool {
        guard let to = rule.destinations else { return true }
        if !to.ranges.isEmpty, let address = flow.address, to.ranges.contains(address) {
            return true
        }
        guard !to.names.isEmpty, let key = name.key else { return false }
        return to.names.contains(key)
    }

    /// The decision in words: which rule, and what of it fits.
    public func explain(_ flow: FlowFacts) -> Explanation {
        let decision = decide(flow)
        guard let number = decision.rule else {
            return Explanation(decision: decision, reasons: [])
        }
        let rule = rules[number - 1]
        var reasons: [String] = []
        if let to = rule.destinations {
            if let address = flow.address, let range = to.ranges.match(address) {
                reasons.append("to \(RangeList.text(range, like: address))")
            } else if let name = flow.name, let key = NameKey(name),
                let match = to.names.match(key)
            {
                let shown = match.1 == .exact ? match.name : ".\(match.name)"
                reasons.append("to \(shown)\(flow.address == nil ? "" : " (named \(name))")")
            }
        }
        if let ports = rule.ports.first(where: { $0.contains(flow.target.port) }) {
            reasons.append("port \(Self.text(ports))")
        }
        if let transport = rule.transport { reasons.append(transport.rawValue) }
        if !rule.entries.isEmpty { reasons.append("\(flow.entry)") }
        if let range = rule.sources.match(flow.source) {
            reasons.append("from \(RangeList.text(range, like: flow.source))")
        }
        if !rule.users.isEmpty, let user = flow.user { reasons.append("user \(user)") }
        return Explanation(decision: decision, reasons: reasons)
    }

    private static func text(_ ports: ClosedRange<UInt16>) -> String {
        ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    }
}

/// A decision, and why it is that one.
public struct Explanation: Hashable, Sendable {
    /// What is done.
    public var decision: Decision
    /// What of the rule fits; empty where it is about everything, or there is none.
    public var reasons: [String]
}

/// A name's hashes, made when the first rule asks for them.
private struct LazyKey {
    private enum State { case unknown(String?), known(NameKey?) }
    private var state: State
    init(_ name: String?) { state = .unknown(name) }

    var key: NameKey? {
        mutating get {
            if case .known(let key) = state { return key }
            var key: NameKey?
            if case .unknown(let name?) = state { key = NameKey(name) }
            state = .known(key)
            return key
        }
    }
}
