import Crypto
import History
import Logging
import Measures
import Testing
import Tunnel
import Wire

@testable import Proxy
@testable import Shell

@Suite struct UplinkTests {
    // MARK: Numbers

    @Test func numbersAreGivenAgain() {
        var numbers = UplinkNumbers()
        func key(_ i: Int) -> UplinkNumbers.Key { .init(name: "ppp\(i)", isIPv4: i % 2 == 0) }
        for i in 0..<2_000 {
            let number = numbers.take(key(i))
            #expect(number != nil && number!.value < UplinkNumbers.maximum)
            #expect(numbers.number(of: key(i)) == number)
            numbers.release(number!)
            #expect(numbers.number(of: key(i)) == nil)
        }
        #expect(numbers.names.count == UplinkNumbers.maximum)
    }

    @Test func aNameThatComesBackHasItsNumber() {
        var numbers = UplinkNumbers()
        let first = numbers.take(.init(name: "wifi", isIPv4: true))!
        let second = numbers.take(.init(name: "wifi", isIPv4: false))!
        #expect(first != second)
        numbers.release(first)
        #expect(numbers.take(.init(name: "cell", isIPv4: true)) != first, "a fresh one is left")
        #expect(numbers.take(.init(name: "wifi", isIPv4: true)) == first)
    }

    @Test func whatIsBeyondTheLimitIsRefusedUntilOneIsFree() {
        var numbers = UplinkNumbers()
        for i in 0..<UplinkNumbers.maximum {
            #expect(numbers.take(.init(name: "\(i)", isIPv4: true)) == UplinkNumber(i))
        }
        #expect(numbers.take(.init(name: "more", isIPv4: true)) == nil)
        numbers.release(3)
        #expect(numbers.take(.init(name: "more", isIPv4: true)) == 3)
        numbers.release(99)
        numbers.release(-1)
    }

    // MARK: The set

    private struct Place {
        let loop: EventLoop
        let driver: EngineDriver
        let set: UplinkSet
    }

    private func place(_ uplinks: [ProxySettings.UplinkChoice] = []) throws -> Place {
        let loop = try EventLoop()
        let key = StaticKeyPair(privateKey: SystemRandom.key())
        let target = Target(host: .address(IPAddress("192.0.2.1")!), port: 443)
        var settings = ProxySettings(
            identity: key, concentrator: [target], concentratorKey: key.publicKey,
            listeners: [])
        settings.uplinks = uplinks
        let configuration = EndpointConfiguration(
            role: .proxy(concentrator: [], publicKey: key.publicKey, preSharedKey: nil),
            identity: key)
        let driver = EngineDriver(
            endpoint: Endpoint(
                configuration: configuration, seed: SystemRandom.key(),
                at: loop.now()), loop: loop)
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return Place(
            loop: loop, driver: driver,
            set: try UplinkSet(
                settings, driver: driver, log: log, reports: ProxyReports(Recorder())))
    }

    /// An uplink on the loopback, so that anybody may bind its socket.
    private func candidate(_ name: String, _ addresses: [String] = ["127.0.0.1"]) -> UplinkCandidate
    {
        UplinkCandidate(
            name: name, selector: .source(Subnet("127.0.0.0/8")!), interface: "lo",
            interfaceIndex: 1, addresses: addresses.map { IPAddress($0)! }, mtu: 1500)
    }

    private func sockets(_ place: Place) -> Int {
        (0..<EngineDriver.maximumUplinks).count { place.driver.socket(UplinkNumber($0)) != nil }
    }

    /// Tethered telephones with addresses of chance, pppN: every name is another, and there is no
    /// end of them.
    @Test func twoThousandNamesThatComeAndGo() throws {
        let place = try place()
        for i in 0..<2_000 {
            place.set.handle(.appeared(candidate("enx\(i)")))
            #expect(sockets(place) == 1)
            place.set.handle(.vanished(name: "enx\(i)"))
        }
        #expect(sockets(place) == 0 && place.set.states.count == UplinkNumbers.maximum)
    }

    @Test func tooManyAtOnceWaitForOneToVanish() throws {
        let place = try place()
        for i in 0..<2_000 { place.set.handle(.appeared(candidate("ppp\(i)"))) }
        #expect(sockets(place) == UplinkNumbers.maximum)
        for i in 0..<1_990 { place.set.handle(.vanished(name: "ppp\(i)")) }
        #expect(sockets(place) == 10)
        #expect(place.set.states.filter(\.isPresent).count == 10)
        for i in 1_990..<2_000 { place.set.handle(.vanished(name: "ppp\(i)")) }
        #expect(sockets(place) == 0)
    }

