import CDatagram
import Glibc
import Measures
import Testing

@testable import Shell

/// A name server on loopback with fixed answers.
private final class ScriptedServer {
    let socket: DatagramSocket
    let loop: EventLoop
    var asked: [String] = []
    var silent: Set<String> = []
    /// Of every answer, where not 0: 2 is SERVFAIL, 5 REFUSED.
    var responseCode: UInt8 = 0
    var isDead = false
    var delay = Interval.zero
    private var delayed: [LoopTimer] = []
    var v4: [String: [UInt32]] = [:]
    var v6: [String: [UInt8]] = [:]

    init(_ loop: EventLoop) throws {
        self.loop = loop
        socket = try DatagramSocket(
            .listen(SocketAddress(IPAddress(v4: 0x7f00_0001), port: 0)), loop: loop)
        let exchange = DatagramExchange()
        socket.watch.onReadable(for: self) { server in
            _ = exchange.receive(from: server.socket) { query, from, _ in
                guard let reply = server.answer(Array(query)) else { return }
                let timer = server.loop.timer(for: server) { $0.send(reply, to: from) }
                timer.arm(after: server.delay)
                server.delayed.append(timer)
            }
        }
        socket.watch.wantsRead = true
    }

    private func send(_ reply: [UInt8], to from: SocketAddress) {
        var outgoing = braid_outgoing()
        reply.withUnsafeBytes { bytes in
            outgoing.bytes = bytes.bindMemory(to: UInt8.self).baseAddress
            outgoing.length = UInt32(bytes.count)
            outgoing.remote = braid_address(from)
            let out = braid_sender_create(1)!
            _ = braid_sender_add(out, &outgoing)
            _ = braid_send(out, socket.descriptor, 0, 1)
            braid_sender_free(out)
        }
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
        if isDead || silent.contains(name) { return nil }
        if responseCode != 0 {
            return [query[0], query[1], 0x81, 0x80 | responseCode, 0, 1, 0, 0, 0, 0, 0, 0]
                + question
        }
        var records: [[UInt8]] = []
        if type == 1 {
            records = (v4[name] ?? []).map { n in
                (0..<4).map { UInt8(truncatingIfNeeded: n >> (24 - 8 * UInt32($0))) }
            }
        }
        if type == 28, let bytes = v6[name] { records = [bytes] }
        let exists = v4[name] != nil || v6[name] != nil
        var out: [UInt8] =
            [
                query[0], query[1], 0x81, exists ? 0x80 : 0x83, 0, 1, 0, UInt8(records.count), 0, 0,
                0, 0
            ] + question
        for r in records { out += [0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, UInt8(r.count)] + r }
        return out
    }
}

