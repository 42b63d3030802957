import Foundation
import Testing

@testable import Configuration

/// What reading a configuration anew changes, key by key.
@Suite struct ChangesTests {
    /// A key, two values of it, and whether the second one takes a restart.
    private struct Sample {
        var key: String
        var first: String
        var second: String
        var takesRestart = false
    }

    private let scratch = Scratch()

    private static let proxy = [
        Sample(
            key: "concentrator.address", first: address("203.0.113.7"),
            second: address("203.0.113.8")),
        Sample(
            key: "concentrator.public_key", first: address("203.0.113.7"),
            second: address("203.0.113.7", key: 3), takesRestart: true),
        Sample(
            key: "private_key_file", first: "private_key_file: own.key",
            second: "private_key_file: other.key", takesRestart: true),
        Sample(
            key: "listen", first: "listen: mixed://127.0.0.1:1080",
            second: "listen: [mixed://127.0.0.1:1080, mixed://127.0.0.1:1081]"),
        Sample(key: "mode", first: "mode: full", second: "mode: single"),
        Sample(key: "idle_hint", first: "idle_hint: logind", second: "idle_hint: none"),
        Sample(key: "open", first: "open: auto", second: "open: fast"),
        Sample(
            key: "uplinks", first: "uplinks: [{ interface: wlan0 }, { interface: wwan0 }]",
            second: "uplinks: [{ interface: wlan0 }, { interface: wwan0, role: backup }]"),
        Sample(
            key: "status", first: "status: 127.0.0.1:1", second: "status: 127.0.0.1:2",
            takesRestart: true),
        Sample(
            key: "control", first: "control: a.sock", second: "control: b.sock",
            takesRestart: true),
        Sample(key: "user", first: "user: root", second: "user: nobody", takesRestart: true),
        Sample(key: "log_level", first: "log_level: info", second: "log_level: debug"),
        Sample(
            key: "log_format", first: "log_format: text", second: "log_format: json",
            takesRestart: true),
        Sample(
            key: "history", first: "history: { path: a.db }", second: "history: { path: b.db }",
            takesRestart: true),
        Sample(
            key: "cost", first: dear + "cost: ignore", second: dear + "cost: prefer-cheap"),
        Sample(
            key: "patience", first: dear + "cost: prefer-cheap\npatience: 4s",
            second: dear + "cost: prefer-cheap\npatience: 5s"),
        Sample(
            key: "uplinks", first: "uplinks: [{ interface: wwan0, price: 5 EUR }]",
            second: "uplinks: [{ interface: wwan0, price: 6 EUR }]"),
        Sample(
            key: "uplinks", first: "uplinks: [{ interface: wwan0 }]",
            second: "uplinks: [{ interface: wwan0, allowance: 5GB, on_empty: stop }]"),
        Sample(key: "pcap", first: "pcap: a", second: "pcap: b", takesRestart: true),
        Sample(key: "congestion", first: "congestion: bbr", second: "congestion: cubic"),
        Sample(key: "udp_relay", first: "udp_relay: 10.0.0.1", second: "udp_relay: 10.0.0.2"),
        Sample(
            key: "names", first: "names: { listen: [127.0.0.1] }",
            second: "names: { listen: [127.0.0.2] }"),
        Sample(
            key: "rules", first: "rules: [{ to: a.example, then: block }]",
            second: "rules: [{ to: b.example, then: block }]"),
        Sample(
            key: "capture", first: "capture: { machine: true }",
            second: "capture: { machine: true, udp: false }", takesRestart: true),
        Sample(
            key: "without_session", first: "without_session: wait",
            second: "without_session: refuse")
    ]

    private static let concentrator = [
        Sample(
            key: "listen", first: "listen: 127.0.0.1:443", second: "listen: 127.0.0.1:444",
            takesRestart: true),
        Sample(
            key: "announce", first: "announce: [203.0.113.8:443]",
            second: "announce: [203.0.113.9:443]"),
        Sample(
            key: "join_first_address",
            first: "announce: [203.0.113.8:443]\njoin_first_address: true",
            second: "announce: [203.0.113.8:443]\njoin_first_address: false"),
        Sample(
            key: "private_key_file", first: "private_key_file: own.key",
            second: "private_key_file: other.key", takesRestart: true),
        Sample(key: "users", first: users("alice", 2), second: users("bob", 2)),
        Sample(
            key: "users_directory", first: "users_directory: a", second: "users_directory: b"),
        Sample(
            key: "public_address", first: "public_address: a.example",
            second: "public_address: b.example"),
        Sample(key: "egress", first: "egress: { deny: [] }", second: "egress: { deny: [private] }"),
        Sample(key: "dial_timeout", first: "dial_timeout: 10s", second: "dial_timeout: 5s"),
        Sample(
            key: "udp_filtering", first: "udp_filtering: address",
            second: "udp_filtering: endpoint"),
        Sample(
            key: "status", first: "status: 127.0.0.1:1", second: "status: 127.0.0.1:2",
            takesRestart: true),
        Sample(
            key: "control", first: "control: a.sock", second: "control: b.sock",
            takesRestart: true),
        Sample(key: "user", first: "user: root", second: "user: nobody", takesRestart: true),
        Sample(key: "log_level", first: "log_level: info", second: "log_level: debug"),
        Sample(
            key: "log_format", first: "log_format: text", second: "log_format: json",
            takesRestart: true),
        Sample(
            key: "history", first: "history: { path: a.db }", second: "history: { path: b.db }",
            takesRestart: true),
        Sample(key: "pcap", first: "pcap: a", second: "pcap: b", takesRestart: true),
        Sample(key: "congestion", first: "congestion: bbr", second: "congestion: cubic")
    ]

