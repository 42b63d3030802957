import Dialogue
import Measures
import Wire

// What applications and origins say: the same outcome in one piece and in many.

enum SocksTarget {
    static func run(_ input: inout Input) {
        let form = input.byte(), cut = Int(input.byte())
        let credentials = form & 1 != 0 ? Credentials(user: "user", password: "secret") : nil
        let bytes = input.rest()
        if form & 2 != 0 { return datagram(bytes) }
        let whole = dialogue(bytes, step: max(bytes.count, 1), credentials)
        check(
            dialogue(bytes, step: 1 + cut % 7, credentials) == whole,
            "cut otherwise, understood otherwise")
        let naive = NaiveSocks.read(bytes, wantsPassword: credentials != nil)
        let opens = whole.last?.hasPrefix("open") ?? false
        check(opens ? whole == naive : naive == nil, "\(whole), and not \(naive ?? [])")
    }

    /// All replies, what ended it, and the bytes left for the application.
    private static func dialogue(
        _ bytes: [UInt8], step: Int, _ credentials: Credentials?
    ) -> [String] {
        var socks5 = Socks5Dialogue(credentials: credentials), said: [String] = []
        let socks4 = Socks4Dialogue(credentials: credentials)
        guard let first = bytes.first, let spoken = ClientProtocol(firstByte: first),
            spoken != .http
        else {
            return ["another protocol"]
        }
        var from = 0, to = 0
        while to < bytes.count {
            to = min(bytes.count, to + step)
            while true {
                let reading = withExact(bytes[from..<to]) {
                    spoken == .socks4
                        ? socks4.read(UnsafeRawBufferPointer($0))
                        : socks5.read(UnsafeRawBufferPointer($0))
                }
                if case .reply(let reply, let consumed) = reading {
                    check(consumed > 0 && from + consumed <= to, "consumed \(consumed)")
                    from += consumed
                    said.append("reply \(reply)")
                    continue
                }
                if case .open(let target, let consumed) = reading {
                    check(
                        consumed > 0 && from + consumed <= to && target.port != 0,
                        "consumed \(consumed)")
                    return said + ["open \(target), \(bytes.count - from - consumed) left"]
                }
                if case .associate = reading { fail("an association that nobody allows") }
                if case .refused(let reply, let reason) = reading {
                    return said + ["refused \(reply) \(reason)"]
                }
                break
            }
        }
        return said + ["more"]
    }

    private static func datagram(_ bytes: [UInt8]) {
        withExact(bytes) { b in
            guard let header = try? SocksDatagramHeader(reading: UnsafeRawBufferPointer(b)) else {
                return
            }
            check(header.length <= b.count, "a header beyond the datagram")
            var out: [UInt8] = []
            SocksDatagramHeader.write(header.target, into: &out)
            let again = out.withUnsafeBytes { try? SocksDatagramHeader(reading: $0) }
            check(again?.target == header.target && again?.length == out.count, "another header")
        }
    }
}

enum HTTPTarget {
    static func run(_ input: inout Input) {
        let form = input.byte(), cut = 1 + Int(input.byte()) % 9
        let bytes = input.rest()
        switch form % 3 {
        case 0:
            requests(
                bytes, cut, form & 16 != 0 ? Credentials(user: "user", password: "secret") : nil)
        case 1: response(bytes, cut, form)
        default: body(bytes, cut, form & 16 != 0 ? .chunked : .length(UInt64(form) * 3))
        }
    }

    private static func requests(_ bytes: [UInt8], _ cut: Int, _ credentials: Credentials?) {
        let whole = request(bytes, bytes.count, credentials)
        check(
            request(bytes, cut, credentials).text == whole.text,
            "cut otherwise, understood otherwise")
        guard let found = whole.request else { return }
        check(
            !bytes.starts(with: "\r\n\r\n\r\n".utf8),
            "more empty lines than a careless application sends")
        if found.kind == .connect { return }
        // What goes to the origin is one head, with nothing behind it that could be a second
        // request.
        isOneHead(found.head)
        let text = String(decoding: found.head, as: UTF8.self).lowercased()
        check(text.split(separator: "\r\n").count { $0.hasPrefix("host:") } == 1, "one Host")
        check(!text.contains("\r\nproxy-authorization:"), "the proxy's password goes no further")
        let chunked = text.contains("\r\ntransfer-encoding:"),
            counted = text.contains("\r\ncontent-length:")
        switch found.body {
        case .chunked: check(chunked && !counted, "chunked, and says so")
        case .length: check(counted && !chunked, "counted, and says so")
        case .none: check(!chunked, "no body")
        case .untilClose: fail("a request's body never ends with the connection")
        }
    }

