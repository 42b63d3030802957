import CDatagram
import Dialogue
import Glibc
import Measures
import Testing

@testable import Shell

/// A name server on loopback that answers as it is told: datagrams by `answers`, streams by
/// `whole`.
private final class NameServerDouble {
    let socket: DatagramSocket
    let loop: EventLoop
    /// What comes back for a question, in order; each may be of another number or question.
    var answers: (_ question: [UInt8]) -> [[UInt8]] = { _ in [] }
    var whole: ([UInt8]) -> [UInt8]? = { _ in nil }
    var forged: ([UInt8], SocketAddress) -> Void = { _, _ in }
    var asked = 0, askedByStream = 0
    private var listener: StreamListener?
    private var guests: [StreamSocket] = []
    private let relay: RelaySockets

    init(_ loop: EventLoop) throws {
        self.loop = loop
        relay = RelaySockets(loop: loop)
        let address = SocketAddress("127.0.0.1:0")!
        let relaySocket = try RelaySocket(address, relay)
        socket = relaySocket.datagrams
        listener = try StreamListener(socket.localAddress, loop: loop) { [weak self] guest, _ in
            self?.serve(guest)
        }
        relaySocket.onReadable(for: self) { server in
            server.relay.receive(relaySocket) {
                (message: UnsafeRawBufferPointer, from: SocketAddress) in
                server.asked += 1
                server.forged(Array(message), from)
                for answer in server.answers(Array(message)) {
                    answer.withUnsafeBytes {
                        server.relay.post([], $0, to: from, through: relaySocket)
                    }
                }
            }
        }
    }

    private func serve(_ guest: StreamSocket) {
        guests.append(guest)
        guest.watch.onReadable(for: self) { [weak guest] server in
            guard let guest else { return }
            var bytes = [UInt8](repeating: 0, count: 1_024)
            guard case .bytes(let n) = bytes.withUnsafeMutableBytes({ guest.read(into: $0) }), n > 2
            else { guest.close(); return }
            server.askedByStream += 1
            guard let answer = server.whole(Array(bytes[2..<n])) else { guest.close(); return }
            // In two pieces.
            _ = guest.write(
                [UInt8(answer.count >> 8), UInt8(answer.count & 255)] + answer.prefix(1))
            _ = guest.write(Array(answer.dropFirst()))
        }
        guest.watch.wantsRead = true
    }
}

@Suite struct NameForwarderTests {
    private let question = DNSQuestion(DNSName("a.test")!, type: 1)

    /// An answer to the message with one address; its option is left out.
    private static func answer(
        _ message: [UInt8], id: UInt8 = 0, code: UInt8 = 0, cut: Bool = false, last: UInt8 = 7
    ) -> [UInt8] {
        var out = Array(message.prefix(12 + 8 + 4))
        out[0] ^= id
        out[2] = 0x81 | (cut ? 2 : 0)
        out[3] = 0x80 | code
        out[11] = 0
        guard code == 0, !cut else { return out }
        out[7] = 1
        return out + [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]
    }

    private func ask(
        _ loop: EventLoop, _ forwarder: NameForwarder, limit: Interval = .seconds(6)
    )
        -> DNSAnswer?
    {
        var result: DNSAnswer??
        let exchange = forwarder.ask(
            question, flags: 0x0100, extended: .init(size: 1_232, wantsSignatures: false)
        ) { result = .some($0) }
        _ = loop.run(until: limit) { result != nil }
        exchange.cancel()
        return result ?? nil
    }

    @Test func theAnswerIsHandedOver() throws {
        let loop = try EventLoop(), server = try NameServerDouble(loop)
        server.answers = { [Self.answer($0)] }
        let forwarder = NameForwarder(loop: loop, servers: [server.socket.localAddress])
        #expect(ask(loop, forwarder)?.addresses == [IPAddress("192.0.2.7")!])
        #expect(server.asked == 1 && forwarder.counters.wrong == 0)
    }

    @Test func otherNumbersAndQuestionsAreNoAnswers() throws {
        let loop = try EventLoop(), server = try NameServerDouble(loop)
        server.answers = { message in
            var other = Self.answer(message, last: 66)
            other[13] = 0x62
            var query = message
            query[2] = 1
            return [
                Self.answer(message, id: 1, last: 66), other, query, [], [1, 2, 3],
                Array(Self.answer(message, last: 66).dropLast()), Self.answer(message)
            ]
        }
        let forwarder = NameForwarder(loop: loop, servers: [server.socket.localAddress])
        #expect(ask(loop, forwarder)?.addresses == [IPAddress("192.0.2.7")!])
        #expect(forwarder.counters.wrong == 6)
    }