@Suite struct ResolverTests {
    private func set(
        _ loop: EventLoop, timeout: Interval = .seconds(5)
    ) throws -> (ScriptedServer, Resolver) {
        let server = try ScriptedServer(loop)
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

    private func ask(_ loop: EventLoop, _ resolver: Resolver, _ name: String) -> Resolver.Resolution
    {
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

    // MARK: Several servers

    private final class ServersFile {
        let path: String
        init(_ name: String) { path = "/tmp/braid-test-\(getpid())-\(name).conf" }
        deinit { unlink(path) }

        func write(_ servers: [ScriptedServer], options: String = "") {
            // A new file in its place, as those who change the real one do it.
            let lines = servers.map { "nameserver \($0.socket.localAddress)\n" }.joined()
            let file = fopen(path + ".new", "w")
            fputs(lines + options + "\n", file)
            fclose(file)
            rename(path + ".new", path)
        }
    }

    private func servers(
        _ loop: EventLoop, _ file: ServersFile,
        options: String = ""
    ) throws -> (ScriptedServer, ScriptedServer, Resolver) {
        let first = try ScriptedServer(loop), second = try ScriptedServer(loop)
        first.v4["internal.example"] = [0x0a00_0001]
        second.v4["public.example"] = [0xc000_0201]
        file.write([first, second], options: options)
        return (first, second, try Resolver(loop: loop, configurationPath: file.path))
    }

    /// An address that is none crashed: its server was freed twice.
    @Test(arguments: [
        "999.1.1.1", "[::1", "::%", "fe80::1%nosuch", "\u{0}", "1.2.3.4:99999999999999999999"
    ])
    func aBrokenServerLineIsSurvived(server: String) throws {
        let loop = try EventLoop(),
            path = "/tmp/braid-test-\(getpid())-\(server.utf8.count)-broken.conf"
        defer { unlink(path) }
        let text = Array("nameserver \(server)\nnameserver \(server)\n".utf8)
        let file = fopen(path, "w")
        fwrite(text, 1, text.count, file)
        fclose(file)
        let resolver = try Resolver(loop: loop, timeout: .seconds(1), configurationPath: path)
        #expect(ask(loop, resolver, "two.example").failure != nil)
    }

    /// The second server knows nothing of the inner names, and its "no" would be believed.
    @Test func theFirstServerIsAsked() throws {
        let loop = try EventLoop(), file = ServersFile("order")
        let (first, second, resolver) = try servers(loop, file)
        second.isDead = true
        for _ in 0..<8 {
            #expect(
                ask(loop, resolver, "internal.example").v4.addresses == [IPAddress("10.0.0.1")!])
        }
        #expect(first.asked.count == 16 && second.asked.isEmpty)
        #expect(ask(loop, resolver, "nowhere.example").failure == .notFound)
        #expect(second.asked.isEmpty, "a no is an answer")
    }

    @Test func theNextIsAskedAfterATimeOut() throws {
        let loop = try EventLoop(), file = ServersFile("silent")
        let (first, second, resolver) = try servers(loop, file, options: "options timeout:1")
        first.isDead = true
        #expect(ask(loop, resolver, "public.example").v4.addresses == [IPAddress("192.0.2.1")!])
        #expect(
            Set(first.asked) == ["A public.example", "AAAA public.example"]
                && first.asked.count == 2)
        withExtendedLifetime(second) {}
    }

