import Buffers
import CDatagram
import Foundation
import Glibc
import Measures
import Testing

@testable import Shell

/// Runs commands of ip(8) one after the other; whether all succeeded.
private func ip(_ commands: String...) -> Bool {
    for command in commands {
        var child = pid_t()
        var words: [UnsafeMutablePointer<CChar>?] =
            (["ip"] + command.split(separator: " ").map(String.init)).map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        guard posix_spawnp(&child, "ip", nil, nil, &words, environ) == 0 else { return false }
        var status: Int32 = 0
        guard waitpid(child, &status, 0) == child, status == 0 else { return false }
    }
    return true
}

/// Runs `body` in a network namespace of its own; false where that is not permitted.
private func inNamespace(_ body: @escaping () throws -> Void) throws {
    let end = inThread { () -> Result<Void, any Error> in
        Result {
            guard braid_unshare_network() == 0 else {
                throw SystemError("unshare the network", code: EPERM)
            }
            try body()
        }
    }
    try end().get()
}

private final class Recorder {
    var seen: [String] = []
    func note(_ event: UplinkEvent) {
        switch event {
        case .appeared(let c): seen.append("+\(c.name)")
        case .changed(let c): seen.append("~\(c.name)")
        case .vanished(let name): seen.append("-\(name)")
        }
    }
    func take() -> [String] {
        defer { seen = [] }
        return seen
    }
}

@Suite struct UplinkCandidateTests {
    @Test(arguments: [(68, 0), (639, 0), (640, 1), (1500, 1)]) func aLinkTooNarrowForASegmentIsNone(
        _ mtu: Int, _ count: Int
    ) {
        var snapshot = NetworkSnapshot()
        snapshot.links = [.init(index: 2, name: "tun0", mtu: mtu, isUp: true, isLoopback: false)]
        snapshot.addresses = [
            .init(interface: 2, address: IPAddress(v4: 0x0a01_0002), isTemporary: false)
        ]
        snapshot.defaultRoutes = [.init(interface: 2, isIPv4: true)]
        for selector in [
            UplinkSelector.everyDefaultRoute, .interface("tun0"), .source(Subnet("10.1.0.0/24")!)
        ] {
            let found = UplinkMonitor.candidates(
                in: snapshot, selectors: [selector], families: (true, true))
            #expect(found.count == count)
        }
    }
}

