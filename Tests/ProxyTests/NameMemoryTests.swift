import Measures
import Testing

@testable import Proxy

@Suite struct NameMemoryTests {
    private let client = IPAddress("192.168.1.7")!, other = IPAddress("192.168.1.8")!
    private let address = IPAddress("198.51.100.7")!

    @Test func aNameIsKnownToWhoAskedWhileItsAnswerLives() {
        var memory = NameMemory()
        let now = Instant(nanoseconds: 5_000_000_000)
        memory.note("a.test", is: address, askedBy: client, lifetime: .seconds(60), now: now)
        #expect(memory.name(of: address, askedBy: client, now: now) == "a.test")
        #expect(memory.name(of: address, askedBy: other, now: now) == nil)
        let end = now + .seconds(60) + NameMemory.grace
        #expect(
            memory.name(of: address, askedBy: client, now: end - .nanoseconds(1)) == "a.test")
        #expect(memory.name(of: address, askedBy: client, now: end) == nil)
    }

    @Test func theLastNameWinsAndMappedAddressesAreTheInnerOnes() {
        var memory = NameMemory()
        let mapped = IPAddress("::ffff:198.51.100.7")!
        for name in ["a.test", "b.test"] {
            memory.note(name, is: mapped, askedBy: client, lifetime: .zero, now: .zero)
        }
        #expect(memory.name(of: address, askedBy: client, now: .zero) == "b.test")
        #expect(memory.count == 1)
    }

    @Test func oneHostOfIPv6IsOneClient() {
        var memory = NameMemory()
        memory.note(
            "a.test", is: address, askedBy: IPAddress("2001:db8::1")!, lifetime: .zero, now: .zero)
        #expect(
            memory.name(of: address, askedBy: IPAddress("2001:db8::2")!, now: .zero) == "a.test")
        #expect(
            memory.name(of: address, askedBy: IPAddress("2001:db8:0:1::1")!, now: .zero) == nil)
    }

    @Test func aClientThatAsksWithoutEndForgetsItsOwnOnly() {
        var memory = NameMemory()
        memory.note("a.test", is: address, askedBy: other, lifetime: .seconds(9), now: .zero)
        for i in 0..<UInt32(NameMemory.maximumPerClient * 2) {
            memory.note(
                "x.test", is: IPAddress(v4: i), askedBy: client, lifetime: .seconds(9), now: .zero)
        }
        #expect(memory.count <= NameMemory.maximumPerClient + 1)
        #expect(memory.name(of: address, askedBy: other, now: .zero) == "a.test")
        let last = IPAddress(v4: UInt32(NameMemory.maximumPerClient * 2 - 1))
        #expect(memory.name(of: last, askedBy: client, now: .zero) == "x.test")
    }

    @Test func clientsWithoutEndHaveABound() {
        var memory = NameMemory()
        for i in 0..<UInt32(NameMemory.maximum + 5_000) {
            memory.note(
                "x.test", is: address, askedBy: IPAddress(v4: i), lifetime: .seconds(9), now: .zero)
        }
        #expect(memory.count == NameMemory.maximum)
        #expect(memory.name(of: address, askedBy: IPAddress(v4: 4_999), now: .zero) == nil)
        #expect(memory.name(of: address, askedBy: IPAddress(v4: 5_000), now: .zero) == "x.test")
    }
}
