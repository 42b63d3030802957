import Measures
import Shell
import Tunnel

/// What connections that may use some uplinks only are given: made once for each such list of the
/// rules, and kept up to date as uplinks come and go.
final class UplinkRestrictions {
    private var made: [[String]: UplinkRestriction] = [:]
    private let driver: EngineDriver
    /// Those by which the engine knows an uplink now.
    private let numbers: (String) -> [UplinkNumber]

    init(_ driver: EngineDriver, numbers: @escaping (String) -> [UplinkNumber]) {
        self.driver = driver
        self.numbers = numbers
    }

    subscript(names: [String]) -> UplinkRestriction {
        if let known = made[names] { return known }
        let restriction = UplinkRestriction()
        made[names] = restriction
        apply(restriction, names)
        return restriction
    }

    private func apply(_ restriction: UplinkRestriction, _ names: [String]) {
        driver.endpoint.restrict(restriction, to: names.flatMap(numbers), at: driver.now)
    }

    /// Uplinks came, or their numbers are others.
    func renew() {
        for (names, restriction) in made { apply(restriction, names) }
    }

    /// Forgets lists that are none of these, but for what living connections still have.
    func keep(_ lists: Set<[String]>) {
        for names in made.keys where !lists.contains(names) {
            guard var restriction = made.removeValue(forKey: names) else { continue }
            if !isKnownUniquelyReferenced(&restriction) { made[names] = restriction }
        }
    }
}
