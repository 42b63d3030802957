import Dialogue
import Glibc
import Measures
import Shell
import Testing

@testable import Proxy

/// A name server on the loopback: answers over UDP and TCP as it is told.
private final class NamesOrigin {
    let address: SocketAddress
    var asked: [String] = []
    var answer: (DNSQuery) -> [UInt8]? = { _ in nil }
    /// Over TCP; nil: as over UDP.
    var whole: ((DNSQuery) -> [UInt8]?)?
    private let sockets: RelaySockets
    private let socket: RelaySocket
    private var listener: StreamListener?
    private var guests: [StreamSocket] = []

    init(_ loop: EventLoop) throws {
        sockets = RelaySockets(loop: loop)
        socket = try RelaySocket(SocketAddress("127.0.0.1:0")!, sockets)
        address = socket.localAddress
        listener = try StreamListener(address, loop: loop) { [weak self] guest, _ in
            guard let self else { return }
            guests.append(guest)
            guest.watch.onReadable(for: self) { [weak guest] in $0.read(guest!) }
            guest.watch.wantsRead = true
        }
        socket.onReadable(for: self) { origin in
            origin.sockets.receive(origin.socket) {
                (message: UnsafeRawBufferPointer, from: SocketAddress) in
                guard let query = origin.query(message), let answer = origin.answer(query) else {
                    return
                }
                answer.withUnsafeBytes {
                    origin.sockets.post([], $0, to: from, through: origin.socket)
                }
            }
        }
    }

    private func query(_ message: UnsafeRawBufferPointer) -> DNSQuery? {
        guard let query = try? DNSQuery(reading: message) else { return nil }
        asked.append(query.question.name.hostName ?? "?")
        return query
    }

    private func read(_ guest: StreamSocket) {
        var bytes = [UInt8](repeating: 0, count: 1_024)
        guard case .bytes(let n) = bytes.withUnsafeMutableBytes({ guest.read(into: $0) }), n > 2,
            let query = bytes[2..<n].withUnsafeBytes({ query($0) }),
            let answer = (whole ?? answer)(query)
        else { guest.close(); return }
        _ = guest.write([UInt8(answer.count >> 8), UInt8(answer.count & 255)] + answer)
    }

    /// A file like /etc/resolv.conf that names it.
    func file() -> String {
        let path = "/tmp/braid-test-\(getpid())-\(address.port).conf"
        let file = fopen(path, "w")
        fputs("nameserver \(address)\n", file)
        fclose(file)
        return path
    }
}

/// A program that asks a DNS port over UDP.
private final class Asker {
    let sockets: RelaySockets
    let socket: RelaySocket
    let loop: EventLoop
    var answers: [[UInt8]] = []

    init(_ loop: EventLoop) throws {
        self.loop = loop
        sockets = RelaySockets(loop: loop)
        socket = try RelaySocket(SocketAddress("127.0.0.1:0")!, sockets)
        socket.onReadable(for: self) { asker in
            asker.sockets.receive(asker.socket) {
                (message: UnsafeRawBufferPointer, _: SocketAddress) in
                asker.answers.append(Array(message))
            }
        }
    }

    func send(_ message: [UInt8], to address: SocketAddress) {
        message.withUnsafeBytes { sockets.post([], $0, to: address, through: socket) }
        loop.turnAgain()
    }

    func ask(_ query: DNSQuery, _ address: SocketAddress) -> DNSAnswer? {
        answers = []
        send(query.bytes, to: address)
        _ = loop.run(until: .seconds(10)) { !answers.isEmpty }
        return answers.first?.withUnsafeBytes { DNSAnswer(reading: $0) }
    }
}

