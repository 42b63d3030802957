import Glibc

/// How many descriptors the connections of others may take, so that some are left for what the
/// process needs itself: another uplink's socket, a name server's, files that are read again, the
/// control socket.
public enum DescriptorLimit {
    static let spare = 48

    /// Every connection takes a descriptor; the soft limit of 1,024 is of another age. As far as
    /// the hard limit lets it be.
    public static func raise() {
        var limit = rlimit()
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(files, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(files, &limit)
    }

    /// Descriptors below this number may be connections'.
    public static var forConnections: Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return 1024 - spare
        }
        return forConnections(of: Int(clamping: limit.rlim_cur))
    }

    /// Sockets of associations leave some to connections, so that who asks for one more hears why
    /// there is none.
    static let keptFromRelays = 16
    static var forRelays: Int { forConnections - min(keptFromRelays, forConnections / 8) }

    /// Connections with one descriptor each that fit beside what a process has open anyway (some
    /// two dozen).
    public static var maximumConnections: Int {
        let all = forConnections
        return max(1, all - min(spare, all / 2))
    }

    static func forConnections(of limit: Int) -> Int { limit - min(spare, limit / 2) }
}