    private static func request(
        _ bytes: [UInt8], _ cut: Int, _ credentials: Credentials?
    )
        -> (text: String, request: HTTPRequest?)
    {
        var reader = HTTPRequestReader(credentials: credentials), to = 0
        while to < bytes.count {
            to = min(bytes.count, to + max(cut, 1))
            switch withExact(bytes[..<to], { reader.read(UnsafeRawBufferPointer($0)) }) {
            case .needMore: continue
            case .request(let found, let length):
                check(length <= to, "a head beyond its bytes")
                return (
                    "\(found.kind) \(found.target) \(found.head) \(found.body) \(found.keepsAlive) \(length)",
                    found
                )
            case .refused(let refusal): return ("\(refusal.status) \(refusal.sentence)", nil)
            }
        }
        return ("more", nil)
    }

    private static func response(_ bytes: [UInt8], _ cut: Int, _ form: UInt8) {
        let asked =
            "\(form & 32 != 0 ? "HEAD" : "GET") http://o.example/ HTTP/1.\(form & 64 != 0 ? 0 : 1)\r\nHost: o.example\r\n"
            + (form & 128 != 0 ? "Connection: upgrade\r\nUpgrade: chat\r\n\r\n" : "\r\n")
        guard let question = request(Array(asked.utf8), asked.utf8.count, nil).request else {
            fail("our own request")
        }
        let context = HTTPResponseContext(question)
        check(
            answer(bytes, cut, context) == answer(bytes, bytes.count, context),
            "cut otherwise, understood otherwise")
    }

    private static func answer(
        _ bytes: [UInt8], _ cut: Int, _ context: HTTPResponseContext
    ) -> [String] {
        var reader = HTTPResponseReader(context), from = 0, to = 0, said: [String] = []
        while to < bytes.count {
            to = min(bytes.count, to + max(cut, 1))
            var more = false
            while !more, from < to {
                switch withExact(bytes[from..<to], { reader.read(UnsafeRawBufferPointer($0)) }) {
                case .needMore: more = true
                case .interim(let head, let length):
                    check(from + length <= to, "a head beyond its bytes")
                    from += length
                    said.append("interim \(head)")
                case .switching(let head, let length): return said + ["switching \(head) \(length)"]
                case .final(let response, let length):
                    isOneHead(response.head)
                    return said + [
                        "\(response.status) \(response.head) \(response.body) \(response.clientKeepsAlive) \(length)"
                    ]
                case .refused(let error): return said + ["\(error)"]
                }
            }
        }
        return said
    }

    /// For every reader, however it ends lines: CR and LF only together, an empty line only at the
    /// end.
    private static func isOneHead(_ head: [UInt8]) {
        let text = { String(decoding: head, as: UTF8.self) }
        check(head.suffix(4).elementsEqual([13, 10, 13, 10]), "no end of the head: \(text())")
        for (i, b) in head.enumerated() {
            check(
                (b == 13) == (i + 1 < head.count && head[i + 1] == 10),
                "a line's end in halves: \(text())")
            check(b != 10 || i > 0 && head[i - 1] == 13, "a line's end in halves: \(text())")
            check(b != 0, "a zero: \(text())")
            let isEmptyLine = b == 10 && i >= 3 && head[i - 2] == 10
            check(!isEmptyLine || i + 1 == head.count, "two heads: \(text())")
        }
    }

    private static func body(_ bytes: [UInt8], _ cut: Int, _ framing: HTTPBodyFraming) {
        let whole = length(bytes, bytes.count, framing)
        check(length(bytes, cut, framing) == whole, "cut otherwise, understood otherwise")
        if case .length(let n) = framing, whole.isFinished {
            check(UInt64(whole.taken) == n, "as long as said")
        }
        guard framing == .chunked else { return }
        check(
            NaiveChunks.length(bytes) == (whole.isFinished ? whole.taken : nil),
            "where the chunks end")
    }

    struct Extent: Equatable { var taken = 0, isFinished = false, error: HTTPBodyError? }

    private static func length(_ bytes: [UInt8], _ cut: Int, _ framing: HTTPBodyFraming) -> Extent {
        var reader = HTTPBodyReader(framing), extent = Extent(), to = 0
        while to < bytes.count, !reader.isFinished {
            to = min(bytes.count, to + max(cut, 1))
            do {
                let n = try withExact(bytes[extent.taken..<to]) {
                    try reader.read(UnsafeRawBufferPointer($0))
                }
                check(extent.taken + n == to || reader.isFinished, "all bytes, or to the end")
                extent.taken += n
            } catch {
                // How far it came before the error depends on the cuts; that it is one must not.
                return Extent(taken: -1, isFinished: false, error: error as? HTTPBodyError)
            }
        }
        extent.isFinished = reader.isFinished
        return extent
    }
}