@Suite(.timeLimit(.minutes(2))) struct NameTests {
    private static func query(
        _ name: String, id: UInt16 = 5, type: UInt16 = 1, size: UInt16? = nil
    )
        -> DNSQuery
    {
        DNSQuery(
            id: id, DNSQuestion(DNSName(name)!, type: type), flags: 0x0100,
            extended: size.map { .init(size: $0, wantsSignatures: false) })
    }

    /// Records of `size` bytes in all, each of 200 bytes of text.
    private static func texts(_ query: DNSQuery, _ count: Int) -> [UInt8] {
        var out = Array(query.bytes.prefix(12 + query.asWritten.count))
        out[2] = 0x81
        out[3] = 0x80
        out[6] = UInt8(count >> 8)
        out[7] = UInt8(count & 255)
        out[11] = 0
        for i in 0..<count {
            out += [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 200, 199]
            out += [UInt8](repeating: UInt8(i & 255), count: 199)
        }
        return out
    }

    private func set(
        local: Bool = false, hasNames: Bool = true
    ) throws -> (Street, NamesOrigin, NamesOrigin, Asker) {
        let first = try EventLoop(), origin = try NamesOrigin(first), home = try NamesOrigin(first)
        var names = NameSettings()
        names.listen = [SocketAddress("127.0.0.1:0")!]
        names.local = [DNSName("lan")!]
        names.servers = [home.address]
        let street = try Street(
            names: names, nameServers: origin.file(), hasNames: hasNames, loop: first)
        origin.answer = { $0.answer(addresses: [[192, 0, 2, 7]], lifetime: 60) }
        home.answer = { $0.answer(addresses: [[192, 168, 1, 9]], lifetime: 60) }
        return (street, origin, home, try Asker(first))
    }

    @Test func aNameIsAskedThroughTheTunnelOnceAndRemembered() throws {
        let (street, origin, home, asker) = try set()
        let port = street.proxy.names.listen[0]
        let name = "WWW.example"
        #expect(asker.ask(Self.query(name), port)?.addresses == [IPAddress("192.0.2.7")!])
        #expect(asker.ask(Self.query(name, id: 6), port)?.addresses.count == 1)
        #expect(origin.asked == ["www.example"] && home.asked.isEmpty)
        #expect(
            street.proxy.names.name(
                of: IPAddress("192.0.2.7")!, askedBy: IPAddress("127.0.0.5")!) == "www.example")
    }

    @Test func localNamesAreAskedHere() throws {
        let (street, origin, home, asker) = try set()
        let port = street.proxy.names.listen[0]
        #expect(
            asker.ask(Self.query("printer.lan"), port)?.addresses == [IPAddress("192.168.1.9")!])
        #expect(home.asked == ["printer.lan"] && origin.asked.isEmpty)
        for (name, code) in [("localhost", 0), ("a.invalid", 3), ("b.onion", 3)]
            as [(String, UInt16)]
        {
            #expect(asker.ask(Self.query(name), port)?.code == code)
        }
        #expect(origin.asked.isEmpty)
    }

    /// Who asks for signatures, for what was not checked, or whether it was, is understood by
    /// whoever is asked: through the tunnel, at home, and beside both for the concentrator's name.
    @Test func flagsGoWithAQuestion() throws {
        let (street, origin, home, asker) = try set()
        let names = street.proxy.names
        let checked: UInt16 = 0x0020, unchecked: UInt16 = 0x0010
        var heard: [DNSQuery] = []
        for server in [origin, home] {
            server.answer = { query in
                heard.append(query)
                var answer = query.answer(addresses: [[192, 0, 2, 7]], lifetime: 60)
                answer[3] |= UInt8(checked)
                return answer
            }
        }
        names.concentrators = [DNSName("concentrator.test")!]
        for (name, isBeside) in [
            ("signed.test", false), ("signed.lan", false), ("concentrator.test", true)
        ] {
            var query = Self.query(name, size: 1_400)
            query.flags |= unchecked
            query.extended?.wantsSignatures = true
            heard = []
            asker.answers = []
            if isBeside {
                let me = NameService.Client(
                    address: asker.socket.localAddress, transport: .datagram)
                query.bytes.withUnsafeBytes {
                    names.ask($0, from: me, of: home.address) { asker.answers.append($0) }
                }
                _ = street.loop.run(until: .seconds(10)) { !asker.answers.isEmpty }
            } else {
                _ = asker.ask(query, names.listen[0])
            }
            #expect(heard.count == 1 && heard[0].extended?.wantsSignatures == true, "\(name)")
            #expect(heard.first.map { $0.flags & (checked | unchecked) } == checked | unchecked)
            let answer = try #require(asker.answers.first)
            #expect(UInt16(answer[3]) & (checked | unchecked) == checked | unchecked, "\(name)")
        }
        // Who asks for none of it gets none.
        heard = []
        _ = asker.ask(Self.query("plain.lan"), names.listen[0])
        #expect(heard.first.map { $0.flags & unchecked } == 0)
        #expect(heard.first?.extended?.wantsSignatures == false)
        #expect(asker.answers.first.map { UInt16($0[3]) & checked } == 0)
    }

    @Test func whatIsTooLongForADatagramComesOverTCP() throws {
        let (street, origin, _, asker) = try set()
        let port = street.proxy.names.listen[0]
        // 4,000 bytes fit a client's 4,096; to one that says less it is cut, and to TCP it is
        // whole; 60,000 come through the tunnel by a stream.
        for (count, isWhole) in [(18, true), (270, false)] {
            origin.asked = []
            origin.answer = { query in
                var cut = query.failure(0)
                cut[2] |= 2
                return cut
            }
            origin.whole = { Self.texts($0, count) }
            let query = Self.query("texts\(count).test", type: 16, size: 4_096)
            let answer = asker.ask(query, port)
            #expect(answer?.isTruncated == !isWhole, "\(count)")
            let short = asker.ask(Self.query("texts\(count).test", type: 16), port)
            #expect(short?.isTruncated == true)
            let application = try Stream(street.loop, port)
            application.send(query.bytes)
            let whole = application.next()
            #expect(whole.count == Self.texts(query, count).count + 11)
            #expect(origin.asked.count == (isWhole ? 2 : 4))
        }
    }

    @Test func severalQuestionsOnOneConnection() throws {
        let (street, _, _, _) = try set()
        let application = try Stream(street.loop, street.proxy.names.listen[0])
        // Far more than may be under way, in pieces of odd lengths.
        var bytes: [UInt8] = []
        for i in 0..<200 {
            let message = Self.query("n\(i).example", id: UInt16(i)).bytes
            bytes += [0, UInt8(message.count)] + message
        }
        for start in stride(from: 0, to: bytes.count, by: 333) {
            application.raw(Array(bytes[start..<min(start + 333, bytes.count)]))
        }
        var ids: Set<UInt16> = []
        for _ in 0..<200 {
            let answer = application.next()
            guard answer.count > 12 else { break }
            ids.insert(UInt16(answer[0]) << 8 | UInt16(answer[1]))
        }
        #expect(ids == Set(0..<200))
        // A question of no length ends it.
        application.raw([0, 0])
        #expect(application.next().isEmpty && application.isEnded)
    }

    @Test func aUserMayBeDenied() throws {
        let (street, origin, _, asker) = try set(hasNames: false)
        #expect(asker.ask(Self.query("a.test"), street.proxy.names.listen[0])?.code == 5)
        #expect(origin.asked.isEmpty)
    }

    @Test func withoutASessionItIsAsTheProxyIsTold() throws {
        let (street, origin, home, asker) = try set()
        let port = street.proxy.names.listen[0]
        street.proxy.names.absence = { WithoutSession.refuse }
        #expect(asker.ask(Self.query("a.test"), port)?.code == 2)
        #expect(asker.ask(Self.query("printer.lan"), port)?.code == 0)
        street.proxy.names.absence = { .direct }
        #expect(asker.ask(Self.query("a.test"), port)?.addresses == [IPAddress("192.168.1.9")!])
        #expect(home.asked == ["printer.lan", "a.test"] && origin.asked.isEmpty)
        // What was said at home is not kept.
        street.proxy.names.absence = { nil }
        #expect(asker.ask(Self.query("a.test"), port)?.addresses == [IPAddress("192.0.2.7")!])
    }

    @Test func whatIsNoQuestionIsToldSo() throws {
        let (street, _, _, asker) = try set()
        let port = street.proxy.names.listen[0]
        var notify = Self.query("a.test").bytes
        notify[2] = 0x21
        asker.send([1, 2, 3], to: port)
        asker.send(Self.query("a.test").failure(0), to: port)
        asker.send(notify, to: port)
        _ = street.loop.run(until: .seconds(5)) { !asker.answers.isEmpty }
        #expect(asker.answers.count == 1 && asker.answers[0][3] == 4)
    }

    @Test func aFloodOfOneClientIsBounded() throws {
        let (street, origin, _, asker) = try set()
        let port = street.proxy.names.listen[0]
        origin.answer = { _ in nil }
        for i in 0..<2_000 {
            asker.send(Self.query("x\(i).test", id: UInt16(i)).bytes, to: port)
            if i % 50 == 0 { _ = street.loop.run(until: .milliseconds(1)) { false } }
        }
        _ = street.loop.run(until: .milliseconds(50)) { false }
        let status = street.proxy.status().counters
        let underWay = status.first { $0.name == "names_under_way" }?.value ?? 0
        #expect(underWay > 0 && underWay <= NameLimit.questionsPerClient)
    }

    @Test func thousandsOfConnectionsAreBounded() throws {
        let (street, _, _, _) = try set()
        let port = street.proxy.names.listen[0]
        var all: [Stream] = []
        for _ in 0..<(NameLimit.connections + 50) { all.append(try Stream(street.loop, port)) }
        let last = try Stream(street.loop, port)
        last.send(Self.query("a.test").bytes)
        #expect(last.next().count > 12)
        let status = street.proxy.status().counters
        #expect(status.first { $0.name == "names_connections" }?.value == NameLimit.connections)
        _ = all
    }

    /// A client of DNS over TCP.
    private final class Stream {
        private let loop: EventLoop
        private var attempt: StreamSocket.Attempt?
        private var socket: StreamSocket?
        private var received: [UInt8] = []
        private(set) var isEnded = false

        init(_ loop: EventLoop, _ address: SocketAddress) throws {
            self.loop = loop
            attempt = StreamSocket.connect(to: address, loop: loop) { [weak self] result in
                guard let self, case .success(let socket) = result else { return }
                self.socket = socket
                socket.watch.onReadable(for: self) { $0.read() }
                socket.watch.wantsRead = true
            }
            _ = loop.run(until: .seconds(10)) { socket != nil }
        }

        func send(_ message: [UInt8]) {
            raw([UInt8(message.count >> 8), UInt8(message.count & 255)] + message)
        }

        func raw(_ bytes: [UInt8]) {
            _ = socket?.write(bytes)
            _ = loop.run(until: .milliseconds(1)) { false }
        }

        /// The next message; empty where there is none any more.
        func next() -> [UInt8] {
            _ = loop.run(until: .seconds(10)) {
                isEnded || length.map { received.count >= $0 } == true
            }
            guard let length, received.count >= length else { return [] }
            defer { received.removeFirst(length) }
            return Array(received[2..<length])
        }

        private var length: Int? {
            received.count < 2 ? nil : 2 + (Int(received[0]) << 8 | Int(received[1]))
        }

        private func read() {
            guard let socket else { return }
            withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 1) { space in
                switch socket.read(into: space) {
                case .bytes(let n): received += space[..<n]
                case .blocked: break
                case .end, .failed: isEnded = true; socket.close()
                }
            }
        }
    }
}
