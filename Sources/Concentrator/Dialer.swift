import Measures
import Shell

/// What dials have in common.
final class Dialer: DialContext {
    private var policy: EgressPolicy
    private var personal: [String: EgressRules]
    private let local: LocalAddresses

    /// `personal`: the rules of those users who have some.
    init(
        loop: EventLoop, policy: EgressPolicy, personal: [String: EgressRules] = [:],
        timeout: Interval, dials: Turns.Limits = Turns.Limits(inAll: 4_096, perUser: 512),
        lookUps: Turns.Limits = Turns.Limits(inAll: 480, perUser: 64),
        resolver: Resolver? = nil
    ) throws(SystemError) {
        self.policy = policy
        self.personal = personal
        local = LocalAddresses(loop: loop)
        try super.init(
            loop: loop, resolver: resolver, timeout: timeout, dials: Turns(dials),
            lookUps: Turns(lookUps))
    }

    /// For dials from now on, and for datagrams whose last verdict is over.
    func change(
        policy: EgressPolicy, personal: [String: EgressRules], timeout: Interval,
        dials: Turns.Limits, lookUps: Turns.Limits
    ) {
        self.policy = policy
        self.personal = personal
        self.timeout = timeout
        self.dials.limits = dials
        self.lookUps.limits = lookUps
    }

    /// How often this machine's addresses have changed: what was judged before is judged anew.
    var addressChanges: Int { local.changes }

    /// What holds for the user at this moment.
    func policy(for user: String) -> EgressPolicy {
        var policy = policy
        policy.own += local.ranges
        if let rules = personal[user] { policy.personal = rules }
        return policy
    }

    override func judge(for user: String) -> DialJudge {
        let policy = policy(for: user)
        return { policy.allows($0, port: $1) }
    }
}
