import Measures
import Shell
import Testing

@testable import Concentrator

@Suite struct EgressPolicyTests {
    @Test(arguments: [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255",
        "127.0.0.1", "127.255.255.254",
        "169.254.1.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.0.1",
        "192.0.0.1", "192.0.2.1",
        "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
        "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "168.63.129.16",
        "::", "::1", "fe80::1", "febf::1", "fc00::1", "fdff::1", "fd00:ec2::254", "fec0::1",
        "ff02::1", "2001:db8::1", "100::1",
        "2001:10::1", "3fff::1",
        // An IPv4 address inside an IPv6 one is judged too.
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::5",
        "2001:0:102:304::f5ff:fffe",
        "2001:0:a00:1::1234:5678", "2600::5efe:10.0.0.1", "2600::200:5efe:10.0.0.1",
        "64:ff9b:1:a00:0:100::"
    ])
    func privateIsDenied(_ text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(!EgressPolicy().allows(address, port: 443))
        var open = EgressPolicy()
        open.rules.deniesPrivate = false
        #expect(open.allows(address, port: 443), "[] denies nothing")
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
        "128.0.0.1", "169.253.255.255",
        "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
        "198.20.0.0", "223.255.255.255",
        "2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8", "2002:808:808::1"
    ])
    func publicIsAllowed(_ text: String) throws {
        #expect(EgressPolicy().allows(try #require(IPAddress(text)), port: 443))
    }

    private func judge(_ policy: EgressPolicy) -> (String, UInt16) -> Bool {
        { policy.allows(IPAddress($0)!, port: $1) }
    }

    @Test func exceptionsAndRefusals() {
        var policy = EgressPolicy()
        policy.rules.allow = [
            EgressRule("10.1.0.0/16")!, EgressRule("fd12::/16")!, EgressRule("10.3.0.0/16:22-23")!
        ]
        policy.rules.deny = [
            EgressRule("8.8.0.0/16")!, EgressRule("2a00::/16")!, EgressRule("*:6667")!
        ]
        policy.own = [Subnet("1.2.3.4")!]
        var allows = judge(policy)
        #expect(allows("10.1.2.3", 443) && !allows("10.2.2.3", 443))
        #expect(
            allows("10.3.0.1", 22) && allows("10.3.0.1", 23) && !allows("10.3.0.1", 24)
                && !allows("10.3.0.1", 443))
        #expect(allows("fd12::1", 443) && !allows("fd13::1", 443))
        #expect(!allows("8.8.8.8", 443) && allows("8.9.8.8", 443) && !allows("8.9.8.8", 6667))
        #expect(!allows("2a00::1", 443))
        #expect(
            !allows("1.2.3.4", 443) && !allows("::ffff:1.2.3.4", 443)
                && !allows("64:ff9b::1.2.3.4", 443))
        // The inner address is denied whatever the outer one is.
        policy.rules.allow.append(EgressRule("64:ff9b::/96")!)
        allows = judge(policy)
        #expect(!allows("64:ff9b::8.8.8.8", 443))
    }

    @Test func mailIsDeniedUnlessNamed() {
        var policy = EgressPolicy()
        #expect(
            !judge(policy)("9.9.9.9", 25) && judge(policy)("9.9.9.9", 587)
                && !judge(policy)("2600::1", 25))
        policy.rules.allow = [EgressRule("9.9.0.0/16")!, EgressRule("10.0.0.0/8")!]
        #expect(
            !judge(policy)("9.9.9.9", 25) && !judge(policy)("10.0.0.1", 25),
            "opened for something else")
        policy.rules.allow.append(EgressRule("10.0.0.5:25")!)
        #expect(judge(policy)("10.0.0.5", 25) && !judge(policy)("10.0.0.6", 25))
        policy.personal.allow = [EgressRule("*:20-30")!]
        #expect(judge(policy)("9.9.9.9", 25))
    }

    /// A port that is opened everywhere is not opened on this machine and in its networks.
    @Test func aPortOfEveryAddressIsOneOfThePublicInternet() {
        var policy = EgressPolicy()
        policy.own = [Subnet("9.9.9.9")!]
        policy.rules.allow = [EgressRule("*:25")!]
        for isPersonal in [false, true] {
            if isPersonal { (policy.personal.allow, policy.rules.allow) = (policy.rules.allow, []) }
            let allows = judge(policy)
            #expect(allows("9.9.9.8", 25) && allows("2600::1", 25))
            for own in ["9.9.9.9", "127.0.0.1", "10.1.2.3", "::1", "64:ff9b::7f00:1"] {
                #expect(!allows(own, 25), "\(own)")
            }
        }
        policy.personal.allow.append(EgressRule("10.1.2.0/24:25")!)
        #expect(judge(policy)("10.1.2.3", 25) && !judge(policy)("10.1.3.3", 25))
        policy.rules.deniesPrivate = false
        #expect(judge(policy)("127.0.0.1", 25))
    }

    /// An IPv4 address may be written as a mapped one: it is the same one.
    @Test func mappedRangesAreThoseOfIPv4() {
        #expect(EgressRule("::ffff:10.0.0.0/104") == EgressRule("10.0.0.0/8"))
        #expect(EgressRule("[::ffff:10.0.0.5]:80") == EgressRule("10.0.0.5:80"))
        #expect(EgressRule("::ffff:0:0/96") == EgressRule("0.0.0.0/0"))
        #expect(EgressRule("::/0")?.range?.address.isIPv4 == false)
        var policy = EgressPolicy()
        policy.rules.deny = [EgressRule("::ffff:8.8.0.0/112")!, EgressRule("[::ffff:9.9.9.9]:53")!]
        let allows = judge(policy)
        #expect(!allows("8.8.1.1", 443) && !allows("::ffff:8.8.1.1", 443) && allows("8.9.1.1", 443))
        #expect(!allows("9.9.9.9", 53) && allows("9.9.9.9", 443) && allows("9.9.9.8", 53))
    }

    @Test func aUsersRulesAreAskedFirst() {
        var policy = EgressPolicy()
        policy.rules.allow = [EgressRule("10.1.0.0/16")!]
        policy.rules.deny = [EgressRule("9.0.0.0/8")!]
        policy.personal.allow = [EgressRule("9.9.9.9:53")!]
        policy.personal.deny = [EgressRule("10.1.0.5")!, EgressRule("*:8080")!]
        let allows = judge(policy)
        #expect(allows("9.9.9.9", 53) && !allows("9.9.9.9", 443), "an exception of his own")
        #expect(allows("10.1.0.4", 443) && !allows("10.1.0.5", 443) && !allows("1.1.1.1", 8080))
        #expect(!allows("192.168.0.1", 443) && allows("1.1.1.1", 443))
        policy.rules.deniesPrivate = false
        policy.personal.deniesPrivate = true
        #expect(!judge(policy)("192.168.0.1", 443) && !judge(policy)("10.1.0.4", 443))
    }

    @Test(arguments: [
        "1.2.3.4:0", "1.2.3.4:", "1.2.3.4:70000", "1.2.3.4:5-", "1.2.3.4:9-5", "*", "*:",
        "2001:db8::/32:80-90",
        "[1.2.3.4]:80", "[2001:db8::]", "1.2.3.4/33:80", "a.example:80", "", ":", "*:+5",
        "10.0.0.0/8:80:90"
    ])
    func notARule(_ text: String) { #expect(EgressRule(text) == nil) }

    @Test(arguments: [
        "10.0.0.0/8", "10.0.0.5/32:25", "[2001:db8::/32]:8000-8999", "*:25", "::/0", "*:1-65535"
    ])
    func rulesAreReadAndWritten(_ text: String) { #expect(EgressRule(text)?.description == text) }
}
