import Concentrator
import Dialogue
import Foundation
import Measures
import Proxy
import Shell
import Testing
import Wire

@testable import Configuration

@Suite struct ReadingTests {
    @Test func smallestProxyHasTheDefaults() throws {
        let configuration = try Scratch().proxy(goodProxy), proxy = configuration.settings
        #expect(proxy.concentrator == [Target(hostAndPort: "203.0.113.7:443")!])
        #expect(proxy.concentratorKey.base64 == Scratch.publicKey(2))
        #expect(proxy.preSharedKey == nil)
        #expect(proxy.listeners.map(\.address) == [SocketAddress("127.0.0.1:1080")!])
        #expect(proxy.listeners[0].credentials == nil)
        #expect(proxy.mode == .full)
        #expect(proxy.open == .auto)
        #expect(proxy.uplinks.isEmpty)
        #expect(configuration.program.status == nil)
        #expect(configuration.program.logLevel == .info)
        #expect(proxy.maximumClients == 20_000)
        #expect(proxy.identity.publicKey.base64 == Scratch.publicKey(1))
        #expect(proxy.connection.sendLimit == 16 << 20)
    }

    @Test func everyKeyOfAProxy() throws {
        let scratch = Scratch()
        scratch.key(9, in: "shared.key")
        let configuration = try scratch.proxy(
            """
            concentrator:
              address: ["[2001:db8::7]:8443", "braid.example.net", 203.0.113.7]
              public_key: "\(Scratch.publicKey(2))"
              pre_shared_key_file: shared.key
            private_key_file: \(scratch.folder)/own.key
            listen:
              - mixed://127.0.0.1:1080
              - "mixed://bob:s%40cr%3At@0.0.0.0:8080/"
              - mixed://localhost:1081?mode=single&scheduler=redundant
              - "[::1]:1080"
            mode: backup
            open: checked
            uplinks:
              - { interface: wlan0 }
              - { address: 192.168.7.0/24, role: backup, warm: true }
              - { address: "2001:db8::5", role: regular }
            status: 127.0.0.1:9090
            control: run/braid.sock
            log_level: debug
            pcap: inside.pcap
            congestion: newreno
            limits: { connections: 1_000, send_buffer: 4 MiB, receive_window: 1048576, drain: 500ms }
            """)
        let proxy = configuration.settings
        #expect(
            proxy.concentrator.map(\.description) == [
                "[2001:db8::7]:8443", "braid.example.net:443", "203.0.113.7:443"
            ])
        #expect(proxy.preSharedKey == Scratch.privateKey(9))
        #expect(
            proxy.listeners.map(\.address.description)
                == ["127.0.0.1:1080", "0.0.0.0:8080", "127.0.0.1:1081", "[::1]:1080"])
        #expect(proxy.listeners[1].credentials?.user == Array("bob".utf8))
        #expect(proxy.listeners[1].credentials?.password == Array("s@cr:t".utf8))
        #expect(proxy.listeners.map(\.mode) == [nil, nil, .single, nil])
        #expect(proxy.listeners.map(\.isRedundant) == [false, false, true, false])
        #expect(proxy.uplinks.map(\.isWarm) == [false, true, false])
        #expect(proxy.mode == .backup)
        #expect(proxy.open == .checked)
        #expect(
            proxy.uplinks.map(\.selector)
                == [
                    .interface("wlan0"), .source(Subnet("192.168.7.0/24")!),
                    .source(Subnet("2001:db8::5")!)
                ])
        #expect(proxy.uplinks.map(\.isBackup) == [false, true, false])
        #expect(
            configuration.program.status
                == StatusConfiguration(address: SocketAddress("127.0.0.1:9090")!))
        #expect(configuration.program.control == "\(scratch.folder)/run/braid.sock")
        #expect(proxy.pcap == "\(scratch.folder)/inside.pcap")
        #expect(configuration.program.logLevel == .debug)
        #expect(proxy.connection.subflow.congestion == .newReno)
        #expect(proxy.maximumClients == 1000)
        #expect(proxy.connection.sendLimit == 4 << 20)
        #expect(proxy.connection.receiveLimit == 1 << 20)
        #expect(proxy.drain == .milliseconds(500))
    }

    @Test func smallestConcentratorHasTheDefaults() throws {
        let concentrator = try Scratch().concentrator(goodConcentrator).settings
        #expect(concentrator.listen == [SocketAddress("0.0.0.0:443")!])
        #expect(concentrator.users.map(\.name) == ["alice"])
        #expect(concentrator.egress.rules.deniesPrivate && concentrator.egress.deniesMail)
        #expect(concentrator.dialTimeout == .seconds(10))
    }

    @Test func egress() throws {
        let scratch = Scratch()
        let none = try scratch.concentrator(goodConcentrator + "egress: { deny: [] }").settings
        #expect(none.egress.rules == EgressRules() && !none.egress.deniesMail)
        let some = try scratch.concentrator(
            goodConcentrator
                + "egress: { deny: [private, 198.51.100.0/24], allow: [10.1.0.0/16, \"fd00::/8\"] }"
        ).settings
        #expect(some.egress.rules.deniesPrivate && some.egress.deniesMail)
        #expect(some.egress.rules.deny == [EgressRule(Subnet("198.51.100.0/24")!)])
        #expect(some.egress.rules.allow.map(\.description) == ["10.1.0.0/16", "fd00::/8"])
        let only = try scratch.concentrator(
            goodConcentrator + "egress: { allow: [\"10.0.0.5:25\"] }"
        ).settings
        #expect(only.egress.rules.deniesPrivate, "what is left out has its default")
    }

    @Test func egressOfOneUser() throws {
        let user = goodConcentrator.replacing(
            " } ]",
            with:
                ", egress: { deny: [\"*:1-1023\", private], allow: [\"10.9.0.1:22\", \"[fd00::/8]:8000-8999\"] } } ]"
        )
        let settings = try Scratch().concentrator(user).settings
        #expect(
            settings.userEgress == [
                "alice": EgressRules(
                    deniesPrivate: true, deny: [EgressRule(nil, ports: 1...1023)],
                    allow: [
                        EgressRule(Subnet("10.9.0.1")!, ports: 22...22),
                        EgressRule(Subnet("fd00::/8")!, ports: 8000...8999)
                    ])
            ])
        #expect(try Scratch().concentrator(goodConcentrator).settings.userEgress == [:])
    }

    @Test func flagsWinOverTheFile() throws {
        var overrides = Overrides()
        overrides.set("mode", flag: "--mode", to: "single")
        overrides.set("log_level", flag: "--log-level", to: nil)
        overrides.set("concentrator", "address", flag: "--concentrator", to: "198.51.100.1:444")
        overrides.set(
            "listen", flag: "--listen", toList: ["127.0.0.1:2080", "mixed://127.0.0.1:2081"])
        overrides.set("uplinks", flag: "--uplink", toList: ["eth0", "10.0.0.0/8,backup"])
        let configuration = try Scratch().proxy(
            goodProxy + "mode: full\nlog_level: error\n",
            overrides: overrides)
        let proxy = configuration.settings
        #expect(proxy.mode == .single)
        #expect(configuration.program.logLevel == .error)
        #expect(proxy.concentrator.map(\.description) == ["198.51.100.1:444"])
        #expect(proxy.concentratorKey.base64 == Scratch.publicKey(2))
        #expect(proxy.listeners.map(\.address.port) == [2080, 2081])
        #expect(proxy.uplinks.map(\.isBackup) == [false, true])
    }

    @Test func flagsAloneAreEnough() throws {
        let scratch = Scratch()
        var overrides = Overrides()
        overrides.set(
            "private_key_file", flag: "--private-key-file", to: "\(scratch.folder)/own.key")
        overrides.set("concentrator", "address", flag: "--concentrator", to: "198.51.100.1")
        overrides.set("concentrator", "public_key", flag: "--public-key", to: Scratch.publicKey(2))
        guard
            case .proxy(let proxy) = try Configuration.load(
                .proxy, file: nil,
                overrides: overrides)
        else {
            return
        }
        #expect(proxy.settings.concentrator.map(\.description) == ["198.51.100.1:443"])
    }

    @Test func theKindIsToldByTheKeys() throws {
        let scratch = Scratch()
        guard case .proxy = try Configuration.check(file: scratch.write(goodProxy, to: "a.yaml"))
        else {
            Issue.record("a proxy's file was taken for a concentrator's")
            return
        }
        guard
            case .concentrator = try Configuration.check(
                file: scratch.write(goodConcentrator, to: "b.yaml"))
        else {
            Issue.record("a concentrator's file was taken for a proxy's")
            return
        }
    }

}

