import Measures
import Testing

@testable import Shell

/// What a capture is told of networks and addresses; what the kernel makes of it, Tests/System
/// asks.
@Suite struct CaptureTableTests {
    private func table(_ change: (inout CapturePlan) -> Void = { _ in }) -> CaptureTable {
        var plan = CapturePlan()
        (plan.machine, plan.networks, plan.exit) = (true, ["br-lan"], .closed)
        change(&plan)
        return CaptureTable(
            plan: plan, ports: CapturePorts(), hold: .native(7),
            attached: [Subnet("192.168.7.1/24")!, Subnet("2001:db8:7::1/64")!])
    }

    @Test func answersComeFromWhereSomethingCapturedCanGo() {
        let table = table { $0.include = [Subnet("192.168.7.128/25")!] }
        for address in [
            "127.0.0.1", "192.168.7.5", "169.254.169.254", "224.0.0.251", "::1", "fe80::1",
            "2001:db8:7::9"
        ] {
            #expect(table.leavesAlone(IPAddress(address)!), "\(address)")
        }
        for address in ["192.0.2.1", "10.0.0.1", "192.168.7.200", "2001:db8:8::9"] {
            #expect(!table.leavesAlone(IPAddress(address)!), "\(address)")
        }
    }

    @Test func theKillSwitchIsThereUnderClosedAlone() {
        #expect(table().text.contains("table inet braid_closed"))
        #expect(table().update([Subnet("10.0.0.1/8")!]).contains("inet braid_closed attached4"))
        let open = table { $0.exit = .open }
        #expect(!open.text.contains("braid_closed"))
        #expect(!open.update([Subnet("10.0.0.1/8")!]).contains("braid_closed"))
    }

    @Test func whoseNameHasChangedIsStillKnown() {
        func link(_ index: Int, _ name: String) -> NetworkSnapshot.Link {
            .init(index: index, name: name, mtu: 1_500, isUp: true, isLoopback: false)
        }
        var interfaces = CapturedInterfaces(["br-lan", "br-guest"])
        var seen = interfaces.look([link(1, "lo"), link(2, "br-lan")])
        #expect(seen.names == ["br-lan", "br-guest"] && seen.numbers == [2])
        seen = interfaces.look([link(2, "old"), link(3, "br-lan"), link(4, "br-guest")])
        #expect(seen.names == ["br-lan", "br-guest", "old"] && seen.numbers == [2, 3, 4])
        seen = interfaces.look([link(4, "br-guest")])
        #expect(seen.names == ["br-lan", "br-guest"] && seen.numbers == [4])
    }

    @Test func aNeighbourIsNobodyOfThisMachine() {
        func neighbour(_ address: String, _ prefix: Int, _ own: [String] = []) -> String? {
            CaptureRoutes.neighbour(
                of: IPAddress(address)!, prefix: prefix,
                besides: Set((own + [address]).compactMap { IPAddress($0) })
            ).map { "\($0)" }
        }
        #expect(neighbour("192.168.7.1", 24) == "192.168.7.3")
        #expect(neighbour("192.168.7.254", 24) == "192.168.7.252")
        #expect(neighbour("192.168.7.1", 24, ["192.168.7.3"]) == "192.168.7.2")
        #expect(neighbour("192.168.7.1", 32) == nil && neighbour("192.168.7.1", 31) == nil)
        #expect(neighbour("fd00:7::1", 64) == "fd00:7::" && neighbour("fd00:7::1", 128) == nil)
    }
}
