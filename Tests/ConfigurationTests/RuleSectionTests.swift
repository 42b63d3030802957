import Foundation
import Measures
import Multipath
import Proxy
import Rules
import Testing
import Wire

@testable import Configuration

@Suite struct RuleSectionTests {
    private let scratch = Scratch()
    private let start = goodProxy

    private func rules(_ text: String) throws -> RuleSet {
        try scratch.proxy(start + text).settings.rules
    }

    private func decide(
        _ rules: RuleSet, _ host: String, _ port: UInt16 = 443,
        _ transport: FlowFacts.Transport = .tcp
    ) -> Decision {
        rules.decide(
            FlowFacts(
                transport, entry: .listener(SocketAddress("127.0.0.1:1080")!),
                source: IPAddress("127.0.0.1")!,
                target: Target(host: .init(host)!, port: port)))
    }

    @Test func everyKey() throws {
        scratch.write(
            "# ads\nads.example  # one\n\n .tracker.example\n10.9.0.0/16\r\n", to: "list.txt")
        let set = try rules(
            """
            listen: ["mixed://127.0.0.1:1080"]
            uplinks: [ { interface: wlan0 }, { address: 192.168.7.0/24 } ]
            without_session: direct
            rules:
              - { to: { file: list.txt }, then: block }
              - to: [.lan, 192.168.0.0/16, "fd00::/8"]
                then: direct
                uplink: wlan0
              - { ports: [5060, 10000-20000], protocol: udp, udp: redundant, uplinks: [192.168.7.0/24] }
              - { ports: 53, protocol: udp, udp: off }
              - { user: [root, 1234], from: 127.0.0.0/8, listener: [127.0.0.1:1080, captured], to: .root.example, mode: single, open: checked }
              - { then: block }

            """)
        #expect(set.rules.count == 6)
        for host in ["ads.example", "tracker.example", "a.tracker.example", "10.9.1.1"] {
            #expect(decide(set, host) == Decision(rule: 1, .block), "\(host)")
        }
        #expect(decide(set, "a.ads.example").rule == 6)
        #expect(decide(set, "nas.lan") == Decision(rule: 2, .direct(uplink: "wlan0")))
        #expect(decide(set, "fd00::1").rule == 2)
        var options = TunnelOptions()
        options.datagrams = .policy(.redundant)
        options.uplinks = ["192.168.7.0/24"]
        #expect(
            decide(set, "voice.example", 10_000, .udp) == Decision(rule: 3, .tunnel(options)))
        #expect(set.rules[4].users == [0, 1234])
        #expect(set.rules[4].entries.count == 2)
        #expect(decide(set, "other.example") == Decision(rule: 6, .block))
        #expect(
            try scratch.proxy(start + "without_session: refuse").settings.withoutSession == .refuse)
    }

    @Test func withoutRules() throws {
        let settings = try scratch.proxy(start).settings
        #expect(settings.rules.rules.isEmpty)
        #expect(settings.withoutSession == .wait)
    }

    static let wrong: [WrongFile] = [
        WrongFile(
            "rules: []",
            "proxy.yaml:3: rules: is empty; write - { to: .example.org, then: direct }, or leave it out"
        ),
        WrongFile(
            "rules:\n  - { too: .lan, then: direkt }",
            "proxy.yaml:4: unknown key \"too\" in rules[0]; did you mean \"to\"?",
            "proxy.yaml:4: rules[0].then: \"direkt\" is none of tunnel, direct, block; did you mean \"direct\"?"
        ),
        WrongFile(
            "rules:\n  - { to: [\"*.lan\", 1.2.3, a..b], then: block }",
            "proxy.yaml:4: rules[0].to[0]: \"*.lan\": write .lan for a name and all below it",
            "proxy.yaml:4: rules[0].to[1]: \"1.2.3\" is neither a name such as example.org or .example.org"
                + " nor a range such as 192.168.0.0/16",
            "proxy.yaml:4: rules[0].to[2]: \"a..b\" is neither a name such as example.org or .example.org"
                + " nor a range such as 192.168.0.0/16"),
        WrongFile(
            "rules:\n  - { then: block }\n  - { to: .lan, then: direct }",
            "proxy.yaml:4: rules[0]: is about everything, so that no rule behind it counts; put it last"
        ),
        WrongFile(
            "rules:\n  - { to: .lan, then: block, mode: single, uplink: wlan0 }",
            "proxy.yaml:4: rules[0].mode: is about what goes through the tunnel, and this rule says block",
            "proxy.yaml:4: rules[0].uplink: is for then: direct, and this rule says block"),
        WrongFile(
            "rules:\n  - { to: .lan, uplink: wlan0 }",
            "proxy.yaml:4: rules[0].uplink: is for then: direct; for the tunnel write uplinks: [NAME, ...]"
        ),
        WrongFile(
            "uplinks: [ { interface: wlan0 } ]\nrules:\n  - { to: .lan, uplinks: [wlan1] }",
            "proxy.yaml:5: rules[0].uplinks[0]: \"wlan1\" is none of the uplinks wlan0; did you mean \"wlan0\"?"
        ),
        WrongFile(
            "rules:\n  - { ports: [0, 80-70, http], user: nobody-of-here, listener: 127.0.0.1:1081 }",
            "proxy.yaml:4: rules[0].ports[0]: \"0\" is not a port such as 443 or ports such as 8000-8999",
            "proxy.yaml:4: rules[0].ports[1]: \"80-70\" is not a port such as 443 or ports such as 8000-8999",
            "proxy.yaml:4: rules[0].ports[2]: \"http\" is not a port such as 443 or ports such as 8000-8999",
            "proxy.yaml:4: rules[0].listener: \"127.0.0.1:1081\" is none of 127.0.0.1:1080, captured; "
                + "did you mean \"127.0.0.1:1080\"?",
            "proxy.yaml:4: rules[0].user: \"nobody-of-here\" is no user of this machine, nor a user's number"
        ),
        WrongFile(
            "rules:\n  - { to: [], uplinks: [], protocol: icmp }",
            "proxy.yaml:4: rules[0].uplinks: is empty, so that nothing could be sent; leave the key out",
            "proxy.yaml:4: rules[0].protocol: \"icmp\" is none of tcp, udp",
            "proxy.yaml:4: rules[0].to: is empty, so that the rule fits nothing; leave the key out"),
        WrongFile(
            "without_session: wiat",
            "proxy.yaml:3: without_session: \"wiat\" is none of wait, direct, refuse; did you mean \"wait\"?"
        )
    ]

    @Test(arguments: wrong) func sentences(_ wrong: WrongFile) {
        #expect(scratch.sentences(.proxy, start + wrong.text) == wrong.sentences)
    }

    @Test func anEmptyFileFitsNothing() throws {
        _ = scratch.write("# nothing today\n\n", to: "list.txt")
        let set = try scratch.proxy(start + "rules:\n  - { to: { file: list.txt }, then: block }")
            .settings.rules
        #expect(decide(set, "other.example") == .standard)
        #expect(decide(set, "192.0.2.1") == .standard)
    }

    @Test func linesOfAFile() throws {
        let path = scratch.write("good.example\nbad one\n# fine\n1.2.3\n", to: "list.txt")
        let sentences = scratch.sentences(
            .proxy, start + "rules:\n  - { to: { file: list.txt }, then: block }")
        let end =
            "is neither a name such as example.org or .example.org nor a range such as 192.168.0.0/16"
        #expect(sentences.count == 2)
        #expect(
            sentences.contains { $0.hasSuffix("list.txt:2: \"bad one\" \(end)") }, "\(sentences)")
        #expect(sentences.contains { $0.hasSuffix("list.txt:4: \"1.2.3\" \(end)") }, "\(path)")
        let missing = scratch.sentences(
            .proxy, start + "rules:\n  - { to: [{ file: no.txt }], then: block }")
        #expect(
            missing.count == 1 && missing[0].hasSuffix("can't be read: No such file or directory"))
    }
}
