import Dialogue
import Measures
import Rules
import Testing
import Wire

@testable import Proxy

private func name(_ host: String, _ port: UInt16) -> [UInt8] {
    [3, UInt8(host.utf8.count)] + Array(host.utf8) + [
        UInt8(port >> 8), UInt8(truncatingIfNeeded: port)
    ]
}
private func loopback(_ port: UInt16) -> [UInt8] {
    [1, 127, 0, 0, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
}
private func echo(_ read: [UInt8], _ ended: Bool) -> (send: [UInt8], close: Bool)? { (read, ended) }

@Suite(.serialized) struct TunnelTests {
    @Test(arguments: [OpenPolicy.fast, .checked]) func socks5(_ open: OpenPolicy) throws {
        let street = try Street(open: open)
        let port = try street.origin(echo)
        for address in [name("localhost", port), loopback(port)] {
            let application = try street.application()
            application.send([5, 1, 0])
            #expect(application.expect(2) == [5, 0])
            // The application need not wait before it speaks.
            application.send([5, 1, 0] + address + Array("hello".utf8))
            #expect(application.expect(10) == Socks5Dialogue.reply(.succeeded))
            #expect(application.expect(5) == Array("hello".utf8))
            application.send("again")
            #expect(application.expect(5) == Array("again".utf8))
            application.finish()
            application.wait { application.isEnded }
            #expect(!application.wasReset)
        }
    }

    @Test func aDialogueInSingleBytes() throws {
        let street = try Street()
        let port = try street.origin(echo)
        let application = try street.application()
        for byte in [5, 1, 0, 5, 1, 0] + name("localhost", port) + [0x41] {
            application.send([byte])
            _ = street.loop.run(until: .milliseconds(2)) { false }
        }
        #expect(application.expect(13) == [5, 0] + Socks5Dialogue.reply(.succeeded) + [0x41])
    }

    @Test func socks4AndConnect() throws {
        let street = try Street()
        let port = try street.origin(echo)
        let four = try street.application()
        four.send(
            [4, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port), 0, 0, 0, 1, 0]
                + Array("localhost".utf8) + [0, 0x41])
        #expect(four.expect(9) == Socks4Dialogue.reply(.granted) + [0x41])
        let connect = try street.application()
        connect.send("CONNECT 127.0.0.1:\(port) HTTP/1.1\r\n\r\nhello")
        let reply = "HTTP/1.1 200 Connection established\r\n\r\nhello"
        #expect(connect.expect(reply.utf8.count) == Array(reply.utf8))
    }

    @Test func theTrueReasonIsTold() throws {
        let street = try Street()
        let closed = try street.closedPort()
        #expect(
            try street.ask([5, 1, 0, 5, 1, 0] + loopback(closed)) == [5, 0]
                + Socks5Dialogue.reply(.connectionRefused))
        #expect(
            try street.ask([
                4, 1, UInt8(closed >> 8), UInt8(truncatingIfNeeded: closed), 127, 0, 0, 1, 0
            ])
                == Socks4Dialogue.reply(.rejected))
        let answer = try street.ask("CONNECT 127.0.0.1:\(closed) HTTP/1.1\r\n\r\n")
        #expect(
            answer.hasPrefix("HTTP/1.1 502 ")
                && answer.hasSuffix("127.0.0.1:\(closed) refused the connection.\n"))
        // Told yes at once, it can only be reset.
        let fast = try street.application()
        fast.send([5, 1, 0, 5, 1, 0] + name("localhost", closed))
        fast.wait { fast.isEnded }
        #expect(fast.wasReset && fast.received == [5, 0] + Socks5Dialogue.reply(.succeeded))
    }

    @Test func thePolicyIsTold() throws {
        let street = try Street(denies: true, open: .checked)
        let port = try street.origin(echo)
        for address in [loopback(port), name("localhost", port)] {
            #expect(
                try street.ask([5, 1, 0, 5, 1, 0] + address) == [5, 0]
                    + Socks5Dialogue.reply(.notAllowed))
        }
    }

    /// By a reset or an ordinary close, long before the dial has its own end; the concentrator
    /// dials no longer.
    @Test(arguments: [true, false]) func whoLeavesDuringTheDialIsForgotten(_ resets: Bool) throws {
        let street = try Street(open: .checked, dialTimeout: .seconds(60))
        let origins = try StateOrigins(street), port = origins[.hanging]
        let dialogues: [[UInt8]] = [
            [5, 1, 0, 5, 1, 0] + loopback(port),
            [4, 1, UInt8(port >> 8), UInt8(truncatingIfNeeded: port), 127, 0, 0, 1, 0],
            Array("CONNECT 127.0.0.1:\(port) HTTP/1.1\r\n\r\n".utf8)
        ]
        for dialogue in dialogues {
            let application = try street.application()
            application.send(dialogue)
            #expect(application.wait { street.concentrator.status().connections == 1 })
            if resets { application.reset() } else { application.close() }
            #expect(
                application.wait {
                    street.clients == 0 && street.concentrator.status().connections == 0
                })
        }
    }

    /// What comes after the request is passed on though the dial has not ended, and its end too.
    @Test func bytesDuringTheDialArePassedOn() throws {
        let street = try Street(open: .checked)
        let port = try street.origin { read, ended in ended ? (read + [0x21], true) : (read, false)
        }
        let application = try street.application()
        application.send([5, 1, 0, 5, 1, 0] + name("localhost", port))
        for byte in Array("hello".utf8) { application.send([byte]) }
        application.finish()
        #expect(application.expect(12) == [5, 0] + Socks5Dialogue.reply(.succeeded))
        application.wait { application.isEnded }
        #expect(application.received == Array("hello!".utf8) && !application.wasReset)
    }

    @Test func passwords() throws {
        let street = try Street(credentials: Credentials(user: "u", password: "p")!)
        let port = try street.origin(echo)
        #expect(try street.ask([5, 1, 0]) == [5, 255])
        #expect(try street.ask([5, 1, 2, 1, 1, 0x75, 1, 0x78]) == [5, 2, 1, 1])
        #expect(try street.ask([4, 1, 0, 80, 127, 0, 0, 1, 0]) == Socks4Dialogue.reply(.wrongUser))
        #expect(
            try street.ask("CONNECT 127.0.0.1:\(port) HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 407 "))
        let application = try street.application()
        application.send([5, 1, 2, 1, 1, 0x75, 1, 0x70, 5, 1, 0] + loopback(port) + [0x41])
        #expect(application.expect(15) == [5, 2, 1, 0] + Socks5Dialogue.reply(.succeeded) + [0x41])
    }

    @Test func aPortForEverybodyWantsAPassword() throws {
        for text in ["0.0.0.0:1080", "[::]:1080"] {
            let address = SocketAddress(text)!
            #expect(throws: ProxyListener.Problem.openToEverybody(address)) {
                try ProxyListener(address: address)
            }
            _ = try ProxyListener(
                address: address, credentials: Credentials(user: "u", password: "p"))
        }
    }

    @Test func garbageIsClosed() throws {
        let street = try Street()
        #expect(try street.ask([0x16, 3, 1, 0, 200]) == [])
        #expect(try street.ask([0]) == [])
        #expect(try street.ask("GET garbage\r\n\r\n").hasPrefix("HTTP/1.1 400 "))
    }

    @Test func aMegabyteEachWay() throws {
        let street = try Street()
        let port = try street.origin(echo)
        let application = try street.application()
        var random = SeededRandom(seed: 7)
        let bytes = (0..<(1 << 20)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        application.send([5, 1, 0, 5, 1, 0] + name("localhost", port))
        _ = application.expect(12)
        application.send(bytes)
        application.finish()
        application.wait { application.isEnded }
        #expect(application.received == bytes && !application.wasReset)
    }

    @Test func stopsInOrder() throws {
        let street = try Street()
        let port = try street.origin(echo)
        let application = try street.application()
        application.send([5, 1, 0, 5, 1, 0] + name("localhost", port) + [0x41])
        _ = application.expect(13)
        var isStopped = false
        street.proxy.onStopped = { isStopped = true }
        street.proxy.stop()
        #expect(try street.application().isEnded, "no new ones")
        application.send([0x42])
        #expect(application.expect(1) == [0x42], "living ones go on")
        #expect(!isStopped)
        application.finish()
        #expect(application.wait { isStopped })
        var isGone = false
        street.concentrator.onStopped = { isGone = true }
        street.concentrator.stop()
        #expect(application.wait { isGone })
    }
}
