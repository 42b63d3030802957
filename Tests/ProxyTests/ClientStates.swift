import Glibc
import Measures
import Shell
import Testing

@testable import Proxy

/// A place in one of the dialogues where an application may stop: what it sends, and what it gets
/// before it is there.
struct ClientState: CustomTestStringConvertible, Sendable {
    /// What stands at the other end of the target.
    enum Origin: CaseIterable, Sendable {
        case echo
        /// Takes requests and never answers.
        case mute
        /// Answers with half of a head, or with half of a body.
        case halfHead, halfBody
        /// Answers with more than the sockets hold.
        case endless
        case page, upgrade
        /// Its dial never ends.
        case hanging
    }
    let name: String
    var hasPassword = false
    let origin: Origin
    /// The bytes; `PORT` stands for the origin's port.
    let sends: [UInt8]
    /// Bytes of answers to wait for before the event.
    var gets = 0
    /// Whether an answer is still to come: the end of the application's side alone, or what it
    /// sends ahead, is no reason to forget it.
    var awaitsAnswer = false
    /// Whether the proxy closes it after a while of silence, with the limits of `Street.hasty`.
    var endsInSilence = true

    var testDescription: String { name }
}

extension ClientState {
    private static let request: [UInt8] = [5, 1, 0, 1, 127, 0, 0, 1] + port
    static let port = Array("PO".utf8)  // two bytes, as in a SOCKS request
    private static let login: [UInt8] = [5, 1, 2, 1, 1, 0x75, 1, 0x70]
    private static func get(_ rest: String = "") -> [UInt8] {
        Array("GET http://localhost:PORT/ HTTP/1.1\r\nHost: x\r\n\(rest)\r\n".utf8)
    }
    static let page = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"
    static let halfBody = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"
    static let halfHead = "HTTP/1.1 200 OK\r\nContent-Le"
    static let endless = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
    static let upgrade =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"

    /// Every state of every client connection.
    static let all: [ClientState] = socks + http

    private static let socks: [ClientState] = [
        .init(name: "nothing said", origin: .echo, sends: []),
        .init(name: "half of SOCKS4", origin: .echo, sends: [4, 1, 0]),
        .init(
            name: "SOCKS4a without the name's end", origin: .echo,
            sends: [4, 1, 0, 80, 0, 0, 0, 1, 0, 0x61]),
        .init(name: "half of the methods", origin: .echo, sends: [5, 3, 0]),
        .init(name: "request awaited", origin: .echo, sends: [5, 1, 0], gets: 2),
        .init(name: "half of a request", origin: .echo, sends: [5, 1, 0, 5, 1, 0, 1, 127], gets: 2),
        .init(
            name: "password awaited", hasPassword: true, origin: .echo, sends: [5, 1, 2], gets: 2),
        .init(
            name: "half of a password", hasPassword: true, origin: .echo, sends: [5, 1, 2, 1, 1],
            gets: 2),
        .init(
            name: "request awaited behind a password", hasPassword: true, origin: .echo,
            sends: login,
            gets: 4),
        .init(
            name: "wrong password answered", hasPassword: true, origin: .echo,
            sends: [5, 1, 2, 1, 1, 0x75, 1, 0x78], gets: 4),
        .init(name: "SOCKS4 dial", origin: .hanging, sends: [4, 1] + port + [127, 0, 0, 1, 0]),
        .init(name: "SOCKS5 dial", origin: .hanging, sends: [5, 1, 0] + request, gets: 2),
        .init(
            name: "SOCKS5 dial with early bytes", origin: .hanging,
            sends: [5, 1, 0] + request + [UInt8](repeating: 7, count: 5000), gets: 2),
        .init(
            name: "SOCKS5 tunnel", origin: .echo, sends: [5, 1, 0] + request + [1], gets: 13,
            endsInSilence: false),
        .init(
            name: "SOCKS5 tunnel to a mute", origin: .mute, sends: [5, 1, 0] + request, gets: 12,
            endsInSilence: false),
        .init(
            name: "SOCKS5 tunnel that floods", origin: .endless, sends: [5, 1, 0] + request + [1],
            gets: 100_000, endsInSilence: false)
    ]

