import Measures
import Testing
import Wire

@testable import Dialogue

func withBytes<R>(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try bytes.withUnsafeBytes(body)
}

private let example = Target(host: .name("example.org"), port: 443)
private let v4 = Target(host: .address(IPAddress("192.0.2.7")!), port: 80)
private let v6 = Target(host: .address(IPAddress("2001:db8::7")!), port: 8080)
private func name(_ s: String) -> [UInt8] { [UInt8(s.utf8.count)] + Array(s.utf8) }

@Suite struct ClientProtocolTests {
    @Test func firstBytes() {
        #expect(ClientProtocol(firstByte: 4) == .socks4)
        #expect(ClientProtocol(firstByte: 5) == .socks5)
        for letter in "CGPHOTDcg".utf8 { #expect(ClientProtocol(firstByte: letter) == .http) }
        for other in [0, 1, 3, 6, 0x16, 0x20, 0x30, 0x5b, 0x80, 0xff] as [UInt8] {
            #expect(ClientProtocol(firstByte: other) == nil)
        }
    }

    @Test func credentials() {
        let c = Credentials(user: "alice", password: "s3:cret")!
        #expect(c.matches(user: Array("alice".utf8), password: Array("s3:cret".utf8)))
        #expect(!c.matches(user: Array("alice".utf8), password: Array("s3:cres".utf8)))
        #expect(!c.matches(user: Array("alic".utf8), password: Array("s3:cret".utf8)))
        #expect(!c.matches(user: [], password: []))
        #expect(Credentials(user: "", password: "x") == nil)
        #expect(Credentials(user: "a:b", password: "x") == nil)
        #expect(Credentials(user: "a", password: String(repeating: "x", count: 256)) == nil)
    }
}

@Suite struct Socks4Tests {
    private func read(_ bytes: [UInt8], credentials: Credentials? = nil) -> DialogueStep {
        withBytes(bytes) { Socks4Dialogue(credentials: credentials).read($0) }
    }

    @Test(
        arguments: [
            ([4, 1, 0, 80, 192, 0, 2, 7] + Array("me".utf8) + [0], v4),
            ([4, 1, 0, 80, 192, 0, 2, 7, 0], v4),
            ([4, 1, 1, 187, 0, 0, 0, 1, 0] + Array("example.org".utf8) + [0], example),
            (
                [4, 1, 1, 187, 0, 0, 0, 255] + Array("someone".utf8) + [0]
                    + Array("example.org".utf8) + [0], example
            ),
            // A name that is an address becomes the address.
            ([4, 1, 0, 80, 0, 0, 0, 1, 0] + Array("192.0.2.7".utf8) + [0], v4),
            ([4, 1, 0x1f, 0x90, 0, 0, 0, 1, 0] + Array("[2001:db8::7]".utf8) + [0], v6)
        ] as [([UInt8], Target)])
    func opens(_ bytes: [UInt8], _ target: Target) {
        #expect(read(bytes) == .open(target, consumed: bytes.count))
        #expect(
            read(bytes + Array("GET".utf8)) == .open(target, consumed: bytes.count),
            "what follows is left alone")
        for n in 0..<bytes.count {
            #expect(read(Array(bytes[..<n])) == .needMore, "prefix of \(n)")
        }
    }

    @Test func refusals() {
        let no = Socks4Dialogue.reply(.rejected)
        #expect(no == [0, 91, 0, 0, 0, 0, 0, 0])
        #expect(read([4, 2]) == .refused(reply: no, .commandNotSupported(2)))
        #expect(read([5, 1]) == .refused(reply: no, .wrongVersion(5)))
        #expect(read([4, 1, 0, 0, 192, 0, 2, 7]) == .refused(reply: no, .portZero))
        #expect(read([4, 1, 0, 80, 0, 0, 0, 1, 0, 0]) == .refused(reply: no, .invalidName))
        #expect(
            read([4, 1, 0, 80, 0, 0, 0, 1, 0] + Array("a b".utf8) + [0])
                == .refused(reply: no, .invalidName))
        let head: [UInt8] = [4, 1, 0, 80, 192, 0, 2, 7]
        #expect(read(head + Array(repeating: 0x61, count: 255)) == .needMore)
        #expect(
            read(head + Array(repeating: 0x61, count: 256)) == .refused(reply: no, .fieldTooLong))
        let c = Credentials(user: "a", password: "b")
        #expect(
            read([4, 1], credentials: c)
                == .refused(reply: Socks4Dialogue.reply(.wrongUser), .wrongCredentials))
    }

    @Test func everyDialStatusHasAReply() {
        for status in DialStatus.allCases {
            #expect(Socks4Dialogue.reply(dial: status)[1] == (status == .connected ? 90 : 91))
        }
    }
}

