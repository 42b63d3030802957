import Measures
import Testing
import Wire

@testable import Rules

private func ip(_ text: String) -> IPAddress { IPAddress(text)! }
private let here = ip("127.0.0.1")

private func flow(
    _ host: String, _ port: UInt16 = 443, _ transport: FlowFacts.Transport = .tcp,
    entry: FlowFacts.Entry = .captured, from: IPAddress = here, name: String? = nil,
    user: UInt32? = nil
) -> FlowFacts {
    FlowFacts(
        transport, entry: entry, source: from, target: Target(host: .init(host)!, port: port),
        knownName: name, user: user)
}

private func to(_ entries: String..., action: Action = .block) -> Rule {
    var rule = Rule(action), destinations = Rule.Destinations()
    for entry in entries {
        if let range = Subnet(entry) { destinations.ranges.insert(range); continue }
        let inserted =
            entry.hasPrefix(".")
            ? destinations.names.insert(entry.dropFirst(), .suffix)
            : destinations.names.insert(entry, .exact)
        #expect(inserted, "\(entry)")
    }
    destinations.ranges.sort()
    rule.destinations = destinations
    return rule
}

@Suite struct RuleSetTests {
    @Test func withoutRulesEverythingGoesThroughTheTunnel() {
        #expect(RuleSet().decide(flow("example.org")) == .standard)
        #expect(RuleSet().question(about: flow("192.0.2.1")) == nil)
    }

    @Test func theFirstThatFitsDecides() {
        let rules = RuleSet([
            to("exact.example.org", action: .direct(uplink: nil)), to(".example.org"),
            to("192.0.2.0/24", action: .direct(uplink: "wlan0"))
        ])
        #expect(rules.decide(flow("exact.example.org")).rule == 1)
        #expect(rules.decide(flow("EXACT.Example.org.")).rule == 1, "letters have no case")
        #expect(rules.decide(flow("below.exact.example.org")).rule == 2)
        #expect(rules.decide(flow("example.org")).rule == 2)
        #expect(rules.decide(flow("anexample.org")) == .standard)
        #expect(rules.decide(flow("org")) == .standard)
        #expect(rules.decide(flow("192.0.2.9")) == Decision(rule: 3, .direct(uplink: "wlan0")))
        #expect(rules.decide(flow("::ffff:192.0.2.9")).rule == 3, "mapped, it is IPv4")
        #expect(rules.decide(flow("192.0.3.9")) == .standard)
        #expect(rules.decide(flow("192.0.3.9", name: "a.example.org")).rule == 2)
    }

    /// A list of which nothing is left is no list of everything.
    @Test func anEmptyListFitsNothing() {
        var everywhere = Rule(.block)
        everywhere.ports = [25...25]
        let rules = RuleSet([to(), everywhere])
        #expect(rules.decide(flow("example.org")) == .standard)
        #expect(rules.decide(flow("192.0.2.1")) == .standard)
        #expect(rules.question(about: flow("192.0.2.1")) == nil)
        #expect(rules.decide(flow("192.0.2.1", 25)).rule == 2)
    }

    @Test func everyConditionMustFit() {
        var rule = to(".example.org")
        rule.ports = [443...443, 8000...8999]
        rule.transport = .udp
        let listener = FlowFacts.Entry.listener(SocketAddress("127.0.0.1:1080")!)
        rule.entries = [listener]
        rule.sources.insert(Subnet("192.168.1.0/24")!)
        rule.sources.sort()
        rule.users = [33]
        let rules = RuleSet([rule])
        func decide(
            _ port: UInt16 = 8999, _ transport: FlowFacts.Transport = .udp,
            _ entry: FlowFacts.Entry? = nil, _ from: String = "192.168.1.9", _ user: UInt32? = 33
        ) -> Int? {
            rules.decide(
                flow(
                    "a.example.org", port, transport, entry: entry ?? listener, from: ip(from),
                    user: user)
            ).rule
        }
        #expect(decide() == 1)
        #expect(decide(444) == nil)
        #expect(decide(443, .tcp) == nil)
        #expect(decide(443, .udp, .captured) == nil)
        #expect(decide(443, .udp, listener, "192.168.2.9") == nil)
        #expect(decide(443, .udp, listener, "192.168.1.9", 34) == nil)
        #expect(decide(443, .udp, listener, "192.168.1.9", nil) == nil, "unknown fits nothing")
    }