    private static let http: [ClientState] = [
        .init(name: "half of a head", origin: .echo, sends: Array("GET http://loc".utf8)),
        .init(
            name: "CONNECT dial", origin: .hanging,
            sends: Array("CONNECT 127.0.0.1:PORT HTTP/1.1\r\n\r\n".utf8)),
        .init(
            name: "CONNECT tunnel", origin: .echo,
            sends: Array("CONNECT 127.0.0.1:PORT HTTP/1.1\r\n\r\nx".utf8), gets: 40,
            endsInSilence: false),
        .init(name: "GET's dial", origin: .hanging, sends: get()),
        .init(name: "answer awaited", origin: .mute, sends: get(), awaitsAnswer: true),
        .init(
            name: "half of a request's body", origin: .mute,
            sends: get("Content-Length: 100\r\n") + [1, 2],
            awaitsAnswer: true),
        .init(
            name: "half of a chunk", origin: .mute,
            sends: get("Transfer-Encoding: chunked\r\n") + Array("5\r\nhe".utf8)),
        .init(
            name: "half of a chunk's size", origin: .mute,
            sends: get("Transfer-Encoding: chunked\r\n") + Array("5".utf8)),
        .init(
            name: "half of a response's head", origin: .halfHead, sends: get(), awaitsAnswer: true),
        .init(
            name: "half of a response's body", origin: .halfBody, sends: get(),
            gets: halfBody.utf8.count,
            awaitsAnswer: true),
        .init(name: "a response that floods", origin: .endless, sends: get(), gets: 100_000),
        .init(name: "idle between requests", origin: .page, sends: get(), gets: page.utf8.count),
        .init(
            name: "half of a second head", origin: .page, sends: get() + Array("GET ht".utf8),
            gets: page.utf8.count),
        .init(
            name: "two requests at once", origin: .page, sends: get() + get(), gets: page.utf8.count
        ),
        .init(
            name: "upgraded", origin: .upgrade,
            sends: get("Connection: Upgrade\r\nUpgrade: chat\r\n"), gets: upgrade.utf8.count,
            endsInSilence: false),
        .init(
            name: "CONNECT behind a GET", origin: .page,
            sends: get() + Array("CONNECT 127.0.0.1:PORT HTTP/1.1\r\n\r\n".utf8),
            gets: page.utf8.count + 39, endsInSilence: false),
        .init(
            name: "refused", origin: .echo, sends: Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8),
            gets: 100),
        .init(name: "password missing", hasPassword: true, origin: .echo, sends: get(), gets: 100)
    ]

    /// The state's bytes for an origin at `port`.
    func bytes(_ port: UInt16) -> [UInt8] {
        var out = sends
        let digits = Array("\(port)".utf8)
        while let at = out.firstRange(of: Array("PORT".utf8)) {
            out.replaceSubrange(at, with: digits)
        }
        if let at = out.firstRange(of: Self.port) {
            out.replaceSubrange(at, with: [UInt8(port >> 8), UInt8(truncatingIfNeeded: port)])
        }
        return out
    }
}

/// Origins of every kind behind one street.
final class StateOrigins {
    private var ports: [ClientState.Origin: UInt16] = [:]
    private var held: [Int32] = []
    /// More than the sockets between origin and application hold.
    private static let flood = [UInt8](repeating: 0x78, count: 16 << 20)

    init(_ street: Street) throws {
        ports[.echo] = try street.origin { read, ended in (read, ended) }
        ports[.mute] = try street.origin { _, ended in ended ? ([], true) : nil }
        let bytes = { (answer: [UInt8]) in
            try street.origin { _, ended in ended ? ([], true) : (answer, false) }
        }
        let head = { (text: String) in try bytes(Array(text.utf8)) }
        ports[.halfHead] = try head(ClientState.halfHead)
        ports[.halfBody] = try head(ClientState.halfBody)
        ports[.endless] = try bytes(Array(ClientState.endless.utf8) + Self.flood)
        ports[.page] = try head(ClientState.page)
        ports[.upgrade] = try head(ClientState.upgrade)
        ports[.hanging] = try hanging()
    }

    deinit { held.forEach { close($0) } }

    subscript(_ origin: ClientState.Origin) -> UInt16 { ports[origin]! }

    /// A port whose queue of connections is full: the kernel drops further SYNs.
    private func hanging() throws -> UInt16 {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        held.append(listener)
        for fd in [listener, -1, -1] {
            let fd =
                fd >= 0
                ? fd : socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
            if fd != listener { held.append(fd) }
            withUnsafeMutablePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                    if fd == listener {
                        _ = bind(fd, name, length)
                        _ = listen(fd, 0)
                        _ = getsockname(fd, name, &length)
                    } else {
                        _ = connect(fd, name, length)
                    }
                }
            }
        }
        return UInt16(bigEndian: name.sin_port)
    }
}
