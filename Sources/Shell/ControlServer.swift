import Glibc
import Measures

/// Answers one request line with one reply on a Unix socket (mode 0600): `braid status`, `braid
/// mode`.
///
/// The socket is bound under a name of its own and renamed to its place, so that a process that
/// starts while the last one still drains takes the place over, and there is no moment without a
/// socket. Each removes only what is its own.
public final class ControlServer {
    /// Where the socket stands in the file system.
    public let path: String
    /// The process that answered at this place before and lives on, such as one that is still
    /// draining.
    public private(set) var predecessor: pid_t?
    private let loop: EventLoop
    private let handler: (String) -> String
    /// Asked first: true where the reply comes later, by the function it is given.
    public var later: ((_ line: String, _ reply: @escaping (String) -> Void) -> Bool)?
    private var socket: Listening?
    private var look: LoopTimer?
    /// Runs while the process has no descriptor left to accept with.
    private var pause: LoopTimer?
    private var clients: [ObjectIdentifier: Client] = [:]
    private var isOpen = true

    fileprivate static let maximumClients = 32, maximumLine = 4096
    fileprivate static let timeout = Interval.seconds(10)
    /// For a reply that comes later.
    fileprivate static let longTimeout = Interval.seconds(60)
    /// How often is it seen to that somebody answers at `path`: the process that took it over may
    /// be gone, or a cleaner of /tmp came by.
    private static let lookInterval = Interval.seconds(10)

    private struct Listening {
        var descriptor: Int32
        var watch: FileWatch
        /// Tells this socket's file from another one's. Its number is not used again while it is
        /// open.
        var device: dev_t
        var inode: ino_t
    }

    /// Throws EEXIST where something else than a socket is in the way. `handler` gets the line
    /// without its end and returns the reply, which may have several lines.
    public convenience init(
        path: String, loop: EventLoop,
        handler: @escaping (String) -> String
    ) throws(SystemError) {
        try self.init(path: path, lookInterval: Self.lookInterval, loop: loop, handler: handler)
    }

    init(
        path: String, lookInterval: Interval, loop: EventLoop,
        handler: @escaping (String) -> String
    ) throws(SystemError) {
        self.path = path
        self.loop = loop
        self.handler = handler
        if case .process(let process) = Self.answerer(at: path) { predecessor = process }
        socket = try listen()
        look = loop.timer(for: self) { $0.takePlaceIfFree(again: lookInterval) }
        look?.arm(after: lookInterval)
    }

    deinit { close() }