    /// A look at the first bytes, or for a socket's owner, is taken only where it changes
    /// something.
    @Test func itAsksOnlyForWhatCounts() {
        var byUser = Rule(.direct(uplink: nil))
        byUser.users = [33]
        byUser.ports = [22...22]
        let rules = RuleSet([to("192.0.2.0/24"), byUser, to(".example.org")])
        #expect(rules.question(about: flow("192.0.2.1")) == nil, "the first one fits")
        #expect(rules.question(about: flow("192.0.3.1")) == .name)
        #expect(rules.question(about: flow("192.0.3.1", name: "other.net")) == nil)
        #expect(rules.question(about: flow("a.example.org")) == nil)
        #expect(rules.question(about: flow("192.0.3.1", 22)) == .user)
        #expect(rules.question(about: flow("192.0.3.1", 22, user: 33)) == nil)
        #expect(rules.question(about: flow("192.0.3.1", 22, user: 34)) == .name)
        #expect(rules.question(about: flow("192.0.3.1", 22), given: [.user]) == .name)
        #expect(rules.question(about: flow("192.0.3.1", 22), given: [.user, .name]) == nil)
    }

    @Test func itSaysWhy() {
        var rule = to(".example.org", "10.0.0.0/8")
        rule.ports = [80...80, 8000...8999]
        let rules = RuleSet([rule])
        #expect(
            rules.explain(flow("www.example.org", 8080)).reasons
                == ["to .example.org", "port 8000-8999"])
        #expect(
            rules.explain(flow("10.1.1.1", 80)).reasons
                == ["to 10.0.0.0-10.255.255.255", "port 80"])
        #expect(rules.explain(flow("other.net", 80)).decision == .standard)
    }
}

@Suite struct NameListTests {
    @Test func whatIsNoName() {
        var list = NameList()
        let long = String(repeating: "a.", count: 130) + "org"
        for text in ["", ".", "a..b", ".a", "a b", "ä.org", "a.org..", long] {
            let isTaken = list.insert(text, .exact)
            #expect(!isTaken, "\(text)")
        }
        #expect(list.isEmpty)
    }

    /// Beside a naive one.
    @Test func manyNames() {
        var list = NameList(), exact: Set<String> = [], suffixes: Set<String> = []
        var state: UInt64 = 11
        func next(_ n: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % n
        }
        func name(_ least: Int) -> String {
            (0..<(least + next(3))).map { _ in
                String("abcdefgh".dropFirst(next(7)).prefix(1 + next(2)))
            }
            .joined(separator: ".")
        }
        func insert(_ text: String, _ extent: NameList.Extent) -> Bool {
            list.insert(text, extent)
        }
        for _ in 0..<300 {
            let text = name(2)
            if next(4) > 0 {
                #expect(insert(text, .exact))
                exact.insert(text)
            } else {
                #expect(insert(text, .suffix))
                suffixes.insert(text)
            }
        }
        #expect(list.count == exact.union(suffixes).count)
        var covered = 0
        for _ in 0..<5_000 {
            let text = name(1)
            var end = text[...], isBelow = suffixes.contains(text)
            while let dot = end.firstIndex(of: ".") {
                end = end[end.index(after: dot)...]
                isBelow = isBelow || suffixes.contains(String(end))
            }
            let key = NameKey(text)!
            if isBelow { covered += 1 }
            #expect(list.contains(key) == (isBelow || exact.contains(text)), "\(text)")
            #expect((list.match(key) != nil) == list.contains(key))
        }
        #expect((250...4_000).contains(covered), "\(covered) of 5,000 are below a suffix")
    }
}

@Suite struct RangeListTests {
    @Test func rangesThatTouchAreOne() {
        var list = RangeList()
        for text in [
            "10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "10.0.2.1", "255.255.255.255",
            "2001:db8::/32"
        ] {
            list.insert(Subnet(text)!)
        }
        list.sort()
        #expect(list.count == 4)
        for text in ["10.0.0.0", "10.0.2.1", "10.0.1.255", "255.255.255.255", "2001:db8:ffff::1"] {
            #expect(list.contains(ip(text)), "\(text)")
        }
        for text in ["9.255.255.255", "10.0.2.0", "255.255.255.254", "2001:db9::", "::"] {
            #expect(!list.contains(ip(text)), "\(text)")
        }
        let match = list.match(ip("10.0.0.9"))!
        #expect(RangeList.text(match, like: ip("10.0.0.9")) == "10.0.0.0-10.0.1.255")
    }

    @Test func everything() {
        var list = RangeList()
        list.insert(Subnet("0.0.0.0/0")!)
        list.insert(Subnet("::/0")!)
        list.sort()
        #expect(list.contains(ip("1.2.3.4")) && list.contains(ip("ffff::1")))
        #expect(list.count == 2)
    }
}
