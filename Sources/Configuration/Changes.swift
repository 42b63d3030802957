import Concentrator
import Crypto
import Measures
import Proxy
import Shell
import Tunnel

/// What a configuration that was read anew has other than the one a program runs with, as a value:
/// made before anything is done, and said when it is.
public struct ConfigurationChanges: Equatable, Sendable {
    /// One key of the file, and what is different.
    public struct Change: Equatable, Sendable, CustomStringConvertible {
        /// As the file has it: `listen`, `limits.memory`.
        public var key: String
        /// Empty where the key says enough; else without a full stop.
        public var what: String
        public var description: String { what.isEmpty ? key : "\(key): \(what)" }
    }
    /// What the running program takes over.
    public private(set) var applied: [Change] = []
    /// Keys that only a start reads: the program goes on with what they said before.
    public private(set) var needRestart: [String] = []

    /// Nothing is different.
    public var isEmpty: Bool { applied.isEmpty && needRestart.isEmpty }

    /// A line for each change, in the order of the documentation's keys.
    public var lines: [String] {
        if isEmpty { return ["nothing has changed"] }
        return applied.map(\.description)
            + needRestart.map { "\($0): takes a restart, until then it is as it was" }
    }

    // MARK: Comparing

    fileprivate mutating func note(_ key: String, _ what: String = "", if isDifferent: Bool) {
        if isDifferent { applied.append(Change(key: key, what: what)) }
    }

    fileprivate mutating func compare<Value: Equatable>(
        _ key: String, _ old: Value, _ new: Value, as text: (Value) -> String
    ) {
        note(key, "\(text(new)), was \(text(old))", if: old != new)
    }

    /// Gives `new` what `old` has at `path`: nothing else can be done while the program runs.
    fileprivate mutating func keep<Root, Value: Equatable>(
        _ key: String, _ path: WritableKeyPath<Root, Value>, of old: Root, in new: inout Root
    ) {
        guard old[keyPath: path] != new[keyPath: path] else { return }
        new[keyPath: path] = old[keyPath: path]
        if !needRestart.contains(key) { needRestart.append(key) }
    }

    fileprivate mutating func compare(
        _ key: String, added: [String], removed: [String], changed: [String], removal: String = ""
    ) {
        let parts =
            added.map { "\($0) added" } + removed.map { "\($0) removed\(removal)" }
            + changed.map { "\($0) changed" }
        note(key, parts.joined(separator: ", "), if: !parts.isEmpty)
    }
}

extension Configuration {
    /// What a program with this configuration changes for `new`, and the configuration that it then
    /// has: `new`, but for what takes a restart. Nil where they are of two kinds.
    public func changes(
        to new: Configuration
    ) -> (changes: ConfigurationChanges, configuration: Configuration)? {
        switch (self, new) {
        case (.proxy(let old), .proxy(let new)):
            let (changes, configuration) = old.changes(to: new)
            return (changes, .proxy(configuration))
        case (.concentrator(let old), .concentrator(let new)):
            let (changes, configuration) = old.changes(to: new)
            return (changes, .concentrator(configuration))
        default: return nil
        }
    }
}

extension ConfigurationChanges {
    fileprivate mutating func compare(
        _ old: ProgramConfiguration, _ new: inout ProgramConfiguration
    ) {
        compare("log_level", old.logLevel, new.logLevel, as: \.rawValue)
        keep("log_format", \.logFormat, of: old, in: &new)
        keep("history", \.history, of: old, in: &new)
        keep("status", \.status, of: old, in: &new)
        keep("control", \.control, of: old, in: &new)
        keep("user", \.user, of: old, in: &new)
    }
}

