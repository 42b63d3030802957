import History
import Measures
import Shell
import Tunnel

/// The sockets of the proxy's uplinks, each of which is an uplink to the engine: one for each
/// interface, or address, and family, by numbers that stay.
final class UplinkSockets {
    /// What a socket is bound to; it stays as long as that is there.
    struct Place: Equatable {
        var interface: String
        var index: Int
        var address: IPAddress
        var mtu: Int
        var since: Instant

        /// Whether a socket that stands here is right for what the system shows now.
        func isThere(in candidate: UplinkCandidate) -> Bool {
            interface == candidate.interface && index == candidate.interfaceIndex
                && mtu == candidate.mtu
                && candidate.addresses.contains(address)
        }
    }

    /// What an uplink is to the engine.
    struct Use {
        var isBackup: Bool
        var isWarm: Bool
        var consequence: UplinkMetering.Consequence
    }

    /// What came of opening one.
    enum Opening {
        /// There is one already, or there is nothing to bind it to.
        case asItWas
        case opened(Uplink)
        /// All numbers are in use.
        case tooMany
        case failed(SystemError)
    }

    /// How long an uplink may be silent while others are heard, and the datagrams it must have
    /// sent.
    static let silence = Interval.seconds(5)
    private static let minimumSent = 3

    private let driver: EngineDriver
    private var meters = UplinkMeters()
    private var numbers = UplinkNumbers()
    private var places = UplinkTable<Place>(count: UplinkNumbers.maximum)
    /// Called when a name has another number, or none.
    var numbersChanged: (() -> Void)?

    init(_ driver: EngineDriver) { self.driver = driver }

    /// Every name that has a socket, or had one until somebody else needed its number.
    var names: [String] { numbers.names }

    func name(_ number: UplinkNumber) -> String? { numbers.name(number) }

    /// The uplink's sockets, by the numbers that the engine knows them by.
    func held(_ name: String) -> [(number: UplinkNumber, isIPv4: Bool)] { numbers.held(name) }

    /// Makes the socket of one family, unless there is one that is right still.
    func open(_ candidate: UplinkCandidate, isIPv4: Bool, _ use: Use) -> Opening {
        guard let number = numbers.take(.init(name: candidate.name, isIPv4: isIPv4)) else {
            return .tooMany
        }
        if let old = places[number], driver.socket(number) != nil, old.isThere(in: candidate) {
            driver.retryUplink(number)  // a route may have come back
            return .asItWas
        }
        guard let address = candidate.addresses.first(where: { $0.isIPv4 == isIPv4 }),
            let binding = candidate.binding(isIPv4: isIPv4)
        else {
            close(number)
            return .asItWas
        }
        do throws(SystemError) {
            let socket = try DatagramSocket(binding, loop: driver.loop)
            var uplink = Uplink(
                number: number, name: candidate.name, isBackup: use.isBackup, isWarm: use.isWarm,
                datagramLimit: candidate.datagramLimit(isIPv4: isIPv4), isIPv4: isIPv4,
                address: address)
            uplink.cost = use.consequence.cost
            places[number] = Place(
                interface: candidate.interface, index: candidate.interfaceIndex,
                address: address, mtu: candidate.mtu, since: driver.now)
            numbersChanged?()
            meters.add(socket, of: candidate.name)
            driver.addUplink(uplink, socket: socket)
            driver.limitUplink(number, to: use.consequence.limit)
            return .opened(uplink)
        } catch {
            close(number)
            return .failed(error)
        }
    }

    /// The number may be given again.
    func close(_ number: UplinkNumber) {
        driver.removeUplink(number)
        places[number] = nil
        numbers.release(number)
        numbersChanged?()
    }

    // MARK: What moved

    /// What the sockets have moved since the last call, by uplink.
    func collect(_ count: (String, UsageLedger.Volume) -> Void) {
        meters.collect(open: places.indices.compactMap { driver.socket($0) }, count)
    }

    /// Nothing has come on it yet.
    func isUnheard(_ number: UplinkNumber) -> Bool {
        driver.socket(number)?.statistics.datagramsReceived ?? 0 == 0
    }

    /// It sends, others are heard, and nothing ever came on it.
    func isSilent(_ number: UplinkNumber) -> Bool {
        guard let socket = driver.socket(number), let since = places[number]?.since,
            driver.now - since >= Self.silence, socket.statistics.datagramsReceived == 0,
            socket.statistics.datagramsSent >= Self.minimumSent
        else { return false }
        return places.indices.contains { !isUnheard($0) }
    }
}
