import Buffers
import Measures
import Multipath
import Wire

/// What may change of an endpoint while it lives: users and limits.
extension Endpoint {
    /// Concentrator: these may open sessions from now on. The sessions of one who is not among
    /// them, or whose name or pre-shared key is another, end at once, and their proxies are told.
    public func setUsers(_ list: [EndpointConfiguration.User], at now: Instant) {
        precondition(!isProxy)
        for user in users.removeAll(besides: list) { endSessions(of: user, at: now) }
        for user in list { admit(user, at: now) }
    }

    /// A key that is there already is left as it is.
    func admit(_ user: EndpointConfiguration.User, at now: Instant) {
        users.add(
            user, memory: MemoryShare(of: memory, maximum: configuration.memoryPerUser),
            flows: SharedLimit(configuration.maximumFlowsPerUser), wallClock: wallClock(at: now))
    }

    private func endSessions(of user: UserState, at now: Instant) {
        forgetPending { $0.user === user }
        for slot in user.sessions {
            guard let session = sessions[slot] else { continue }
            session.sendClose(.removed, at: now)
            end(session, .userRemoved, at: now)
        }
    }

    /// Takes the limits and what connections are made with from `changed`; its role, keys, mode and
    /// times of keys are left as they were. Living connections keep what they were made with, and
    /// nobody loses what a smaller limit would not give them any more.
    public func reconfigure(_ changed: EndpointConfiguration, at now: Instant) {
        var configuration = host.configuration
        configuration.connection = changed.connection
        configuration.maximumConnections = changed.maximumConnections
        configuration.maximumConnectionsPerUser = changed.maximumConnectionsPerUser
        configuration.maximumHalfOpenPerUser = changed.maximumHalfOpenPerUser
        configuration.maximumSessionsPerUser = changed.maximumSessionsPerUser
        configuration.maximumFlowsPerUser = changed.maximumFlowsPerUser
        configuration.memory = changed.memory
        configuration.memoryPerUser = changed.memoryPerUser
        configuration.joinsFirstAddress = changed.joinsFirstAddress
        configuration.sessionSilence = changed.sessionSilence
        configuration.backlogTime = changed.backlogTime
        host.configuration = configuration.inSession
        memory.limit = configuration.memory
        for user in users {
            user.memory.maximum = configuration.memoryPerUser
            user.flows.limit = configuration.maximumFlowsPerUser
        }
        // The time a silent session has left may be another.
        for case let session? in sessions where !session.isClosing {
            if isProxy { session.setBacklogTime(changed.backlogTime, at: now) }
            session.timersChanged()
        }
    }
}

extension EndpointConfiguration {
    /// With what only the segments of a session have.
    var inSession: EndpointConfiguration {
        var configuration = self
        configuration.connection.framing = .sealed
        configuration.connection.subflow.earlyData = true
        configuration.connection.aidsHandover = signaling == .reliable
        configuration.connection.subflow.minimumSegmentSize = Limits.minimumSegmentSize
        configuration.connection.subflow.maximumSegmentSize = DatagramSizes.segmentSize(
            datagramLimit: 1472)
        // A SYN can't be cut in two: it is never longer than what every path takes.
        configuration.connection.subflow.openingLimit = DatagramSizes.segmentSize(
            datagramLimit: DatagramSizes.baseDatagram(isIPv4: false))
        return configuration
    }
}