    /// A path falls with its own address only.
    @Test func anotherFamilysAddressesComeAndGo() throws {
        let place = try place()
        place.set.handle(.appeared(candidate("wifi", ["127.0.0.1"])))
        let socket = try #require(place.driver.socket(0))
        for addresses in [
            ["127.0.0.1", "::1"], ["127.0.0.1"], ["127.0.0.2", "127.0.0.1"],
            ["127.0.0.2", "127.0.0.1", "::1"]
        ] {
            place.set.handle(.changed(candidate("wifi", addresses)))
            #expect(place.driver.socket(0) === socket, "with \(addresses)")
        }
        place.set.handle(.changed(candidate("wifi", ["127.0.0.2", "::1"])))
        let other = try #require(place.driver.socket(0))
        #expect(other !== socket && other.localAddress.address == IPAddress("127.0.0.2")!)
    }

    @Test func rolesOfALivingProcess() throws {
        let place = try place([.init(.source(Subnet("127.0.0.0/8")!))])
        place.set.handle(.appeared(candidate("wifi")))
        #expect(!place.set.hasBackup)
        #expect(place.set.setRole(.backup, of: "cell") == false)
        #expect(place.set.setRole(.backup, of: "wifi") && place.set.hasBackup)
        #expect(place.set.states.map(\.isBackup) == [true])
        #expect(place.set.setRole(.off, of: "wifi") && !place.set.hasBackup && sockets(place) == 0)
        #expect(place.set.states.map(\.isOff) == [true])
        // It stays off while the interface comes and goes.
        place.set.handle(.vanished(name: "wifi"))
        place.set.handle(.appeared(candidate("wifi")))
        #expect(sockets(place) == 0)
        #expect(place.set.setRole(.regular, of: "wifi") && sockets(place) == 1)
    }
}

/// What an uplink is used for: by the settings, and by what a living process was told.
@Suite struct UplinkRoleTests {
    private func settings(backup names: [String]) -> ProxySettings {
        let key = StaticKeyPair(privateKey: SystemRandom.key())
        var settings = ProxySettings(
            identity: key, concentrator: [Target(host: .address(IPAddress("192.0.2.1")!), port: 1)],
            concentratorKey: key.publicKey, listeners: [])
        settings.uplinks = ["wifi", "cell"].map {
            .init(.interface($0), isBackup: names.contains($0))
        }
        return settings
    }

    private func candidate(_ name: String) -> UplinkCandidate {
        UplinkCandidate(
            name: name, selector: .interface(name), interface: name, interfaceIndex: 1,
            addresses: [IPAddress("192.0.2.7")!], mtu: 1500)
    }

    @Test func whatAPersonSaysHoldsUntilTheSettingsSayOtherwise() {
        var roles = UplinkRoles(UplinkChoices(settings(backup: ["cell"])))
        let cell = candidate("cell"), wifi = candidate("wifi")
        #expect(roles.role(of: "cell", cell) == .backup && roles.role(of: "wifi", wifi) == .regular)
        #expect(roles.role(of: "cell", nil) == .regular, "it is not there")
        #expect(roles.hasBackup([]), "it may come")
        let isGiven = roles.give(.off, to: "cell")
        #expect(isGiven && roles.role(of: "cell", nil) == .off)
        #expect(roles.configured(cell) == .backup && !roles.hasBackup([cell, wifi]))
        let isBackup = roles.give(.backup, to: "wifi")
        #expect(isBackup && roles.hasBackup([cell, wifi]))
        roles.forget("cell")
        #expect(roles.role(of: "cell", cell) == .backup)
        roles.choices = UplinkChoices(settings(backup: []))
        #expect(roles.role(of: "cell", cell) == .regular && roles.role(of: "wifi", wifi) == .backup)
    }

    @Test func namesThatComeAndGoFillNoTable() {
        var roles = UplinkRoles(UplinkChoices(settings(backup: [])))
        let given = (0..<1_000).count { roles.give(.off, to: "ppp\($0)") }
        #expect(given == 64)
        let again = roles.give(.regular, to: "ppp0")
        #expect(again)
    }
}
