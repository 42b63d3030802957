import Glibc
import Measures
import Testing
import Wire

@testable import Concentrator
@testable import Shell

/// The default policy.
private func judge(_ address: IPAddress, _ port: UInt16) -> Bool {
    EgressPolicy().allows(address, port: port)
}
private func ip(_ text: String) -> IPAddress { IPAddress(text)! }

@Suite struct AddressQueueTests {
    private func all(_ queue: inout AddressQueue) -> [String] {
        var out: [String] = []
        while let next = queue.next() { out.append(next.description) }
        return out
    }

    @Test func familiesTakeTurnsBeginningWithIPv6() {
        var queue = AddressQueue(port: 443)
        queue.take(
            v6: [ip("2600::1"), ip("2600::2"), ip("2600::3")],
            v4: [ip("1.0.0.1"), ip("1.0.0.2")], isComplete: true, judge)
        #expect(all(&queue) == ["2600::1", "1.0.0.1", "2600::2", "1.0.0.2", "2600::3"])
        #expect(!queue.sawDenied && queue.isComplete)
    }

    @Test func deniedOnesAreLeftOut() {
        var queue = AddressQueue(port: 443)
        queue.take(
            v6: [ip("::1")], v4: [ip("127.0.0.1"), ip("1.0.0.1")], isComplete: true, judge)
        #expect(all(&queue) == ["1.0.0.1"] && queue.sawDenied)
    }

    @Test func aLateFamilyIsTakenOnce() {
        var queue = AddressQueue(port: 443)
        queue.take(v6: [], v4: [ip("1.0.0.1"), ip("1.0.0.2")], isComplete: false, judge)
        #expect(queue.next() == ip("1.0.0.1"))
        queue.take(
            v6: [ip("2600::1")], v4: [ip("1.0.0.1"), ip("1.0.0.2")], isComplete: true,
            judge)
        #expect(all(&queue) == ["2600::1", "1.0.0.2"])
    }

    @Test func thereIsALimit() {
        var queue = AddressQueue(port: 443)
        queue.take(
            v6: [], v4: (1...100).map { ip("1.0.0.\($0)") }, isComplete: true, judge)
        #expect(all(&queue).count == Dial.maximumAddresses)
    }

    @Test func theMostTellingFailureWins() {
        #expect(DialStatus.connectionRefused.tellsMore(than: .networkUnreachable))
        #expect(!DialStatus.networkUnreachable.tellsMore(than: .timedOut))
        #expect(!DialStatus.denied.tellsMore(than: .denied))
    }
}

@Suite(.serialized) struct DialTests {
    private func dial(
        _ target: Target, policy: EgressPolicy,
        timeout: Interval = .seconds(10)
    ) throws -> DialStatus {
        let loop = try EventLoop()
        let dialer = try Dialer(loop: loop, policy: policy, timeout: timeout)
        var outcome: DialStatus?
        let dial = Dial(target, dialer) {
            switch $0 {
            case .connected: outcome = .connected
            case .failed(let status): outcome = status
            }
        }
        _ = loop.run(until: .seconds(10)) { outcome != nil }
        dial.cancel()
        return try #require(outcome)
    }
    private var open: EgressPolicy {
        var policy = EgressPolicy()
        policy.rules.deniesPrivate = false
        return policy
    }

    @Test func connects() throws {
        let loop = try EventLoop()
        let listener = try StreamListener(SocketAddress("127.0.0.1:0")!, loop: loop) { _, _ in }
        let target = Target(host: .address(ip("127.0.0.1")), port: listener.address.port)
        #expect(try dial(target, policy: open) == .connected)
        #expect(
            try dial(Target(host: .name("localhost"), port: target.port), policy: open)
                == .connected)
        listener.close()
        #expect(try dial(target, policy: open) == .connectionRefused)
    }

    /// No turn of the loop passes before the SYN leaves, and none of its answers comes from `init`.
    @Test func anAddressIsDialledInTheSameTurn() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var own = sockaddr_in()
        own.sin_family = sa_family_t(AF_INET)
        own.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &own) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                #expect(bind(listener, $0, length) == 0 && listen(listener, 4) == 0)
                getsockname(listener, $0, &length)
            }
        }
        let loop = try EventLoop()
        let dialer = try Dialer(loop: loop, policy: open, timeout: .seconds(10))
        var answers = 0
        let target = Target(
            host: .address(ip("127.0.0.1")), port: UInt16(bigEndian: own.sin_port))
        let dial = Dial(target, dialer) { _ in answers += 1 }
        var ready = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        #expect(poll(&ready, 1, 0) == 1 && answers == 0)
        #expect(loop.run(until: .seconds(10)) { answers == 1 })
        // One that may not be dialled waits for the loop.
        let denied = Dial(
            target, try Dialer(loop: loop, policy: EgressPolicy(), timeout: .seconds(10))
        ) { _ in answers += 1 }
        #expect(answers == 1)
        #expect(loop.run(until: .seconds(10)) { answers == 2 })
        dial.cancel()
        denied.cancel()
    }

    @Test func thePolicyJudgesWhatANameResolvesTo() throws {
        #expect(
            try dial(Target(host: .name("localhost"), port: 80), policy: EgressPolicy()) == .denied)
        #expect(
            try dial(Target(host: .address(ip("127.0.0.1")), port: 80), policy: EgressPolicy())
                == .denied)
        #expect(
            try dial(
                Target(host: .address(ip("::ffff:169.254.169.254")), port: 80),
                policy: EgressPolicy()) == .denied)
    }

    /// Every address of this machine, whatever interface it is on and whatever range it lies in.
    @Test func thisMachineIsDenied() throws {
        let loop = try EventLoop()
        let dialer = try Dialer(loop: loop, policy: EgressPolicy(), timeout: .seconds(10))
        let policy = dialer.policy(for: "alice")
        let local = LocalAddresses(loop: loop)
        #expect(local.contains(ip("127.0.0.1")))
        for range in local.ranges { #expect(!policy.allows(range.address, port: 80), "\(range)") }
        #expect(policy.own.contains { $0.contains(ip("127.0.0.1")) })
    }

    @Test func aMappedAddressIsDialledAsIPv4() {
        var queue = AddressQueue(port: 443)
        queue.take(v6: [ip("::ffff:8.8.8.8")], v4: [], isComplete: true, judge)
        #expect(queue.next() == ip("8.8.8.8"))
    }
}
