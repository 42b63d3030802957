import Dialogue
import Measures
import Rules
import Shell
import Testing
import Wire

@testable import Proxy

private func loopback(_ port: UInt16) -> [UInt8] {
    [1, 127, 0, 0, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
}
private func echo(_ read: [UInt8], _ ended: Bool) -> (send: [UInt8], close: Bool)? { (read, ended) }
private let direct = RuleSet([Rule(.direct(uplink: nil))])
private let block = RuleSet([Rule(.block)])

/// What rules have the proxy do, with the concentrator denying whatever reaches it.
@Suite(.serialized) struct RuleTests {
    @Test func directSOCKS() throws {
        let street = try Street(denies: true, rules: direct)
        let port = try street.origin(echo)
        let application = try street.application()
        application.send([5, 1, 0, 5, 1, 0] + loopback(port) + Array("hello".utf8))
        #expect(application.expect(12) == [5, 0] + Socks5Dialogue.reply(.succeeded))
        #expect(application.expect(5) == Array("hello".utf8))
        application.send("again")
        #expect(application.expect(5) == Array("again".utf8))
        application.finish()
        application.wait { application.isEnded }
        #expect(!application.wasReset)
        #expect(street.proxy.directDials()?.counters.begun == 1)
    }

    @Test func directHTTP() throws {
        let street = try Street(denies: true, rules: direct)
        let port = try street.origin { read, _ in
            read.isEmpty
                ? nil
                : (Array("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".utf8), false)
        }
        let reply = try street.ask(
            "GET http://127.0.0.1:\(port)/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(reply.hasPrefix("HTTP/1.1 200 ") && reply.hasSuffix("hi"))
        let closed = try street.closedPort()
        let refused = try street.ask(
            "GET http://127.0.0.1:\(closed)/ HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(refused.hasPrefix("HTTP/1.1 502 ") && refused.contains("refused the connection"))
        let tunnel = try street.ask("CONNECT no-such-name.invalid:80 HTTP/1.1\r\n\r\n")
        #expect(tunnel.contains("does not resolve at the proxy"))
    }

    @Test func manyBytesEachWay() throws {
        let street = try Street(denies: true, rules: direct)
        let port = try street.origin(echo)
        let application = try street.application()
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        application.send([5, 1, 0, 5, 1, 0] + loopback(port))
        #expect(application.expect(12).count == 12)
        var sent = 0
        while sent < bytes.count {
            application.send(Array(bytes[sent..<min(sent + 200_000, bytes.count)]))
            sent += 200_000
            let wanted = min(sent, bytes.count)
            application.wait { application.received.count >= wanted }
        }
        #expect(application.received == bytes)
        application.finish()
        application.wait { application.isEnded }
        #expect(!application.wasReset)
        _ = street.loop.run(until: .seconds(5)) {
            street.proxy.directDials()?.counters.living == 0
        }
        #expect(street.proxy.directDials()?.counters.living == 0)
        #expect(street.proxy.directDials()?.memory.used == 0)
    }

    /// What an application wrote before it left is still sent.
    @Test func theRestIsSentAfterTheApplicationLeft() throws {
        let street = try Street(denies: true, rules: direct)
        var read = 0, ended = false
        let port = try street.origin { bytes, end in
            read += bytes.count
            ended = ended || end
            return ([], false)
        }
        let application = try street.application()
        application.send([5, 1, 0, 5, 1, 0] + loopback(port))
        #expect(application.expect(12).count == 12)
        application.send([UInt8](repeating: 7, count: 2_000_000))
        application.finish()
        _ = street.loop.run(until: .seconds(10)) { ended }
        #expect(read == 2_000_000)
    }

    /// In the middle of an upload, and of a download.
    @Test(arguments: [true, false]) func aResetOfTheOriginIsPassedOn(_ isUpload: Bool) throws {
        let street = try Street(denies: true, rules: direct)
        var guest: StreamSocket?
        let listener = try StreamListener(SocketAddress("127.0.0.1:0")!, loop: street.loop) {
            socket, _ in guest = socket
        }
        let application = try street.application()
        application.send([5, 1, 0, 5, 1, 0] + loopback(listener.address.port))
        #expect(application.expect(12).count == 12)
        application.wait { guest != nil }
        if isUpload { application.send([UInt8](repeating: 7, count: 1_000_000)) }
        application.wait(turns: 20)
        guest?.reset()
        application.wait { application.isEnded }
        #expect(application.wasReset)
        _ = street.loop.run(until: .seconds(5)) {
            street.proxy.directDials()?.counters.living == 0
        }
        #expect(street.proxy.directDials()?.counters.living == 0)
    }

    @Test func blocked() throws {
        let street = try Street(rules: block)
        let port = try street.origin(echo)
        let five = try street.ask([5, 1, 0, 5, 1, 0] + loopback(port))
        #expect(five == [5, 0] + Socks5Dialogue.reply(dial: .denied))
        let four = try street.ask(
            [4, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
                + [127, 0, 0, 1, 0])
        #expect(four == Socks4Dialogue.reply(.rejected))
        let connect = try street.ask("CONNECT 127.0.0.1:\(port) HTTP/1.1\r\n\r\n")
        #expect(connect.hasPrefix("HTTP/1.1 403 ") && connect.contains("A rule of this proxy"))
        let get = try street.ask("GET http://127.0.0.1:\(port)/ HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(get.hasPrefix("HTTP/1.1 403 "))
        #expect(street.proxy.notices.counters.blocked == 4)
    }

    @Test func anUplinkThatIsNotThere() throws {
        let street = try Street(rules: RuleSet([Rule(.direct(uplink: "nowhere0"))]))
        let port = try street.origin(echo)
        let five = try street.ask([5, 1, 0, 5, 1, 0] + loopback(port))
        #expect(five == [5, 0] + Socks5Dialogue.reply(dial: .networkUnreachable))
    }

    /// Who is not of this machine reaches nothing that listens on its loopback.
    @Test func loopbackIsForThisMachine() throws {
        let street = try Street(rules: direct)
        let dials = try #require(street.proxy.directDials())
        let others = dials.context(for: IPAddress("192.0.2.200")!).judge(for: "")
        for address in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
            #expect(!others(IPAddress(address)!, 80), "\(address)")
        }
        #expect(others(IPAddress("192.0.2.1")!, 80))
        let own = dials.context(for: IPAddress("127.0.0.1")!).judge(for: "")
        #expect(own(IPAddress("127.0.0.1")!, 80) && !own(.unspecifiedV4, 80))
    }

    @Test func withoutASession() throws {
        for way in WithoutSession.allCases {
            var clients = ClientLimits()
            clients.answer = .seconds(7)
            let street = try Street(clients: clients, withoutSession: way)
            for _ in 0..<2 { street.concentrator.stop() }
            let port = try street.origin(echo)
            let application = try street.application()
            let began = street.loop.now()
            application.send([5, 1, 0, 5, 1, 0] + loopback(port) + Array("hello".utf8))
            #expect(application.expect(2) == [5, 0])
            let reply = application.expect(10)
            let took = street.loop.now() - began
            switch way {
            case .direct:
                #expect(reply == Socks5Dialogue.reply(.succeeded))
                #expect(application.expect(5) == Array("hello".utf8))
            case .refuse:
                #expect(reply == Socks5Dialogue.reply(dial: .generalFailure))
                #expect(took < clients.answer, "as soon as it is known")
            case .wait:
                #expect(reply == Socks5Dialogue.reply(dial: .generalFailure))
                #expect(took >= clients.answer, "not before an answer had its time")
            }
        }
    }
}

/// Connections that come without a word to the proxy.
@Suite(.serialized) struct CapturedTests {
    /// An application whose connection is taken over at a listener of the test's own.
    private final class Captor {
        let listener: StreamListener
        private(set) var application: StreamSocket?
        private var attempt: StreamSocket.Attempt?
        var received: [UInt8] = []
        var ended = false, wasReset = false

        init(_ street: Street, to target: Target) throws {
            listener = try StreamListener(SocketAddress("127.0.0.1:0")!, loop: street.loop) {
                socket, _ in street.proxy.captured(socket, to: target, .captured())
            }
            attempt = StreamSocket.connect(to: listener.address, loop: street.loop) {
                [weak self] in
                guard let self, case .success(let socket) = $0 else { return }
                application = socket
                socket.watch.onReadable(for: self) { $0.read() }
                socket.watch.wantsRead = true
            }
            _ = street.loop.run(until: .seconds(5)) { self.application != nil }
        }

        private func read() {
            guard let application else { return }
            withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { space in
                switch application.read(into: space) {
                case .bytes(let n): received += space[..<n]
                case .blocked: break
                case .end: ended = true; application.watch.wantsRead = false
                case .failed: wasReset = true; application.watch.wantsRead = false
                }
            }
        }
    }

    private func named(_ name: String, _ action: Action) -> Rule {
        var rule = Rule(action), destinations = Rule.Destinations()
        let isName = destinations.names.insert(name, .suffix)
        #expect(isName)
        rule.destinations = destinations
        return rule
    }
    private let request = Array("GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n".utf8)

    @Test func theHostDecides() throws {
        let street = try Street(
            denies: true, rules: RuleSet([named("example.org", .direct(uplink: nil))]))
        let port = try street.origin(echo)
        let target = Target(host: .address(IPAddress("127.0.0.1")!), port: port)
        let captor = try Captor(street, to: target)
        // In two pieces: what was read for the name is the target's as well.
        _ = captor.application?.write(Array(request[..<9]))
        _ = street.loop.run(until: .milliseconds(5)) { false }
        _ = captor.application?.write(Array(request[9...]))
        _ = street.loop.run(until: .seconds(10)) { captor.received.count >= request.count }
        #expect(captor.received == request)
        #expect(street.proxy.directDials()?.counters.begun == 1)
    }

    /// What is dialled in the same way whatever its name need not wait for it.
    @Test func aNameIsNeededBeforeTheDialWhereItCouldPreventIt() throws {
        let target = Target(host: .address(IPAddress("192.0.2.1")!), port: 443)
        func need(_ rules: [Rule], user: UInt32? = nil) throws -> ProxyServer.NameNeed {
            let street = try Street(rules: RuleSet(rules))
            let origin = FlowOrigin(
                entry: .captured, address: IPAddress("127.0.0.1")!, user: { user })
            return street.proxy.needsName(target, from: origin)
        }
        var single = TunnelOptions(), wifi = TunnelOptions()
        single.mode = .single
        wifi.uplinks = ["wifi"]
        let isSingle = named("video.test", .tunnel(single)), isWifi = named("a.test", .tunnel(wifi))
        let blocked = named("b.test", .block), direct = named("c.test", .direct(uplink: nil))
        #expect(try need([]) == .never)
        #expect(try need([isSingle]) == .afterDial)
        #expect(try need([isSingle, Rule(.block), blocked]) == .beforeDial)
        #expect(try need([isSingle, Rule(.tunnel(single)), blocked]) == .afterDial)
        #expect(try need([isWifi, Rule(.tunnel(wifi))]) == .afterDial)
        for rule in [isWifi, blocked, direct] {
            #expect(try need([isSingle, rule]) == .beforeDial)
        }
        // A rule for a user's names is one for who is that user.
        var users = blocked
        users.users = [7]
        #expect(try need([users]) == .never)
        #expect(try need([users], user: 7) == .beforeDial)
        #expect(try need([users], user: 8) == .never)
    }

    @Test func whoSaysNoNameWaitsForAMomentOnly() throws {
        let street = try Street(open: .checked, rules: RuleSet([named("example.org", .block)]))
        let port = try street.origin { _, _ in (Array("220 hello\r\n".utf8), false) }
        let target = Target(host: .address(IPAddress("127.0.0.1")!), port: port)
        let captor = try Captor(street, to: target)
        captor.application?.watch.wantsRead = true
        _ = street.loop.run(until: .milliseconds(200)) { false }
        _ = captor.application?.write(Array("x".utf8))
        _ = street.loop.run(until: .seconds(10)) { !captor.received.isEmpty }
        #expect(captor.received == Array("220 hello\r\n".utf8))
        let blocked = try Captor(street, to: target)
        _ = blocked.application?.write(request)
        _ = street.loop.run(until: .seconds(10)) { blocked.wasReset || blocked.ended }
        #expect(blocked.wasReset, "a reset is the only no that it understands")
        #expect(street.proxy.notices.counters.blocked == 1)
    }

    @Test func aFailedDialIsAReset() throws {
        let street = try Street(open: .checked)
        let closed = try street.closedPort()
        let captor = try Captor(
            street, to: Target(host: .address(IPAddress("127.0.0.1")!), port: closed))
        _ = street.loop.run(until: .seconds(10)) { captor.wasReset || captor.ended }
        #expect(captor.wasReset)
    }
}
