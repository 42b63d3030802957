import Measures
import Multipath
import Testing
import Wire

@testable import Tunnel

/// A user with valid keys gives out somebody else's address for his own, with a download and an
/// association's datagrams under way: nobody there gets more than three times what was sent in his
/// name (RFC 9000 sections 8.1 and 9.3), at no time.
@Suite struct ReflectionTests {
    /// How his paths come to lead there.
    enum Way: CaseIterable, Sendable {
        /// All his datagrams come from there; what goes to his own address reaches him still.
        case moves
        /// The same, and he is not heard of at his own address any more.
        case leaves
        /// He closes each path, and opens it again from there.
        case reopens
        /// Every datagram comes from another port there.
        case changesPorts
    }

    /// What was sent in the victim's name and what he got, by port.
    private final class Ledger {
        private static let victim = IPAddress(v4: 0xc633_6464)  // 198.51.100.100
        private var received: [UInt16: Int] = [:], sent: [UInt16: Int] = [:]
        private(set) var excess: String?
        private var count: UInt16 = 0
        var total: Int { sent.values.reduce(0, +) }

        /// The next datagram's source.
        func source(uplink: Int, changes: Bool) -> SocketAddress {
            count &+= 1
            return SocketAddress(
                Self.victim, port: changes ? 1_000 + count % 300 : 1_000 + UInt16(uplink))
        }
        func came(_ bytes: Int, from address: SocketAddress) {
            received[address.port, default: 0] += bytes
        }
        func went(_ bytes: Int, to address: SocketAddress) {
            guard address.address == Self.victim else { return }
            let got = received[address.port] ?? 0, all = sent[address.port, default: 0] + bytes
            sent[address.port] = all
            if all > 3 * got {
                excess = excess ?? "\(all) bytes for \(got) to port \(address.port)"
            }
        }
    }

    @Test(arguments: Way.allCases, [HandoverMode.full, .backup, .single])
    func nobodyElseIsFlooded(_ way: Way, _ mode: HandoverMode) throws {
        let world = World(seed: 41, mode: mode, backup: mode == .full ? nil : 1)
        let near = world.proxy.openAssociation(policy: .auto, at: world.now)
        world.run(.seconds(1)) { world.associations.count == 2 }
        let far = try #require(world.associations.first { $0 !== near })
        world.open(port: 60_000)
        flood(world, far, for: .seconds(1))
        let ledger = Ledger()
        world.strayed = { ledger.went($1.count, to: $0) }
        world.filter = { [unowned world] toProxy, uplink, bytes in
            if toProxy { return way == .moves || way == .changesPorts }
            let source = ledger.source(uplink: uplink, changes: way == .changesPorts)
            ledger.came(bytes.count, from: source)
            world.inject(bytes, toProxy: false, uplink: 0, from: source)
            return false
        }
        if way == .reopens {
            for number in 0..<2 {
                world.proxy.removeUplink(UplinkNumber(number), at: world.now)
                flood(world, far, for: .milliseconds(20))
                world.proxy.addUplink(
                    Uplink(
                        number: UplinkNumber(number), name: "up\(number)",
                        isBackup: mode != .full && number == 1), at: world.now)
                flood(world, far, for: .milliseconds(200))
            }
        }
        flood(world, far, for: .seconds(3))
        #expect(ledger.excess == nil)
        #expect(ledger.total > 0, "nothing was sent there: the test shows nothing")
    }

    /// The association's server sends 9.6 Mbit/s.
    private func flood(_ world: World, _ far: StreamHandle, for time: Interval) {
        let source = Target(host: .address(IPAddress(v4: 0xc000_0207)), port: 4_000)
        let payload = [UInt8](repeating: 0x55, count: 1_200), end = world.now + time
        while world.now < end {
            payload.withUnsafeBytes {
                _ = world.concentrator.send($0, on: far, to: source, at: world.now)
            }
            world.run(.milliseconds(1))
        }
    }
}
