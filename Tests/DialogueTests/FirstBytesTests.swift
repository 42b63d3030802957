import Testing
import Wire

@testable import Dialogue

private func read(_ bytes: [UInt8]) -> FirstBytes { bytes.withUnsafeBytes { FirstBytes.read($0) } }
private func read(_ text: String) -> FirstBytes { read(Array(text.utf8)) }
private func two(_ n: Int) -> [UInt8] { [UInt8(n >> 8), UInt8(n & 255)] }

/// A ClientHello, without its record; `name` nil: without a server name.
private func hello(_ name: String?, type: UInt8 = 0, before: Int = 3) -> [UInt8] {
    var extensions: [UInt8] = []
    for i in 0..<before { extensions += two(20 + i) + two(5) + [1, 2, 3, 4, 5] }
    if let name {
        let entry = [type] + two(name.utf8.count) + Array(name.utf8)
        extensions += two(0) + two(entry.count + 2) + two(entry.count) + entry
    }
    extensions += two(43) + two(3) + [2, 3, 4]
    let body: [UInt8] =
        [3, 3] + [UInt8](repeating: 9, count: 32) + [32] + [UInt8](repeating: 8, count: 32)
        + two(4) + [0x13, 1, 0x13, 2] + [1, 0] + two(extensions.count) + extensions
    return [1, 0] + two(body.count) + body
}
private func records(_ bytes: [UInt8], of size: Int) -> [UInt8] {
    stride(from: 0, to: bytes.count, by: size).flatMap { at in
        let piece = bytes[at..<min(at + size, bytes.count)]
        return [22, 3, 1] + two(piece.count) + piece
    }
}

@Suite struct FirstBytesTests {
    @Test(arguments: [10_000, 100, 7, 1]) func theServerNameOfTLS(_ size: Int) {
        let bytes = records(hello("www.Example.org"), of: size)
        #expect(read(bytes) == .name("www.Example.org"))
        #expect(read(bytes + [22, 3, 3, 0, 1, 0]) == .name("www.Example.org"))
        for n in 0..<bytes.count { #expect(read(Array(bytes[..<n])) == .needMore, "\(n)") }
    }

    @Test func noName() {
        #expect(read(records(hello(nil), of: 500)) == .none)
        #expect(read(records(hello("192.0.2.1"), of: 500)) == .none, "an address")
        #expect(read(records(hello("a b"), of: 500)) == .none)
        #expect(read(records(hello(""), of: 500)) == .none)
        #expect(read(records(hello("x.org", type: 1), of: 500)) == .none)
        #expect(read([22, 2, 0]) == .none, "SSL 2")
        #expect(read([22, 3, 1, 0, 0]) == .none, "an empty record")
        #expect(read([22, 3, 1, 0, 4, 2, 0, 0, 0]) == .none, "a ServerHello")
        #expect(read([0x80, 1]) == .none)
        #expect(read([]) == .needMore)
    }

    /// Every length that lies about what follows.
    @Test func lengthsThatLie() {
        let good = records(hello("www.example.org"), of: 10_000)
        for at in good.indices {
            for value in [0, 1, 0x7f, 0xff] as [UInt8] {
                var bytes = good
                bytes[at] = value
                _ = read(bytes)
            }
        }
        let endless =
            [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff] + [UInt8](repeating: 1, count: 20_000)
        #expect(read(endless) == .none, "more than is looked at")
    }

    @Test func theHostOfHTTP() {
        #expect(read("GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n") == .name("www.example.org"))
        #expect(
            read("POST /x HTTP/1.1\r\nA: b\r\nhost:  example.org:8080\r\n\r\nbody")
                == .name("example.org"))
        #expect(read("GET / HTTP/1.1\r\nHost: example.org\r\n") == .needMore)
        #expect(read("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n") == .none)
        #expect(read("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n") == .none)
        #expect(read("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n") == .none)
        #expect(read("GET / HTTP/1.0\r\n\r\n") == .none)
        #expect(read("GET \u{1}") == .none)
        #expect(read("SSH-2.0-OpenSSH_9.2\r\n") == .needMore)
        #expect(read("get") == .none)
        #expect(read("G" + String(repeating: "E", count: 17_000)) == .none)
    }
}