    /// With five seconds for each time-out: nobody waits for one here.
    @Test(arguments: [UInt8(1), 2, 4, 5])
    func aFailureIsNotATimeOut(code: UInt8) throws {
        let loop = try EventLoop(), file = ServersFile("failure\(code)")
        let (first, second, resolver) = try servers(
            loop, file, options: "options timeout:5 attempts:5")
        first.responseCode = code
        for _ in 0..<3 {
            let found = ask(loop, resolver, "public.example")
            #expect(found.isComplete && found.v4.addresses == [IPAddress("192.0.2.1")!])
        }
        second.responseCode = code
        for _ in 0..<3 {
            let asked = first.asked.count
            let none = ask(loop, resolver, "public.example")
            #expect(none.isComplete && none.failure == .serverFailed)
            #expect(
                first.asked.count == asked + 2, "what failed is not asked again for one question")
        }
        first.responseCode = 0
        #expect(
            ask(loop, resolver, "internal.example").v4.addresses.count == 1,
            "it may work the next time")
    }

    @Test func oneFailsAndOneIsSilent() throws {
        let loop = try EventLoop(), file = ServersFile("both")
        let (first, second, resolver) = try servers(
            loop, file, options: "options timeout:1 attempts:1")
        first.responseCode = 2
        second.isDead = true
        #expect(ask(loop, resolver, "public.example").failure == .serverFailed)
    }

    /// The first is slow, not dead: what it says after the second was asked too counts.
    @Test func aLateAnswerIsAnAnswer() throws {
        let loop = try EventLoop(), file = ServersFile("late")
        let (first, second, resolver) = try servers(loop, file, options: "options timeout:1")
        first.delay = .milliseconds(1500)
        second.isDead = true
        #expect(ask(loop, resolver, "internal.example").v4.addresses.count == 1)
        #expect(!second.asked.isEmpty && first.asked.count == 2)
    }

    @Test func aChangedFileIsNoticed() throws {
        let loop = try EventLoop(), file = ServersFile("changed")
        let (first, second, resolver) = try servers(loop, file, options: "options timeout:1")
        #expect(ask(loop, resolver, "public.example").failure == .notFound)
        file.write([second])
        #expect(ask(loop, resolver, "public.example").v4.addresses.count == 1)
        // In the middle of a question: the laptop moved to another network.
        second.isDead = true
        let moved = resolver.resolve("internal.example") { _ in }
        #expect(loop.run(until: .seconds(4)) { second.asked.contains("A internal.example") })
        file.write([first], options: "options timeout:1")
        #expect(loop.run(until: .seconds(4)) { moved.isComplete })
        #expect(moved.v4.addresses.count == 1)
    }

    /// A file that is as long as a number can be, of holes, is read as far as any other.
    @Test func aFileAsLongAsANumberCanBe() throws {
        let path = "/dev/shm/braid-test-\(getpid())-long.conf"
        defer { unlink(path) }
        let file = open(path, O_RDWR | O_CREAT, 0o600)
        try #require(file >= 0)
        defer { close(file) }
        let text = "nameserver 192.0.2.3\n"
        #expect(write(file, text, text.utf8.count) == text.utf8.count)
        // Not every file system takes it.
        guard ftruncate(file, .max) == 0 else { return }
        #expect(ResolverFile(path: path).configuration.servers == ["192.0.2.3:53"])
    }

    /// A directory, a pipe, a device, nothing at all: what was read last stays, and nobody waits.
    @Test(.timeLimit(.minutes(1))) func whatIsNoFileIsNotRead() throws {
        let path = "/tmp/braid-test-\(getpid())-odd.conf"
        defer { unlink(path) }
        func write(_ text: String) {
            let file = fopen(path, "w")
            fputs(text, file)
            fclose(file)
        }
        write("nameserver 192.0.2.1")
        var file = ResolverFile(path: path)
        let odd: [(String) -> Int32] = [
            { mkfifo($0, 0o600) }, { mkdir($0, 0o700) }, { symlink("/dev/zero", $0) },
            { symlink("/nowhere/at/all", $0) }
        ]
        for make in odd {
            unlink(path)
            #expect(make(path) == 0)
            let isNew = file.reread()
            #expect(!isNew && file.configuration.servers == ["192.0.2.1:53"])
            rmdir(path)
        }
        unlink(path)
        write("nameserver 192.0.2.2")
        let isNew = file.reread()
        #expect(isNew && file.configuration.servers == ["192.0.2.2:53"])
    }

    @Test func theFilesWords() {
        let text = """
            # nameserver 192.0.2.9
            domain example.org
            nameserver 192.0.2.1
            nameserver\t2001:db8::1
             nameserver 192.0.2.3:5353
            nameserver 192.0.2.4
            options ndots:5 timeout:4 attempts:3 rotate
            """
        let read = ResolverConfiguration(text)
        #expect(read.servers == ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:5353"])
        #expect(read.timeout == .seconds(4) && read.attempts == 3 && read.limit == .seconds(8))
        // What is no address takes nobody's place.
        let odd = ResolverConfiguration(
            """
            nameserver
            nameserver ns.example.org
            nameserver 192.0.2
            nameserver [fe80::1
            nameserver fe80::53%eth0
            nameserver [fe80::54%eth0] # the router
            nameserver [2001:db8::5]:5353
            """)
        #expect(
            odd.servers == ["[fe80::53%eth0]:53", "[fe80::54%eth0]:53", "[2001:db8::5]:5353"])
        #expect(odd.refused == ["ns.example.org", "192.0.2", "[fe80::1"])
        let places = odd.servers.compactMap { NamePlace($0) }
        #expect(places.map(\.binding.interface) == ["eth0", "eth0", nil])
        #expect(places[0].address == SocketAddress(IPAddress("fe80::53")!, port: 53))
        // A zone may be a number.
        let byNumber = NamePlace("[fe80::1%\(if_nametoindex("lo"))]:53")
        #expect(byNumber?.binding.interface == "lo")
        #expect(NamePlace("[fe80::1%4294967295]:53") == nil)
        for text in ["[fe80::1%]:53", "fe80::1%eth0", "[fe80::1%eth0", "%]", "]%[:53"] {
            #expect(NamePlace(text) == nil, "\(text)")
        }
        #expect(ResolverConfiguration("nameserver x").servers == ["127.0.0.1:53"])
        let none = ResolverConfiguration(
            "options timeout:0 attempts:99999999999999999999 timeout:x")
        #expect(
            none.servers == ["127.0.0.1:53"] && none.timeout == .seconds(1) && none.attempts == 2)
        #expect(ResolverConfiguration("options timeout:900 attempts:900").timeout == .seconds(5))
        #expect(ResolverConfiguration("options attempts:900").attempts == 5)
        #expect(ResolverConfiguration("nameserver 192.0.2.1").limit == .seconds(4))
    }
}