@Suite(.enabled(if: geteuid() == 0, "network namespaces need root")) struct UplinkMonitorTests {
    /// Two veth pairs, wlan and wwan, each with an address; up and running.
    private func links() -> Bool {
        guard makeLinks() else { return false }
        // The kernel says "running" a moment after the carrier came.
        for _ in 0..<300 {
            if let links = try? Netlink.snapshot().links,
                links.count == 5,
                links.allSatisfy(\.isUp)
            {
                return true
            }
            usleep(10_000)
        }
        return false
    }

    private func makeLinks() -> Bool {
        ip(
            "link set lo up", "link add wlan type veth peer name wlanp",
            "link add wwan type veth peer name wwanp",
            "addr add 10.1.0.2/24 dev wlan", "addr add 10.2.0.2/24 dev wwan",
            "link set wlanp up", "link set wwanp up", "link set wlan up", "link set wwan up")
    }

    private func wait(
        _ loop: EventLoop, _ recorder: Recorder, _ wanted: [String],
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        _ = loop.run(until: .seconds(5)) { recorder.seen.count >= wanted.count }
        #expect(recorder.take() == wanted, sourceLocation: sourceLocation)
    }

    @Test func defaultRoutesMakeUplinks() throws {
        try inNamespace {
            try #require(self.links())
            let loop = try EventLoop(), recorder = Recorder()
            let monitor = try UplinkMonitor(selectors: [], loop: loop, handler: recorder.note)
            monitor.start()
            #expect(recorder.take() == [])
            #expect(ip("route add default via 10.1.0.1 dev wlan"))
            self.wait(loop, recorder, ["+wlan"])
            #expect(ip("route add default via 10.2.0.1 dev wwan metric 600"))
            self.wait(loop, recorder, ["+wwan"])
            #expect(
                monitor.current.map(\.addresses) == [
                    [IPAddress("10.1.0.2")!], [IPAddress("10.2.0.2")!]
                ])
            #expect(
                monitor.current[0].datagramLimit(isIPv4: true) == 1472
                    && monitor.current[0].datagramLimit(isIPv4: false) == 1452)
            // Routes go with the link, without a notification of their own.
            #expect(ip("link set wlan down"))
            self.wait(loop, recorder, ["-wlan"])
            #expect(ip("link set wlan up"))
            _ = loop.run(until: .milliseconds(50)) { false }
            #expect(recorder.take() == [])
            #expect(ip("route add default via 10.1.0.1 dev wlan"))
            self.wait(loop, recorder, ["+wlan"])
            // Carrier lost: the far end goes.
            #expect(ip("link set wwanp down"))
            self.wait(loop, recorder, ["-wwan"])
            #expect(ip("link set wwanp up"))
            self.wait(loop, recorder, ["+wwan"])
            #expect(ip("addr del 10.1.0.2/24 dev wlan"))
            self.wait(loop, recorder, ["-wlan"])
            #expect(ip("link del wwan"))
            self.wait(loop, recorder, ["-wwan"])
            monitor.stop()
        }
    }

    @Test func namedInterfacesNeedNoRoute() throws {
        try inNamespace {
            try #require(self.links())
            let loop = try EventLoop(), recorder = Recorder()
            let monitor = try UplinkMonitor(
                selectors: [.interface("wwan"), .interface("later")], loop: loop,
                handler: recorder.note)
            monitor.start()
            #expect(recorder.take() == ["+wwan"])
            #expect(
                monitor.current[0].binding(isIPv4: true)
                    == .source(
                        IPAddress("10.2.0.2")!, device: "wwan",
                        index: monitor.current[0].interfaceIndex))
            // Another address beside the first, and lifetimes: nothing to do.
            #expect(
                ip(
                    "addr add 10.2.0.3/24 dev wwan",
                    "addr change 10.2.0.2/24 dev wwan valid_lft 1000 preferred_lft 500"))
            _ = loop.run(until: .milliseconds(50)) { false }
            #expect(recorder.take() == [])
            #expect(monitor.current[0].addresses.count == 2)
            #expect(ip("addr del 10.2.0.3/24 dev wwan"))
            self.wait(loop, recorder, ["~wwan"])
            #expect(ip("link set wwan mtu 1400"))
            self.wait(loop, recorder, ["~wwan"])
            #expect(monitor.current[0].datagramLimit(isIPv4: true) == 1372)
            #expect(
                ip(
                    "link add later type veth peer name laterp", "link set laterp up",
                    "link set later up"))
            _ = loop.run(until: .milliseconds(50)) { false }
            #expect(recorder.take() == [], "up, but without an address")
            #expect(ip("addr add 10.3.0.2/24 dev later"))
            self.wait(loop, recorder, ["+later"])
            monitor.stop()
        }
    }

    @Test func sourceRangesFollowTheirAddress() throws {
        try inNamespace {
            try #require(self.links())
            let loop = try EventLoop(), recorder = Recorder()
            let monitor = try UplinkMonitor(
                selectors: [
                    .source(Subnet("10.1.0.0/16")!),
                    .source(Subnet("10.9.0.9")!)
                ],
                families: (true, false), loop: loop, handler: recorder.note)
            monitor.start()
            #expect(recorder.take() == ["+10.1.0.0/16"])
            #expect(
                monitor.current[0].binding(isIPv4: true)
                    == .source(
                        IPAddress("10.1.0.2")!, device: "wlan",
                        index: monitor.current[0].interfaceIndex))
            // The range moves to another interface.
            #expect(ip("addr del 10.1.0.2/24 dev wlan"))
            self.wait(loop, recorder, ["-10.1.0.0/16"])
            #expect(ip("addr add 10.1.0.77/24 dev wwan"))
            self.wait(loop, recorder, ["+10.1.0.0/16"])
            #expect(monitor.current[0].interface == "wwan")
            #expect(ip("addr add 10.9.0.9/32 dev wlan"))
            self.wait(loop, recorder, ["+10.9.0.9"])
            monitor.stop()
        }
    }

    @Test func ipv6AddressesCountOnceUsable() throws {
        try inNamespace {
            try #require(self.links())
            let loop = try EventLoop(), recorder = Recorder()
            let monitor = try UplinkMonitor(
                selectors: [.interface("wlan")], families: (false, true),
                loop: loop, handler: recorder.note)
            monitor.start()
            #expect(recorder.take() == [], "only link-local")
            #expect(ip("addr add 2001:db8::2/64 dev wlan nodad"))
            self.wait(loop, recorder, ["+wlan"])
            #expect(monitor.current[0].addresses == [IPAddress("2001:db8::2")!])
            monitor.stop()
        }
    }

    @Test func deviceBoundSocketsLeaveThroughTheirDevice() throws {
        try inNamespace {
            // Both links lead to the same network; the routing table alone would always choose the
            // first.
            try #require(
                self.links()
                    && ip(
                        "addr add 10.1.0.9/24 dev wlanp",
                        "route add default via 10.1.0.9 dev wlan metric 1",
                        "route add default via 10.2.0.9 dev wwan metric 9")
            )
            let loop = try EventLoop(), exchange = DatagramExchange()
            let socket = try DatagramSocket(.device("wwan", isIPv4: true), loop: loop)
            let batch = DatagramBatch()
            memset(batch.reserve(lane: 0)!, 1, 100)
            batch.commit(
                lane: 0, length: 100, uplink: 0, remote: SocketAddress("192.0.2.1:9")!,
                local: .unspecifiedV4)
            let before = self.packets("wwan")
            #expect(ip("neigh add 10.2.0.9 lladdr 02:00:00:00:00:09 dev wwan"))
            #expect(exchange.send(batch, uplink: 0, through: socket) == .sent)
            usleep(20_000)
            #expect(self.packets("wwan") > before)
            #expect(ip("link set wwan down"))
            #expect(
                exchange.send(batch, uplink: 0, through: socket) == .uplinkFailed(ENETUNREACH)
                    || exchange.send(batch, uplink: 0, through: socket) == .uplinkFailed(ENETDOWN))
            #expect(ip("link del wwan"))
            guard case .uplinkFailed = exchange.send(batch, uplink: 0, through: socket) else {
                Issue.record("a deleted device takes datagrams")
                return
            }
        }
    }

    /// No IP fragment ever leaves: what the interface does not take is told, one by one and in
    /// runs.
    @Test(arguments: [1, 3]) func whatIsTooLongIsToldAndNotFragmented(datagrams: Int) throws {
        try inNamespace {
            try #require(
                self.links()
                    && ip(
                        "link set wlan mtu 1280",
                        "neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev wlan")
            )
            let loop = try EventLoop(), exchange = DatagramExchange()
            let socket = try DatagramSocket(.device("wlan", isIPv4: true), loop: loop)
            let batch = DatagramBatch(), remote = SocketAddress("10.1.0.9:9")!
            func put(_ size: Int) {
                memset(batch.reserve(lane: 0)!, 1, size)
                batch.commit(
                    lane: 0, length: size, uplink: 0, remote: remote, local: .unspecifiedV4)
            }
            for _ in 0..<datagrams { put(1400) }
            let before = self.packets("wlan")
            #expect(exchange.send(batch, uplink: 0, through: socket) == .sent)
            let told = exchange.takeTooLong()
            #expect(told.map(\.bytes) == [1400] && told.map(\.remote) == [remote])
            #expect(exchange.takeTooLong().isEmpty)
            #expect(socket.statistics.datagramsSent == 0 && self.packets("wlan") == before)
            batch.removeAll()
            for _ in 0..<datagrams { put(1252) }
            #expect(exchange.send(batch, uplink: 0, through: socket) == .sent)
            #expect(socket.usesSegmentation && socket.statistics.datagramsSent == datagrams)
        }
    }

    private func packets(_ interface: String) -> Int {
        // The calling thread's namespace, not the process's.
        let text = (try? String(contentsOfFile: "/proc/thread-self/net/dev", encoding: .utf8)) ?? ""
        for line in text.split(separator: "\n") where line.contains("\(interface):") {
            let fields = line.split(whereSeparator: { $0 == " " || $0 == ":" })
            return Int(fields[10]) ?? -1  // transmitted packets
        }
        return -1
    }
}