@Suite struct Socks5Tests {
    /// Feeds `bytes` in pieces of `step`, acting on the dialogue's steps; what was replied and how
    /// it ended.
    private func run(
        _ bytes: [UInt8], credentials: Credentials? = nil,
        step: Int = .max, allowsUDP: Bool = false
    ) -> (replies: [[UInt8]], end: DialogueStep, rest: Int) {
        var dialogue = Socks5Dialogue(credentials: credentials, allowsUDP: allowsUDP),
            replies: [[UInt8]] = [],
            buffer: [UInt8] = [], fed = 0
        while true {
            switch withBytes(buffer, { dialogue.read($0) }) {
            case .needMore:
                guard fed < bytes.count else { return (replies, .needMore, buffer.count) }
                let n = min(step, bytes.count - fed)
                buffer += bytes[fed..<(fed + n)]
                fed += n
            case .reply(let reply, let consumed):
                replies.append(reply)
                buffer.removeFirst(consumed)
            case .open(let target, let consumed):
                return (
                    replies, .open(target, consumed: consumed),
                    buffer.count - consumed + bytes.count - fed
                )
            case .associate(let target, let consumed):
                return (
                    replies, .associate(target, consumed: consumed),
                    buffer.count - consumed + bytes.count - fed
                )
            case .refused(let reply, let why):
                return (replies, .refused(reply: reply, why), 0)
            }
        }
    }

    /// What an application announces, however its bytes come; the address may be all zero.
    @Test(arguments: 1...12) func associations(_ step: Int) {
        for target in [v4, v6, example, Target(host: .address(.unspecifiedV4), port: 0)] {
            var request: [UInt8] = [5, 1, 0, 5, 3, 0]
            target.write(into: &request)
            let end = run(request, step: step, allowsUDP: true)
            #expect(end.end == .associate(target, consumed: request.count - 3) && end.rest == 0)
            #expect(
                run(request, credentials: alice, step: step, allowsUDP: true).end
                    == .refused(reply: [5, 0xff], .noAcceptableMethod))
        }
        #expect(
            Socks5Dialogue.reply(
                .succeeded, bound: SocketAddress(IPAddress(v4: 0x7f00_0001), port: 9))
                == [5, 0, 0, 1, 127, 0, 0, 1, 0, 9])
    }
    private let alice = Credentials(user: "alice", password: "secret")!
    private let login: [UInt8] = [1] + name("alice") + name("secret")

    @Test(
        arguments: [
            ([1, 192, 0, 2, 7, 0, 80], v4),
            ([3] + name("example.org") + [1, 187], example),
            ([4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x1f, 0x90], v6),
            ([3] + name("2001:db8::7") + [0x1f, 0x90], v6),
            ([3] + name("[2001:db8::7]") + [0x1f, 0x90], v6),
            // IPv4-mapped (RFC 4291 section 2.5.5.2).
            ([4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 0, 80], v4),
            ([3] + name("::ffff:192.0.2.7") + [0, 80], v4),
            ([3] + name("[::ffff:c000:207]") + [0, 80], v4)
        ] as [([UInt8], Target)])
    func connects(_ address: [UInt8], _ target: Target) {
        let request: [UInt8] = [5, 1, 0] + address
        let open = DialogueStep.open(target, consumed: request.count)
        for step in [1, 2, 3, 7, 1000] {
            let plain = run([5, 1, 0] + request + [1, 2, 3], step: step)
            #expect(plain.replies == [[5, 0]])
            #expect(plain.end == open && plain.rest == 3)
            let locked = run([5, 2, 0, 2] + login + request + [9], credentials: alice, step: step)
            #expect(locked.replies == [[5, 2], [1, 0]])
            #expect(locked.end == open && locked.rest == 1)
        }
        let whole: [UInt8] = [5, 2, 0, 2] + login + request
        for n in 0..<whole.count {
            #expect(run(Array(whole[..<n]), credentials: alice).end == .needMore, "prefix of \(n)")
        }
    }

    @Test func methods() {
        #expect(run([5, 0]).end == .refused(reply: [5, 255], .noAcceptableMethod))
        #expect(run([5, 1, 1]).end == .refused(reply: [5, 255], .noAcceptableMethod))
        #expect(
            run([5, 1, 0], credentials: alice).end == .refused(reply: [5, 255], .noAcceptableMethod)
        )
        #expect(run([5, 2, 2, 0]).replies == [[5, 0]], "without credentials nothing is asked for")
        // A client that only offers a password is let in with any.
        #expect(run([5, 1, 2] + login).replies == [[5, 2], [1, 0]])
        #expect(run([4]).end == .refused(reply: [], .wrongVersion(4)))
    }

    @Test func wrongPasswords() {
        for bad in [
            [1] + name("alice") + name("secreT"), [1] + name("bob") + name("secret"),
            [1, 0, 0]
        ] as [[UInt8]] {
            #expect(
                run([5, 1, 2] + bad, credentials: alice).end
                    == .refused(reply: [1, 1], .wrongCredentials))
        }
        #expect(
            run([5, 1, 2, 5], credentials: alice).end == .refused(reply: [1, 1], .wrongVersion(5)))
    }

    @Test func requestsThatAreRefused() {
        func end(_ request: [UInt8]) -> DialogueStep { run([5, 1, 0] + request).end }
        #expect(
            end([5, 2])
                == .refused(
                    reply: Socks5Dialogue.reply(.commandNotSupported), .commandNotSupported(2)))
        #expect(
            end([5, 3])
                == .refused(
                    reply: Socks5Dialogue.reply(.commandNotSupported), .commandNotSupported(3)))
        #expect(
            end([5, 1, 0, 2])
                == .refused(
                    reply: Socks5Dialogue.reply(.addressTypeNotSupported),
                    .addressTypeNotSupported(2)))
        #expect(
            end([5, 1, 0, 1, 1, 2, 3, 4, 0, 0])
                == .refused(reply: Socks5Dialogue.reply(.generalFailure), .portZero))
        for bad in ["[", "[]", "[a]", "[192.0.2.7]", "[::1", "::1]", "[[::1]]", "[::1]x", "a[b"] {
            #expect(
                end([5, 1, 0, 3] + name(bad) + [0, 80])
                    == .refused(reply: Socks5Dialogue.reply(.hostUnreachable), .invalidName),
                "\(bad)")
        }
        #expect(
            end([5, 1, 0, 3, 0])
                == .refused(reply: Socks5Dialogue.reply(.hostUnreachable), .invalidName))
        #expect(
            end([5, 1, 0, 3, 2, 0x61, 0])
                == .refused(reply: Socks5Dialogue.reply(.hostUnreachable), .invalidName))
        #expect(
            end([4]) == .refused(reply: Socks5Dialogue.reply(.generalFailure), .wrongVersion(4)))
    }

    @Test func everyDialStatusHasAReply() {
        let codes = DialStatus.allCases.map { Socks5Dialogue.reply(dial: $0)[1] }
        #expect(codes == [0, 1, 2, 3, 4, 5, 6, 4, 1])
        #expect(Socks5Dialogue.reply(.succeeded) == [5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    }
}

