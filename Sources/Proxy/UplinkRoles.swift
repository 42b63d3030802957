import Measures
import Shell

/// What an uplink is used for.
public enum UplinkRole: String, CaseIterable, Sendable {
    /// Carries data in every mode.
    case regular
    /// In backup mode only where no regular one works.
    case backup
    /// Not at all.
    case off
}

/// The roles of uplinks: those of the settings, and those that a living process was given since.
struct UplinkRoles {
    /// Roles of their own that uplinks may have been given, absent ones included.
    private static let maximumGiven = 64

    var choices: UplinkChoices
    /// By name (`braid uplink`).
    private var given: [String: UplinkRole] = [:]

    init(_ choices: UplinkChoices) { self.choices = choices }

    /// Nil: the uplink is not there.
    func configured(_ candidate: UplinkCandidate?) -> UplinkRole {
        candidate.map { choices.backup.contains($0.selector) } ?? false ? .backup : .regular
    }

    /// Of the uplink of this name, as which `candidate` is there, or nothing.
    func role(of name: String, _ candidate: UplinkCandidate?) -> UplinkRole {
        given[name] ?? configured(candidate)
    }

    /// Whether some uplink has the role, present or not.
    func hasBackup(_ present: some Sequence<UplinkCandidate>) -> Bool {
        if given.values.contains(.backup) { return true }
        guard !choices.backup.isEmpty else { return false }
        // Those of the configuration, as far as they were not given another role meanwhile.
        let others = present.filter {
            choices.backup.contains($0.selector) && given[$0.name] != nil
        }
        return others.count < choices.backup.count
    }

    /// The uplink has this role from now on. False where too many have one of their own.
    mutating func give(_ role: UplinkRole, to name: String) -> Bool {
        guard given[name] != nil || given.count < Self.maximumGiven else { return false }
        given[name] = role
        return true
    }

    /// The uplink's role is that of the settings again.
    mutating func forget(_ name: String) { given[name] = nil }
}

extension ProxySettings {
    /// What uplinks are looked for by.
    public var uplinkSelectors: [UplinkSelector] { UplinkChoices(self).selectors }
}

/// Which uplinks a proxy's settings mean, and as what.
struct UplinkChoices {
    private(set) var selectors: [UplinkSelector]
    private(set) var backup: Set<UplinkSelector>
    private(set) var warm: Set<UplinkSelector>

    init(_ settings: ProxySettings) {
        let isAutomatic = settings.uplinks.isEmpty
        selectors = isAutomatic ? [.everyDefaultRoute] : settings.uplinks.map(\.selector)
        backup = Set(settings.uplinks.filter(\.isBackup).map(\.selector))
        warm = Set(settings.uplinks.filter(\.isWarm).map(\.selector))
        // A concentrator on this machine is reached by no interface with a default route.
        let addresses = settings.concentrator.map(\.socketAddress)
        if isAutomatic, addresses.allSatisfy({ $0?.address.isLoopback == true }) {
            let isIPv4 = addresses[0]?.address.isIPv4 == true
            selectors = Subnet(isIPv4 ? "127.0.0.1" : "::1").map { [.source($0)] } ?? []
        }
    }
}
