/// The rules of a proxy, in their order.
public struct RuleSet: Sendable {
    /// No rules: everything goes through the tunnel.
    public init() {}

    /// Whether the answer depends on the local user, so that it is worth finding out.
    public var asksForUser: Bool { false }

    /// Whether the answer depends on a name, so that a captured connection's is worth waiting for.
    public var asksForName: Bool { false }

    /// The first rule that fits decides.
    public func decide(_ flow: FlowFacts) -> Decision { .standard }
}
