import CDatagram
import Glibc
import Measures

/// Where the control sockets of this user's Braid processes are.
public enum ControlPath {
    /// `NAME.sock` in /run/braid for root, else in $XDG_RUNTIME_DIR/braid, else in /tmp/braid-UID.
    public static func standard(_ name: String) -> String { directory() + "/\(name).sock" }

    static func directory() -> String {
        if geteuid() == 0 { return "/run/braid" }
        if let runtime = getenv("XDG_RUNTIME_DIR"), runtime.pointee != 0 {
            return String(cString: runtime) + "/braid"
        }
        return "/tmp/braid-\(geteuid())"
    }

    /// Makes the socket's directory where it is missing; it must be this user's alone.
    static func prepare(_ path: String) throws(SystemError) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        let parent = String(path[..<slash])
        if mkdir(parent, 0o700) == 0 { return }
        guard errno == EEXIST else { throw SystemError("create \(parent)", code: errno) }
        guard parent.hasPrefix("/tmp/braid-") else { return }
        var about = stat()
        // In /tmp anybody could have made it first.
        guard lstat(parent, &about) == 0, about.st_mode & S_IFMT == S_IFDIR, about.st_uid == geteuid(),
              about.st_mode & 0o077 == 0 else {
            throw SystemError("use \(parent), which is not yours alone", code: EACCES)
        }
    }
}

/// A Unix stream socket's address; throws ENAMETOOLONG.
private func withUnixAddress<R>(_ path: String,
                                _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) throws(SystemError) -> R {
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: name.sun_path) else {
        throw SystemError("use socket \(path)", code: ENAMETOOLONG)
    }
    withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}

private func unixSocket(nonBlocking: Bool) throws(SystemError) -> Int32 {
    try checked(braid_socket_unix(0, nonBlocking ? 1 : 0), "open a control socket")
}

/// Answers one request line with one reply on a Unix socket (mode 0600): `braid status`, `braid mode`.
public final class ControlServer {
    public let path: String
    private let loop: EventLoop
    private let handler: (String) -> String
    private let descriptor: Int32
    private let watch: FileWatch
    private var visitors: [ObjectIdentifier: Visitor] = [:]
    private var isOpen = true

    fileprivate static let mostVisitors = 32, longestLine = 4096
    fileprivate static let patience = Interval.seconds(10)

    /// Replaces a dead process's socket; throws EADDRINUSE where a living one answers.
    /// `handler` gets the line without its end and returns the reply, which may have several lines.
    public init(path: String, loop: EventLoop, handler: @escaping (String) -> String) throws(SystemError) {
        try ControlPath.prepare(path)
        descriptor = try Self.listen(path)
        self.path = path
        self.loop = loop
        self.handler = handler
        watch = loop.watch(descriptor)
        watch.onReadable(for: self) { $0.acceptAll() }
        watch.wantsRead = true
    }

    deinit { close() }

    /// Removes the socket.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        watch.cancel()
        Glibc.close(descriptor)
        unlink(path)
        visitors.removeAll()
    }

    private static func listen(_ path: String) throws(SystemError) -> Int32 {
        let fd = try unixSocket(nonBlocking: true)
        do throws(SystemError) {
            // The mode is set by bind itself: there is no moment at which others could connect.
            let mask = umask(0o177)
            defer { umask(mask) }
            for attempt in 0..<2 {
                let code = try withUnixAddress(path) { bind(fd, $0, $1) == 0 ? 0 : errno }
                if code == 0 { break }
                guard code == EADDRINUSE, attempt == 0, try isDead(path) else {
                    throw SystemError("open control socket \(path)", code: code)
                }
                unlink(path)
            }
            guard Glibc.listen(fd, 16) == 0 else {
                throw SystemError("open control socket \(path)", code: errno)
            }
        } catch {
            Glibc.close(fd)
            throw error
        }
        return fd
    }

    /// Whether a socket file is left over by a process that is gone. Another kind of file is not.
    private static func isDead(_ path: String) throws(SystemError) -> Bool {
        var about = stat()
        guard lstat(path, &about) == 0, about.st_mode & S_IFMT == S_IFSOCK else { return false }
        let fd = try unixSocket(nonBlocking: true)
        defer { Glibc.close(fd) }
        return try withUnixAddress(path) { connect(fd, $0, $1) != 0 && errno == ECONNREFUSED }
    }

    private func acceptAll() {
        while true {
            let fd = accept(descriptor, nil, nil)
            guard fd >= 0 else { return }
            _ = fcntl(fd, F_SETFD, FD_CLOEXEC)
            _ = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)
            guard visitors.count < Self.mostVisitors else { Glibc.close(fd); continue }
            let visitor = Visitor(loop, fd, handler) { [weak self] in self?.visitors[$0] = nil }
            visitors[ObjectIdentifier(visitor)] = visitor
        }
    }
}

