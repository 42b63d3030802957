import Measures
import Testing

@Suite struct AddressTests {
    @Test(arguments: [
        ("0.0.0.0", "0.0.0.0"), ("192.0.2.5", "192.0.2.5"), ("255.255.255.255", "255.255.255.255"),
        ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:db8::9", "2001:db8::9"),
        ("2001:DB8:0:0:0:0:0:9", "2001:db8::9"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"), ("::ffff:192.0.2.1", "::ffff:c000:201"),
        ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
        ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("fe80::0001", "fe80::1")
    ]) func readAndPrinted(_ text: String, _ printed: String) {
        let address = IPAddress(text)
        #expect(address?.description == printed)
        #expect(IPAddress(printed) == address)
        #expect(address?.isIPv4 == !text.contains(":"))
    }

    @Test(arguments: [
        "", ".", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "+1.2.3.4", "1..3.4",
        "a.b.c.d", "1.2.3.-0",
        ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::12345", "::g", "::+1",
        "::-0", "1:", ":1", "::1.2.3",
        "1.2.3.4::", "1.2.3.4:1:2:3:4:5:6", "1:2:3:4:5:6:7:1.2.3.4", "::1%eth0", "[::1]",
        "1:2:3:4::5:6:7:8", "::１"
    ]) func refused(_ text: String) { #expect(IPAddress(text) == nil) }

    @Test func randomAddressesSurviveARoundTrip() {
        var random = SeededRandom(seed: 6)
        for _ in 0..<400 {
            let four = IPAddress(v4: UInt32(truncatingIfNeeded: random.next()))
            #expect(IPAddress(four.description) == four)
            // Many zero groups, so that the shortening is exercised.
            func word() -> UInt64 {
                (0..<4).reduce(0) { w, _ in
                    w << 16 | (random.next() % 3 == 0 ? random.next() & 0xffff : 0)
                }
            }
            let six = IPAddress(v6High: word(), low: word())
            #expect(IPAddress(six.description) == six)
            let port = UInt16(truncatingIfNeeded: random.next())
            #expect(
                SocketAddress(SocketAddress(six, port: port).description)
                    == SocketAddress(six, port: port))
            #expect(
                SocketAddress(SocketAddress(four, port: port).description)
                    == SocketAddress(four, port: port))
        }
    }

    @Test(arguments: ["192.0.2.1:443", "[2001:db8::1]:443", "0.0.0.0:0", "[::]:65535"])
    func socketAddresses(_ text: String) { #expect(SocketAddress(text)?.description == text) }

    @Test(arguments: [
        "", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:+80", "1.2.3.4:-0", "::1:80",
        "[1.2.3.4]:80", "[::1]", "[::1]80",
        "[::1:80", "name:80", "1.2.3.4: 80"
    ])
    func socketAddressesRefused(_ text: String) { #expect(SocketAddress(text) == nil) }
}
