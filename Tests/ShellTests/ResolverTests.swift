import CDatagram
import Glibc
import Measures
import Testing
@testable import Shell

/// A name server on loopback with fixed answers.
private final class NameServer {
    let socket: DatagramSocket
    let loop: EventLoop
    var asked: [String] = []
    var silent: Set<String> = []
    var v4: [String: [UInt32]] = [:]
    var v6: [String: [UInt8]] = [:]

    init(_ loop: EventLoop) throws {
        self.loop = loop
        socket = try DatagramSocket(.listen(SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0)), loop: loop)
        let exchange = DatagramExchange()
        socket.watch.onReadable(for: self) { server in
            _ = exchange.receive(from: server.socket) { query, from, _ in
                guard let reply = server.answer(Array(query)) else { return }
                var departure = braid_departure()
                reply.withUnsafeBytes { bytes in
                    departure.bytes = bytes.bindMemory(to: UInt8.self).baseAddress
                    departure.length = UInt32(bytes.count)
                    departure.remote = braid_address(from)
                    let out = braid_sender_create(1)!
                    _ = braid_sender_add(out, &departure)
                    _ = braid_send(out, server.socket.descriptor, 0)
                    braid_sender_free(out)
                }
            }
        }
        socket.watch.wantsRead = true
    }

    /// RFC 1035 section 4: header, the question again, answers that point at its name.
    private func answer(_ query: [UInt8]) -> [UInt8]? {
        var at = 12, labels: [String] = []
        while query[at] != 0 {
            labels.append(String(decoding: query[(at + 1)...(at + Int(query[at]))], as: UTF8.self))
            at += Int(query[at]) + 1
        }
        let name = labels.joined(separator: ".").lowercased(), type = query[at + 2]
        let question = query[12..<(at + 5)]
        asked.append("\(type == 28 ? "AAAA" : "A") \(name)")
        if silent.contains(name) { return nil }
        var records: [[UInt8]] = []
        if type == 1 {
            records = (v4[name] ?? []).map { n in
                (0..<4).map { UInt8(truncatingIfNeeded: n >> (24 - 8 * UInt32($0))) }
            }
        }
        if type == 28, let bytes = v6[name] { records = [bytes] }
        let exists = v4[name] != nil || v6[name] != nil
        var out: [UInt8] = [query[0], query[1], 0x81, exists ? 0x80 : 0x83, 0, 1, 0, UInt8(records.count), 0, 0, 0, 0] + question
        for r in records { out += [0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, UInt8(r.count)] + r }
        return out
    }
}

@Suite struct ResolverTests {
    private func set(_ loop: EventLoop, timeout: Interval = .seconds(5)) throws -> (NameServer, Resolver) {
        let server = try NameServer(loop)
        server.v4["two.example"] = [0xc000_0201, 0xc000_0202]
        server.v6["two.example"] = [0x20, 1, 0xd, 0xb8] + Array(repeating: 0, count: 11) + [7]
        server.v4["old.example"] = [0xc000_0203]
        let path = "/tmp/braid-test-\(getpid())-\(server.socket.localAddress.port).conf"
        defer { unlink(path) }
        let text = "search lab.invalid\noptions ndots:5\nnameserver \(server.socket.localAddress)\n"
        let file = fopen(path, "w")
        fputs(text, file)
        fclose(file)
        return (server, try Resolver(loop: loop, timeout: timeout, configurationPath: path))
    }

    private func ask(_ loop: EventLoop, _ resolver: Resolver, _ name: String) -> Resolver.Resolution {
        let resolution = resolver.resolve(name) { _ in }
        _ = loop.run(until: .seconds(4)) { resolution.isComplete }
        return resolution
    }

    @Test func bothFamilies() throws {
        let loop = try EventLoop(), (server, resolver) = try set(loop)
        let r = ask(loop, resolver, "two.example")
        #expect(r.v4.addresses == [IPAddress("192.0.2.1")!, IPAddress("192.0.2.2")!])
        #expect(r.v6.addresses == [IPAddress("2001:db8::7")!])
        #expect(r.failure == nil)
        #expect(Set(server.asked) == ["A two.example", "AAAA two.example"])
    }

    @Test func oneFamilyIsEnough() throws {
        let loop = try EventLoop(), (server, resolver) = try set(loop)
        let r = ask(loop, resolver, "old.example")
        #expect(r.v4.addresses.count == 1 && r.v6 == .failed(.notFound) && r.failure == nil)
        withExtendedLifetime(server) {}
    }

    @Test func anUnknownNameIsNotSearchedFor() throws {
        let loop = try EventLoop(), (server, resolver) = try set(loop)
        let r = ask(loop, resolver, "none.example")
        #expect(r.failure == .notFound)
        #expect(server.asked.allSatisfy { !$0.contains("lab.invalid") })
    }

    @Test func silenceTimesOut() throws {
        let loop = try EventLoop(), (server, resolver) = try set(loop, timeout: .milliseconds(200))
        server.silent = ["two.example"]
        let start = loop.now()
        let r = ask(loop, resolver, "two.example")
        #expect(r.failure == .timedOut)
        #expect(loop.now() - start < .seconds(2))
    }

    @Test func hostsAreHonored() throws {
        let loop = try EventLoop(), (server, resolver) = try set(loop)
        let r = ask(loop, resolver, "localhost")
        #expect(r.v4.addresses == [IPAddress("127.0.0.1")!])
        withExtendedLifetime(server) {}
    }

    @Test func aCancelledQuestionIsSilent() throws {
        let loop = try EventLoop(), (server, resolver) = try set(loop)
        var called = false
        resolver.resolve("two.example") { _ in called = true }.cancel()
        _ = loop.run(until: .milliseconds(50)) { called }
        #expect(!called)
        withExtendedLifetime(server) {}
    }
}