    private static let dear =
        "uplinks: [{ interface: wlan0 }, { interface: wwan0, price: 5 EUR }]\n"

    private static func address(_ host: String, key: UInt8 = 2) -> String {
        "concentrator: { address: \"\(host):443\", public_key: \"\(Scratch.publicKey(key))\" }"
    }

    private static func users(_ name: String, _ key: UInt8) -> String {
        "users: [{ name: \(name), public_key: \"\(Scratch.publicKey(key))\" }]"
    }

    /// The first lines of the keys that a file needs and `text` does not have.
    private func whole(_ kind: ConfigurationKind, _ text: String) -> String {
        var lines = ["private_key_file: own.key", "listen: mixed://127.0.0.1:1080"]
        switch kind {
        case .proxy: lines.append(Self.address("203.0.113.7"))
        case .concentrator:
            lines[1] = "listen: 127.0.0.1:443"
            lines.append(Self.users("alice", 2))
        }
        let own = text.split(separator: "\n").map { $0.prefix { $0 != ":" } }
        return text + "\n"
            + lines.filter { line in !own.contains(line.prefix { $0 != ":" }) }
            .joined(separator: "\n") + "\n"
    }

    private func read(_ kind: ConfigurationKind, _ text: String) throws -> Configuration {
        scratch.key(9, in: "other.key")
        for folder in ["a", "b"] {
            try? FileManager.default.createDirectory(
                atPath: "\(scratch.folder)/\(folder)", withIntermediateDirectories: true)
        }
        return try Configuration.load(
            kind, file: scratch.write(whole(kind, text), to: "\(kind.rawValue).yaml"))
    }

    private func test(_ kind: ConfigurationKind, _ samples: [Sample]) throws {
        for sample in samples {
            let old = try read(kind, sample.first), new = try read(kind, sample.second)
            #expect(old == (try read(kind, sample.first)), "\(sample.key) is read the same twice")
            #expect(old != new, "\(sample.key) can be compared")
            let (changes, kept) = try #require(old.changes(to: new))
            if sample.takesRestart {
                #expect(changes.needRestart == [sample.key] && changes.applied.isEmpty)
                #expect(kept == old, "\(sample.key) stays what it was")
            } else {
                #expect(changes.applied.map(\.key) == [sample.key])
                #expect(changes.needRestart.isEmpty && kept == new)
            }
            #expect(try #require(old.changes(to: old)).changes.isEmpty)
        }
    }

    @Test func everyKeyOfAProxy() throws {
        try test(.proxy, Self.proxy)
        let known = Set(Self.proxy.map { $0.key.prefix { $0 != "." } }.map(String.init))
        for key in ProxyKey.allCases where key != .limits {
            #expect(known.contains(key.rawValue), "what does a reload do with \(key.rawValue)?")
        }
    }

    @Test func everyKeyOfAConcentrator() throws {
        try test(.concentrator, Self.concentrator)
        let known = Set(Self.concentrator.map(\.key))
        for key in ConcentratorKey.allCases where key != .limits {
            #expect(known.contains(key.rawValue), "what does a reload do with \(key.rawValue)?")
        }
    }

    @Test func everyLimit() throws {
        for key in LimitKey.allCases {
            for kind in [ConfigurationKind.proxy, .concentrator] {
                var values = ["100", "200"]
                switch key {
                case .sendBuffer, .receiveWindow, .memory, .memoryPerUser:
                    values = ["16 MiB", "32 MiB"]
                case .drain, .dialogue, .idleBody, .session: values = ["100 s", "200 s"]
                default: break
                }
                let texts = values.map { "limits: { \(key.rawValue): \($0) }" }
                guard let old = try? read(kind, texts[0]) else { continue }
                let changes = try #require(old.changes(to: read(kind, texts[1]))).changes
                // What only the other kind has is read here without a word.
                if changes.isEmpty { continue }
                #expect(
                    changes.applied.allSatisfy { $0.key.hasPrefix("limits.\(key.rawValue)") },
                    "\(kind) \(key.rawValue): \(changes)")
            }
        }
    }

    @Test func usersAreNamed() throws {
        let one = Scratch.publicKey(2), two = Scratch.publicKey(3), three = Scratch.publicKey(4)
        let old = try read(
            .concentrator,
            "users: [{ name: a, public_key: \"\(one)\" }, { name: b, public_key: \"\(two)\" }]")
        let new = try read(
            .concentrator,
            "users: [{ name: a, public_key: \"\(one)\", names: false },"
                + " { name: c, public_key: \"\(three)\" }]")
        let lines = try #require(old.changes(to: new)).changes.lines
        #expect(lines == ["users: c added, b removed with its sessions, a changed"])
        #expect(try #require(new.changes(to: new)).changes.lines == ["nothing has changed"])
    }

    @Test func thePartThatTakesARestartIsSaidAgainTheNextTime() throws {
        let old = try read(.proxy, "mode: full\npcap: a")
        let (first, kept) = try #require(old.changes(to: read(.proxy, "mode: single\npcap: b")))
        #expect(
            first.lines == [
                "mode: single, was full", "pcap: takes a restart, until then it is as it was"
            ])
        let second = try #require(kept.changes(to: read(.proxy, "mode: single\npcap: b"))).changes
        #expect(second.applied.isEmpty && second.needRestart == ["pcap"])
    }
}
