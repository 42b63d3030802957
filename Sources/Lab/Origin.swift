import Crypto
import Glibc
import Measures
import Simulator

/// `braid lab-origin`: a small HTTP/1.1 server with known content, for demo and tests.
///
/// - `GET /bytes/N` and `HEAD`: N bytes that depend on nothing but their offset
/// - `PUT` or `POST` anywhere: takes the body and answers with its length and SHA-256
///
/// One thread a connection, blocking: clients are counted in hundreds here.
public struct Origin: Sendable {
    /// What `GET /bytes/N` sends.
    public static let content = StreamPattern(key: 0x6272_6169_6420_6461)
    /// A request's head is at most this long.
    static let maximumHead = 16 << 10

    /// SHA-256 of the first `count` bytes, in hexadecimal digits.
    public static func hash(count: Int) -> String {
        let hash = RunningSHA256()
        forEachPiece(count) {
            hash.add($0); return true
        }
        return hash.finish()
    }

    /// Serves on an address until the process ends. Throws where it can't listen.
    public static func serve(on address: SocketAddress) throws -> Never {
        let listener = socket(
            AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        let bound = withSocketAddress(address) { bind(listener, $0, $1) }
        guard listener >= 0, bound == 0, listen(listener, 1024) == 0 else {
            throw LabError("can't listen on \(address): \(String(cString: strerror(errno)))")
        }
        while true {
            let connection = accept(listener, nil, nil)
            guard connection >= 0 else { usleep(10_000); continue }  // EMFILE: some will end
            var thread = pthread_t()
            let context = UnsafeMutableRawPointer(bitPattern: Int(connection) + 1)
            let result = pthread_create(
                &thread, nil,
                { context in
                    var client = OriginClient(descriptor: Int32(Int(bitPattern: context) - 1))
                    client.serve()
                    return nil
                }, context)
            if result == 0 { pthread_detach(thread) } else { close(connection) }
        }
    }

    /// The content's first `count` bytes in pieces of 64 KB, until `body` says false.
    static func forEachPiece(_ count: Int, _ body: (UnsafeRawBufferPointer) -> Bool) {
        withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 8) { buffer in
            var at = 0
            while at < count {
                let piece = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[..<min(buffer.count, count - at)])
                content.fill(piece, from: UInt64(at))
                guard body(UnsafeRawBufferPointer(piece)) else { return }
                at += piece.count
            }
        }
    }
}

/// One connection to the origin: a request after the other.
private struct OriginClient {
    let descriptor: Int32
    private var pending: [UInt8] = []

    init(descriptor: Int32) { self.descriptor = descriptor }

    mutating func serve() {
        defer { close(descriptor) }
        while let request = readHead(), answer(request) {}
    }

    private struct Request {
        var method = "", path = ""
        var bodyLength = 0
        var isChunked = false, expectsContinue = false, isLast = false
    }

    /// Nil at the end of the connection and for what is no request.
    private mutating func readHead() -> Request? {
        while true {
            if let end = pending.firstRange(of: [13, 10, 13, 10]) {
                let head = String(decoding: pending[..<end.lowerBound], as: UTF8.self)
                pending.removeFirst(end.upperBound)
                return parse(head)
            }
            guard pending.count < Origin.maximumHead, readMore() else { return nil }
        }
    }

    private func parse(_ head: String) -> Request? {
        let lines = head.split(separator: "\r\n")
        guard let first = lines.first?.split(separator: " "), first.count == 3 else { return nil }
        var request = Request(method: String(first[0]), path: String(first[1]))
        request.isLast = first[2] == "HTTP/1.0"
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { return nil }
            let value = line[line.index(after: colon)...].drop(while: { $0 == " " }).lowercased()
            switch line[..<colon].lowercased() {
            case "content-length": request.bodyLength = Int(value) ?? 0
            case "transfer-encoding": request.isChunked = value == "chunked"
            case "expect": request.expectsContinue = value == "100-continue"
            case "connection": request.isLast = value == "close"
            default: break
            }
        }
        return request
    }

    /// False where the connection is over.
    private mutating func answer(_ request: Request) -> Bool {
        switch request.method {
        case "GET", "HEAD":
            guard request.path.hasPrefix("/bytes/"),
                let count = Int(request.path.dropFirst(7)),
                (0...1 << 40).contains(count)
            else {
                return reply("404 Not Found", "try /bytes/1000000\n") && !request.isLast
            }
            guard head("200 OK", count, type: "application/octet-stream") else { return false }
            var isOpen = true
            if request.method == "GET" {
                Origin.forEachPiece(count) {
                    isOpen = writeAll(descriptor, $0); return isOpen
                }
            }
            return isOpen && !request.isLast
        case "PUT", "POST":
            if request.expectsContinue { writeAll(descriptor, "HTTP/1.1 100 Continue\r\n\r\n") }
            let hash = RunningSHA256()
            guard
                let count = request.isChunked
                    ? takeChunks(hash) : take(request.bodyLength, hash)
            else {
                return false
            }
            return reply("200 OK", "\(count) \(hash.finish())\n") && !request.isLast
        default:
            return reply("405 Method Not Allowed", "GET, HEAD, PUT or POST\n") && !request.isLast
        }
    }

    private func head(_ status: String, _ length: Int, type: String) -> Bool {
        writeAll(
            descriptor,
            "HTTP/1.1 \(status)\r\nContent-Length: \(length)\r\nContent-Type: \(type)\r\n\r\n")
    }

    private func reply(_ status: String, _ text: String) -> Bool {
        head(status, text.utf8.count, type: "text/plain") && writeAll(descriptor, text)
    }

    private mutating func readMore() -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 8) { buffer in
            let n = read(descriptor, buffer.baseAddress, buffer.count)
            guard n > 0 else { return false }
            pending += buffer[..<n]
            return true
        }
    }

    /// `count` bytes of a body into the hash; nil where the connection ended before.
    private mutating func take(_ count: Int, _ hash: RunningSHA256) -> Int? {
        var left = count
        while left > 0 {
            if pending.isEmpty, !readMore() { return nil }
            let n = min(left, pending.count)
            pending[..<n].withUnsafeBytes { hash.add($0) }
            pending.removeFirst(n)
            left -= n
        }
        return count
    }

    /// A body in chunks (RFC 9112 section 7.1) without trailers.
    private mutating func takeChunks(_ hash: RunningSHA256) -> Int? {
        var total = 0
        while true {
            guard let line = takeLine(),
                let size = Int(line.prefix(while: { $0 != ";" }), radix: 16),
                size >= 0
            else { return nil }
            guard take(size, hash) != nil, takeLine() == "" else { return nil }
            if size == 0 { return total }
            total += size
        }
    }

    private mutating func takeLine() -> String? {
        while true {
            if let end = pending.firstRange(of: [13, 10]) {
                let line = String(decoding: pending[..<end.lowerBound], as: UTF8.self)
                pending.removeFirst(end.upperBound)
                return line
            }
            guard pending.count < Origin.maximumHead, readMore() else { return nil }
        }
    }
}
