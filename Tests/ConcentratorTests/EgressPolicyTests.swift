import Measures
import Shell
import Testing

@testable import Concentrator

@Suite struct EgressPolicyTests {
    @Test(arguments: [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
        "169.254.1.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.0.0.1", "192.0.2.1",
        "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "168.63.129.16",
        "::", "::1", "fe80::1", "febf::1", "fc00::1", "fdff::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1",
        "2001:10::1", "3fff::1",
        // An IPv4 address inside an IPv6 one is judged too.
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::5", "2001:0:102:304::f5ff:fffe",
        "2001:0:a00:1::1234:5678",
    ])
    func privateIsDenied(_ text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(!EgressPolicy().allows(address))
        var open = EgressPolicy()
        open.deniesPrivate = false
        #expect(open.allows(address), "[] denies nothing")
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.1", "169.253.255.255",
        "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
        "2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    ])
    func publicIsAllowed(_ text: String) throws {
        #expect(EgressPolicy().allows(try #require(IPAddress(text))))
    }

    @Test func exceptionsAndRefusals() {
        var policy = EgressPolicy()
        policy.allow = [Subnet("10.1.0.0/16")!, Subnet("fd12::/16")!]
        policy.deny = [Subnet("8.8.0.0/16")!, Subnet("2a00::/16")!]
        policy.own = [IPAddress("1.2.3.4")!]
        #expect(policy.allows(IPAddress("10.1.2.3")!) && !policy.allows(IPAddress("10.2.2.3")!))
        #expect(policy.allows(IPAddress("fd12::1")!) && !policy.allows(IPAddress("fd13::1")!))
        #expect(!policy.allows(IPAddress("8.8.8.8")!) && policy.allows(IPAddress("8.9.8.8")!))
        #expect(!policy.allows(IPAddress("2a00::1")!))
        #expect(!policy.allows(IPAddress("1.2.3.4")!) && !policy.allows(IPAddress("::ffff:1.2.3.4")!))
        // The inner address is denied whatever the outer one is.
        policy.allow.append(Subnet("64:ff9b::/96")!)
        #expect(!policy.allows(IPAddress("64:ff9b::8.8.8.8")!))
    }
}