    @Test func anAnswerFromAnotherPortIsNone() throws {
        let loop = try EventLoop(), server = try NameServerDouble(loop)
        let relay = RelaySockets(loop: loop)
        let stranger = try RelaySocket(SocketAddress("127.0.0.1:0")!, relay)
        // It knows everything, and answers before the server does.
        server.forged = { message, from in
            Self.answer(message, last: 66).withUnsafeBytes {
                relay.post([], $0, to: from, through: stranger)
            }
            relay.flush()
        }
        server.answers = { [Self.answer($0)] }
        let forwarder = NameForwarder(loop: loop, servers: [server.socket.localAddress])
        #expect(ask(loop, forwarder)?.addresses == [IPAddress("192.0.2.7")!])
        #expect(relay.statistics.sent == 1)
    }

    @Test func whatIsCutIsAskedForOverTCP() throws {
        let loop = try EventLoop(), server = try NameServerDouble(loop)
        server.answers = { [Self.answer($0, cut: true)] }
        server.whole = { Self.answer($0) }
        let forwarder = NameForwarder(loop: loop, servers: [server.socket.localAddress])
        #expect(ask(loop, forwarder)?.addresses.count == 1)
        #expect(server.askedByStream == 1 && forwarder.counters.streams == 1)
        // Where nobody answers there, what was cut is better than nothing.
        server.whole = { _ in nil }
        #expect(ask(loop, forwarder)?.isTruncated == true)
        // Another number by TCP is no answer either.
        server.whole = { Self.answer($0, id: 1) }
        #expect(ask(loop, forwarder)?.isTruncated == true)
    }

    @Test func theNextServerIsAskedWhereOneFails() throws {
        let loop = try EventLoop()
        let first = try NameServerDouble(loop), second = try NameServerDouble(loop)
        let servers = [first.socket.localAddress, second.socket.localAddress]
        second.answers = { [Self.answer($0)] }
        for code in [2, 5] as [UInt8] {
            first.answers = { [Self.answer($0, code: code)] }
            let forwarder = NameForwarder(loop: loop, servers: servers)
            #expect(ask(loop, forwarder)?.addresses.count == 1)
        }
        // One that is not there at all, and one that says nothing.
        let gone = try DatagramSocket(.listen(SocketAddress("127.0.0.1:0")!), loop: loop)
        let nobody = gone.localAddress
        gone.close()
        #expect(
            ask(loop, NameForwarder(loop: loop, servers: [nobody, servers[1]]))?.addresses.count
                == 1)
        first.answers = { _ in [] }
        #expect(ask(loop, NameForwarder(loop: loop, servers: servers))?.addresses.count == 1)
        // All fail: what the first said.
        for server in [first, second] { server.answers = { [Self.answer($0, code: 5)] } }
        #expect(ask(loop, NameForwarder(loop: loop, servers: servers))?.code == 5)
        #expect(ask(loop, NameForwarder(loop: loop, servers: [])) == nil)
    }

    @Test func thatThereIsNoSuchNameIsAnAnswer() throws {
        let loop = try EventLoop()
        let first = try NameServerDouble(loop), second = try NameServerDouble(loop)
        first.answers = { [Self.answer($0, code: 3)] }
        let servers = [first.socket.localAddress, second.socket.localAddress]
        #expect(ask(loop, NameForwarder(loop: loop, servers: servers))?.code == 3)
        #expect(second.asked == 0)
    }

    @Test func aServerWithoutEDNSIsAskedWithoutIt() throws {
        let loop = try EventLoop(), server = try NameServerDouble(loop)
        for isBare in [false, true] {
            server.answers = { message in
                guard message[11] == 1 else { return [Self.answer(message)] }
                var refusal = Self.answer(message, code: 1)
                if isBare {
                    refusal[5] = 0
                    refusal = Array(refusal.prefix(12))
                }
                return [refusal]
            }
            let forwarder = NameForwarder(loop: loop, servers: [server.socket.localAddress])
            #expect(ask(loop, forwarder)?.addresses.count == 1)
        }
    }

    @Test func aQuestionThatIsGivenUpIsOver() throws {
        let loop = try EventLoop(), server = try NameServerDouble(loop)
        server.answers = { [Self.answer($0)] }
        let forwarder = NameForwarder(loop: loop, servers: [server.socket.localAddress])
        var isAnswered = false
        let exchange = forwarder.ask(question, flags: 0, extended: nil) { _ in isAnswered = true }
        exchange.cancel()
        _ = loop.run(until: .milliseconds(50)) { isAnswered }
        #expect(!isAnswered)
        for _ in 0..<100 { _ = forwarder.ask(question, flags: 0, extended: nil) { _ in } }
        _ = loop.run(until: .milliseconds(20)) { false }
    }
}