/// One client of the control socket: its line, then the reply.
private final class Visitor {
    private let socket: StreamSocket
    private let handler: (String) -> String
    private let gone: (ObjectIdentifier) -> Void
    private var line: [UInt8] = []
    private var reply: [UInt8] = []
    private var timer: LoopTimer?

    init(_ loop: EventLoop, _ fd: Int32, _ handler: @escaping (String) -> String,
         gone: @escaping (ObjectIdentifier) -> Void) {
        socket = StreamSocket(loop: loop, descriptor: fd)
        self.handler = handler
        self.gone = gone
        timer = loop.timer(for: self) { $0.leave() }
        timer?.arm(after: ControlServer.patience)
        socket.watch.onReadable(for: self) { $0.read() }
        socket.watch.onWritable(for: self) { $0.write() }
        socket.watch.wantsRead = true
    }

    private func read() {
        let result = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { room in
            let result = socket.read(into: room)
            if case .bytes(let n) = result { line += room[..<n] }
            return result
        }
        switch result {
        case .blocked: return
        case .failed: leave(); return
        case .bytes, .end: break
        }
        let end = line.firstIndex(of: UInt8(ascii: "\n"))
        guard end != nil || result == .end else {
            if line.count > ControlServer.longestLine { leave() }
            return
        }
        socket.watch.wantsRead = false
        var text = String(decoding: line[..<(end ?? line.count)], as: UTF8.self)
        if text.last == "\r" { text.removeLast() }
        reply = Array((handler(text) + "\n").utf8)
        write()
    }

    private func write() {
        switch socket.write(reply) {
        case .bytes(let n) where n == reply.count: leave(); return
        case .bytes(let n): reply.removeFirst(n)
        case .blocked: break
        case .failed: leave(); return
        }
        socket.watch.wantsWrite = true
    }

    private func leave() {
        socket.close()
        timer?.cancel()
        gone(ObjectIdentifier(self))
    }
}

/// The other end, for the command line; blocks.
public enum ControlClient {
    /// Sends a line and returns the whole reply without its last line end; 5 s at most.
    /// ENOENT or ECONNREFUSED: nothing runs there.
    public static func ask(path: String, line: String) throws(SystemError) -> String {
        let fd = try unixSocket(nonBlocking: false)
        defer { close(fd) }
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let code = try withUnixAddress(path) { connect(fd, $0, $1) == 0 ? 0 : errno }
        guard code == 0 else { throw SystemError("connect to \(path)", code: code) }
        let request = Array((line + "\n").utf8)
        guard send(fd, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw SystemError("ask \(path)", code: errno)
        }
        var reply: [UInt8] = [], piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let n = read(fd, &piece, piece.count)
            if n == 0 { break }
            if n < 0 {
                if errno == EINTR { continue }
                throw SystemError("hear from \(path)", code: errno == EAGAIN ? ETIMEDOUT : errno)
            }
            reply += piece[..<n]
        }
        if reply.last == UInt8(ascii: "\n") { reply.removeLast() }
        return String(decoding: reply, as: UTF8.self)
    }
}
