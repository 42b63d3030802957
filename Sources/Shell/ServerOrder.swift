/// Whom a question is to be asked of next: the servers of a list in their order, the whole list so
/// many times; one that has failed is left out from then on (resolv.conf(5)).
struct ServerOrder {
    private var hasFailed: [Bool]
    private let attempts: Int
    /// The server that is waited for; nil before the first, and where all have been asked.
    private(set) var current: Int?
    private var round = 0

    /// `attempts`: how often each server is asked.
    init(servers: Int, attempts: Int) {
        hasFailed = [Bool](repeating: false, count: servers)
        self.attempts = attempts
    }

    /// Whether a server has failed rather than said nothing.
    var anyHasFailed: Bool { hasFailed.contains(true) }

    /// Moves on to the next server; nil where there is none.
    mutating func next() -> Int? {
        var server = current.map { $0 + 1 } ?? 0
        while true {
            if server >= hasFailed.count {
                server = 0
                round += 1
                guard round < attempts, hasFailed.contains(false) else {
                    current = nil
                    return nil
                }
            }
            if !hasFailed[server] {
                current = server
                return server
            }
            server += 1
        }
    }

    /// A server can't be asked, or won't say; true where it is the one that is waited for.
    mutating func failed(_ server: Int) -> Bool {
        guard hasFailed.indices.contains(server) else { return false }
        hasFailed[server] = true
        return server == current
    }
}