extension ProxyConfiguration {
    /// The limits of `limits:`, each as it is said.
    private var limits: [(key: String, value: String)] {
        [
            ("connections", "\(settings.maximumClients)"), ("memory", "\(settings.memory)"),
            ("dials", "\(settings.direct.dials.inAll)"),
            ("dials_per_user", "\(settings.direct.dials.perUser)"),
            ("lookups", "\(settings.direct.lookUps.inAll)"),
            ("lookups_per_user", "\(settings.direct.lookUps.perUser)"),
            ("send_buffer", "\(settings.connection.sendLimit)"),
            ("receive_window", "\(settings.connection.receiveLimit)"),
            ("drain", settings.drain.inSeconds), ("dialogue", settings.clients.dialogue.inSeconds),
            ("idle_body", settings.clients.idleBody.inSeconds),
            ("unauthenticated", "\(settings.clients.unauthenticated)")
        ]
    }

    func changes(to new: ProxyConfiguration) -> (ConfigurationChanges, ProxyConfiguration) {
        var changes = ConfigurationChanges(), kept = new
        let old = settings, now = new.settings
        changes.compare(
            "concentrator.address", old.concentrator, now.concentrator,
            as: { $0.map(\.description).joined(separator: " ") })
        changes.compareListeners(old.listeners, now.listeners)
        changes.compare("mode", old.mode, now.mode, as: \.rawValue)
        changes.compare(
            "idle_hint", old.idleHint, now.idleHint, as: { $0?.rawValue ?? "as it is without" })
        changes.compare("open", old.open, now.open, as: \.rawValue)
        changes.compareUplinks(old.uplinks, now.uplinks)
        changes.compare("cost", old.cost, now.cost, as: \.rawValue)
        changes.compare("patience", old.backlogTime, now.backlogTime, as: \.inSeconds)
        changes.note("names", if: old.names != now.names)
        changes.note("rules", "\(now.rules.rules.count) of them", if: old.rules != now.rules)
        changes.compare(
            "without_session", old.withoutSession, now.withoutSession, as: \.rawValue)
        changes.compare(
            "udp_relay", old.relayAddress, now.relayAddress,
            as: { $0.map(\.description) ?? "none" })
        changes.compare(
            "congestion", old.connection.subflow.congestion, now.connection.subflow.congestion,
            as: \.rawValue)
        for (before, after) in zip(limits, new.limits) {
            changes.compare("limits.\(before.key)", before.value, after.value, as: { $0 })
        }
        changes.compare(program, &kept.program)
        changes.keep("private_key_file", \.settings.identity, of: self, in: &kept)
        changes.keep("concentrator.public_key", \.settings.concentratorKey, of: self, in: &kept)
        changes.keep(
            "concentrator.pre_shared_key_file", \.settings.preSharedKey, of: self, in: &kept)
        changes.keep("capture", \.settings.capture, of: self, in: &kept)
        changes.keep("pcap", \.settings.pcap, of: self, in: &kept)
        // Something that is compared nowhere above is taken over all the same.
        changes.note("other settings", if: changes.isEmpty && self != new)
        return (changes, kept)
    }
}

extension ConfigurationChanges {
    fileprivate mutating func compareListeners(_ old: [ProxyListener], _ new: [ProxyListener]) {
        let before = old.map(\.address), after = new.map(\.address)
        compare(
            "listen", added: after.filter { !before.contains($0) }.map(\.description),
            removed: before.filter { !after.contains($0) }.map(\.description),
            changed: new.filter { listener in
                old.contains { $0.address == listener.address && $0 != listener }
            }.map(\.address.description))
    }

    fileprivate mutating func compareUplinks(
        _ old: [ProxySettings.UplinkChoice], _ new: [ProxySettings.UplinkChoice]
    ) {
        let before = old.map(\.selector), after = new.map(\.selector)
        compare(
            "uplinks", added: after.filter { !before.contains($0) }.map(\.description),
            removed: before.filter { !after.contains($0) }.map(\.description),
            changed: new.filter { uplink in
                old.contains { $0.selector == uplink.selector && $0 != uplink }
            }.map(\.selector.description))
    }
}