@Suite struct KeyFileTests {
    @Test func writtenOnceWithModeAndReadBack() throws {
        let scratch = Scratch(), path = scratch.folder + "/new.key"
        try KeyFile.write(Scratch.privateKey(5), to: path)
        #expect(
            try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
                == 0o600)
        #expect(try KeyFile.read(path) == Scratch.privateKey(5))
        #expect(throws: KeyFile.Failure.self) { try KeyFile.write(Scratch.privateKey(6), to: path) }
        #expect(try KeyFile.read(path) == Scratch.privateKey(5), "an existing key was written over")
    }

    @Test func aCommentIsNoKey() throws {
        let scratch = Scratch()
        let path = scratch.write(
            "# laptop\n\n  \(Scratch.privateKey(5).base64)  \n", to: "commented.key")
        #expect(try KeyFile.read(path) == Scratch.privateKey(5))
    }

    @Test func theStatusPageHasATokenAndShowsTargets() throws {
        let scratch = Scratch()
        scratch.key(3, in: "own.key")
        let long =
            goodProxy + """
                status: { address: "192.0.2.1:9090", token: 0123456789abcdef, show_targets: true }

                """
        let status = try #require(try scratch.proxy(long).program.status)
        #expect(status.address == SocketAddress("192.0.2.1:9090"))
        #expect(status.token == "0123456789abcdef" && status.showTargets == true)
        // The flag names another address, and the rest stands.
        var overrides = Overrides()
        overrides.set("status", flag: "--status", to: "127.0.0.1:9091")
        let other = try #require(try scratch.proxy(long, overrides: overrides).program.status)
        #expect(other.address == SocketAddress("127.0.0.1:9091") && other.token == status.token)
        let plain = try scratch.proxy(goodProxy, overrides: overrides).program.status
        #expect(plain == StatusConfiguration(address: SocketAddress("127.0.0.1:9091")!))
    }

    @Test func targetsAreShownWhereTheyAreTheUsersOwn() {
        var status = StatusConfiguration(address: SocketAddress("127.0.0.1:9090")!)
        #expect(status.showsTargets(.proxy) && !status.showsTargets(.concentrator))
        status.address = SocketAddress("192.0.2.1:9090")!
        #expect(!status.showsTargets(.proxy))
        status.showTargets = true
        #expect(status.showsTargets(.proxy) && status.showsTargets(.concentrator))
        status = StatusConfiguration(address: SocketAddress("127.0.0.1:9090")!, showTargets: false)
        #expect(!status.showsTargets(.proxy))
    }
}