@Suite struct SocksDatagramTests {
    @Test(arguments: [v4, v6, example]) func roundTrip(_ target: Target) throws {
        var bytes: [UInt8] = []
        SocksDatagramHeader.write(target, into: &bytes)
        let header = try withBytes(bytes + [1, 2, 3]) { b throws in
            try SocksDatagramHeader(reading: b)
        }
        #expect(header.target == target && header.length == bytes.count)
        for n in 0..<bytes.count {
            #expect(throws: SocksDatagramHeader.Refusal.tooShort) {
                try withBytes(Array(bytes[..<n])) { b throws in try SocksDatagramHeader(reading: b)
                }
            }
        }
    }

    @Test(
        arguments: [
            ([0, 0, 1, 1], .fragment(1)), ([1, 0, 0, 1], .reservedNotZero),
            ([0, 0, 0, 9], .unknownAddressType(9)),
            ([0, 0, 0, 3, 0], .invalidName), ([], .tooShort)
        ] as [([UInt8], SocksDatagramHeader.Refusal)])
    func refusals(_ bytes: [UInt8], _ why: SocksDatagramHeader.Refusal) {
        #expect(throws: why) {
            try withBytes(bytes) { b throws in try SocksDatagramHeader(reading: b) }
        }
    }
}

@Suite struct TargetTests {
    @Test func hosts() {
        #expect(Target.Host("192.0.2.7") == v4.host)
        #expect(Target.Host("2001:DB8::7") == v6.host)
        #expect(Target.Host("a_b-c.example") == .name("a_b-c.example"))
        for bad in [
            "", ".", "a b", "a/b", "ü.example", "fe80::1%eth0", "[::1]", "1:2",
            String(repeating: "a", count: 256)
        ] {
            #expect(Target.Host(bad) == nil, "\(bad)")
        }
    }

    @Test func nothingTrapsWhateverTheBytes() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...24, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            if !bytes.isEmpty { bytes[0] = [1, 3, 4, 5].randomElement(using: &random)! }
            _ = withBytes(bytes) { Target.read($0) }
            _ = withBytes(bytes) { Socks4Dialogue(credentials: nil).read($0) }
            _ = run5(bytes)
            _ = try? withBytes([0, 0, 0] + bytes) { b throws in try SocksDatagramHeader(reading: b)
            }
        }
    }
    private func run5(_ bytes: [UInt8]) -> DialogueStep {
        var dialogue = Socks5Dialogue(credentials: nil)
        _ = withBytes([5, 1, 0]) { dialogue.read($0) }
        return withBytes(bytes) { dialogue.read($0) }
    }
}
