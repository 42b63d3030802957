import Measures

/// How often associations of captured datagrams may begin: each opens a connection through the
/// tunnel, so that who tries every port, or speaks in many names, must not fill it. Programs of
/// this machine and clients of its networks have a pace each: who speaks in many names of a network
/// is in no program's way.
struct AssociationPace {
    /// Of one source, at once and then a second.
    private static let burstOfSource = 480.0
    private static let rateOfSource = 200.0
    /// Of all of a kind.
    private static let burst = 960.0
    private static let rate = 400.0
    /// Sources whose pace is known; further ones share what all have.
    private static let maximumSources = 1_024

    private var programs = TokenBucket(rate: rate, burst: burst)
    private var clients = TokenBucket(rate: rate, burst: burst)
    private var sources: [IPAddress: TokenBucket] = [:]

    /// Whether one more may begin; `isProgram`: of this machine.
    mutating func take(_ source: IPAddress, isProgram: Bool, at now: Instant) -> Bool {
        var own =
            sources[source] ?? TokenBucket(rate: Self.rateOfSource, burst: Self.burstOfSource)
        guard own.level(at: now) >= 1,
            isProgram ? programs.take(at: now) : clients.take(at: now)
        else { return false }
        own.spend(1)
        if sources[source] != nil || sources.count < Self.maximumSources { sources[source] = own }
        return true
    }

    /// Forgets sources that have all they may have.
    mutating func forgetRested(at now: Instant) {
        for (source, bucket) in sources {
            var bucket = bucket
            if bucket.level(at: now) >= bucket.burst { sources[source] = nil }
        }
    }
}