extension ConcentratorConfiguration {
    /// The limits of `limits:`, each as it is said.
    private var limits: [(key: String, value: String)] {
        [
            ("connections", "\(settings.maximumConnections)"),
            ("connections_per_user", "\(settings.maximumConnectionsPerUser)"),
            ("half_open_per_user", "\(settings.maximumHalfOpenPerUser)"),
            ("sessions_per_user", "\(settings.maximumSessionsPerUser)"),
            ("memory", "\(settings.memory)"), ("memory_per_user", "\(settings.memoryPerUser)"),
            ("dials", "\(settings.dials.inAll)"), ("dials_per_user", "\(settings.dials.perUser)"),
            ("lookups", "\(settings.lookUps.inAll)"),
            ("lookups_per_user", "\(settings.lookUps.perUser)"),
            ("associations_per_user", "\(settings.datagrams.associationsPerUser)"),
            ("datagrams_per_user", "\(settings.datagrams.perUser)"),
            ("questions_per_user", "\(settings.names.perUser)"),
            ("flows_per_user", "\(settings.datagrams.flowsPerUser)"),
            ("send_buffer", "\(settings.connection.sendLimit)"),
            ("receive_window", "\(settings.connection.receiveLimit)"),
            ("session", settings.sessionSilence.inSeconds), ("drain", settings.drain.inSeconds)
        ]
    }

    func changes(
        to new: ConcentratorConfiguration
    ) -> (ConfigurationChanges, ConcentratorConfiguration) {
        var changes = ConfigurationChanges(), kept = new
        let old = settings, now = new.settings
        changes.compare(
            "announce", old.announce, now.announce,
            as: { $0.isEmpty ? "none" : $0.map(\.description).joined(separator: " ") })
        changes.compare(
            "join_first_address", old.joinsFirstAddress, now.joinsFirstAddress, as: \.description)
        changes.compareUsers(old, now)
        changes.note("users_directory", if: usersDirectory?.path != new.usersDirectory?.path)
        changes.note("public_address", if: publicAddress != new.publicAddress)
        changes.note("egress", if: old.egress != now.egress)
        changes.compare(
            "udp_filtering", old.datagrams.filtering, now.datagrams.filtering, as: \.rawValue)
        changes.compare("dial_timeout", old.dialTimeout, now.dialTimeout, as: \.inSeconds)
        changes.compare(
            "congestion", old.connection.subflow.congestion, now.connection.subflow.congestion,
            as: \.rawValue)
        for (before, after) in zip(limits, new.limits) {
            changes.compare("limits.\(before.key)", before.value, after.value, as: { $0 })
        }
        changes.compare(program, &kept.program)
        changes.keep("listen", \.settings.listen, of: self, in: &kept)
        changes.keep("private_key_file", \.settings.identity, of: self, in: &kept)
        changes.keep("pcap", \.settings.pcap, of: self, in: &kept)
        changes.note("other settings", if: changes.isEmpty && self != new)
        return (changes, kept)
    }
}

extension ConfigurationChanges {
    fileprivate mutating func compareUsers(
        _ old: ConcentratorSettings, _ new: ConcentratorSettings
    ) {
        var before: [String: EndpointConfiguration.User] = [:]
        for user in old.users { before[user.name] = user }
        let names = Set(new.users.map(\.name))
        let changed = new.users.filter { user in
            guard let known = before[user.name] else { return false }
            return known != user || old.userEgress[user.name] != new.userEgress[user.name]
                || old.usersWithoutNames.contains(user.name)
                    != new.usersWithoutNames.contains(user.name)
                || old.invitations[user.name] != new.invitations[user.name]
        }
        compare(
            "users", added: new.users.map(\.name).filter { before[$0] == nil },
            removed: old.users.map(\.name).filter { !names.contains($0) },
            changed: changed.map(\.name), removal: " with its sessions")
    }
}

extension Interval {
    fileprivate var inSeconds: String { "\(seconds) s" }
}