    /// Removes the socket, where it is still this server's.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        look = nil
        pause = nil
        leavePlace()
        clients.removeAll()
    }

    private func leavePlace() {
        guard let socket else { return }
        var about = stat()
        if lstat(path, &about) == 0, about.st_ino == socket.inode, about.st_dev == socket.device {
            unlink(path)
        }
        socket.watch.cancel()
        Glibc.close(socket.descriptor)
        self.socket = nil
    }

    // MARK: The place

    private func listen() throws(SystemError) -> Listening {
        try ControlPath.prepare(path)
        var about = stat()
        if lstat(path, &about) == 0, about.st_mode & S_IFMT != S_IFSOCK {
            throw SystemError("open control socket \(path)", code: EEXIST)
        }
        let descriptor = try controlSocket(nonBlocking: true)
        do throws(SystemError) {
            let own = "\(ControlPath.folder(of: path))/.\(getpid()).new"
            unlink(own)  // of a process of this number that was killed just here
            // by bind itself: there is no moment at which others could connect
            let mask = umask(0o177)
            defer { umask(mask) }
            let code = try withUnixAddress(own) { bind(descriptor, $0, $1) == 0 ? 0 : errno }
            guard code == 0 else { throw SystemError("open control socket \(path)", code: code) }
            guard Glibc.listen(descriptor, 16) == 0, lstat(own, &about) == 0, rename(own, path) == 0
            else {
                let error = SystemError("open control socket \(path)", code: errno)
                unlink(own)
                throw error
            }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        let watch = loop.watch(descriptor)
        watch.onReadable(for: self) { $0.acceptAll() }
        watch.wantsRead = true
        return Listening(
            descriptor: descriptor, watch: watch, device: about.st_dev, inode: about.st_ino)
    }

    private enum Answerer {
        case nobody, process(pid_t)
        /// It could not be asked, for want of a descriptor or of rights, or since too many wait
        /// there.
        case unknown
    }

    /// Who listens at `path`.
    private static func answerer(at path: String) -> Answerer {
        guard let descriptor = try? controlSocket(nonBlocking: true) else { return .unknown }
        defer { Glibc.close(descriptor) }
        guard
            let code = try? withUnixAddress(path, { connect(descriptor, $0, $1) == 0 ? 0 : errno })
        else {
            return .nobody
        }
        // Whoever may not even look (root's folder, and this process is root's no more) knows
        // nothing.
        guard code == 0 else { return [ENOENT, ECONNREFUSED].contains(code) ? .nobody : .unknown }
        return ControlTrust.peer(descriptor).map { .process($0.process) } ?? .unknown
    }

    private func takePlaceIfFree(again interval: Interval) {
        guard isOpen else { return }
        if case .nobody = Self.answerer(at: path) {
            leavePlace()
            socket = try? listen()  // tried again the next time
        }
        look?.arm(after: interval)
    }

    // MARK: Clients

    private func acceptLater() {
        socket?.watch.wantsRead = false
        let timer = pause ?? loop.timer(for: self) { $0.socket?.watch.wantsRead = true }
        timer.arm(after: StreamListener.pauseTime)
        pause = timer
    }

    private func acceptAll() {
        while let socket {
            let descriptor = accept(socket.descriptor, nil, nil)
            guard descriptor >= 0 else {
                // Who waits stays in the queue: without a pause the loop would do nothing but find
                // that out.
                if [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(errno) { acceptLater() }
                return
            }
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            setNonBlocking(descriptor)
            guard clients.count < Self.maximumClients, let peer = ControlTrust.peer(descriptor),
                ControlTrust.mayAsk(peer.user)
            else {
                Glibc.close(descriptor)
                continue
            }
            let client = Client(
                loop, descriptor, handler,
                later: { [weak self] line, reply in self?.later?(line, reply) == true },
                gone: { [weak self] in self?.clients[$0] = nil })
            clients[ObjectIdentifier(client)] = client
        }
    }
}

/// One client of the control socket: its line, then the reply.
private final class Client {
    private let socket: StreamSocket
    private let handler: (String) -> String
    private let later: (String, @escaping (String) -> Void) -> Bool
    private let gone: (ObjectIdentifier) -> Void
    private var line: [UInt8] = []
    private var reply: [UInt8] = []
    private var timer: LoopTimer?

    init(
        _ loop: EventLoop, _ descriptor: Int32, _ handler: @escaping (String) -> String,
        later: @escaping (String, @escaping (String) -> Void) -> Bool,
        gone: @escaping (ObjectIdentifier) -> Void
    ) {
        socket = StreamSocket(loop: loop, descriptor: descriptor)
        self.handler = handler
        self.later = later
        self.gone = gone
        timer = loop.timer(for: self) { $0.leave() }
        timer?.arm(after: ControlServer.timeout)
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
            if line.count > ControlServer.maximumLine { leave() }
            return
        }
        // Somebody who only looked whether anybody is here.
        guard !line.isEmpty else { leave(); return }
        socket.watch.wantsRead = false
        var text = String(decoding: line[..<(end ?? line.count)], as: UTF8.self)
        if text.last == "\r" { text.removeLast() }
        timer?.arm(after: ControlServer.longTimeout)
        if later(text, { [weak self] in self?.answer($0) }) { return }
        timer?.arm(after: ControlServer.timeout)
        answer(handler(text))
    }

    private func answer(_ text: String) {
        reply = Array((text + "\n").utf8)
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
