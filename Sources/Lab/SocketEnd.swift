import CLab
import Glibc
import Measures
import Simulator

/// One end of an application's TCP connection: writes what its supply produces, reads and checks
/// every byte, and keeps the log a simulated end keeps. Instants are the trial's, not the clock's.
final class SocketEnd: TrialEnd {
    let descriptor: Int32
    let supply: Supply
    var log = ReceptionLog()
    private(set) var failure: String?
    private(set) var began: Instant?
    private var written = 0, read = 0
    private let outgoing: StreamPattern, incoming: StreamPattern
    private let other: Supply
    private var isBlocked = false
    private let buffer: SocketBuffer
    private weak var peer: SocketEnd?

    init(
        _ descriptor: Int32, sends supply: Supply, _ outgoing: StreamPattern, gets other: Supply,
        _ incoming: StreamPattern, buffer: SocketBuffer
    ) {
        self.descriptor = descriptor
        self.supply = supply
        self.outgoing = outgoing
        self.other = other
        self.incoming = incoming
        self.buffer = buffer
        log.keepsArrivals = true
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    deinit { close(descriptor) }

    /// Both ends know each other, for the delays.
    func join(_ peer: SocketEnd) { self.peer = peer }

    func begin(at now: Instant) { began = now }

    /// When time alone gives it something to write.
    func deadline(after now: Instant) -> Instant {
        guard failure == nil, !isBlocked, let began,
            let next = supply.nextProduction(after: now - began)
        else {
            return .distantFuture
        }
        return began + next
    }

    /// What to wait for: also room, where a write found none.
    var polled: pollfd {
        pollfd(fd: descriptor, events: Int16(isBlocked ? POLLIN | POLLOUT : POLLIN), revents: 0)
    }

    /// Reads what is there and writes what is due.
    func turn(at now: Instant) {
        guard failure == nil, let began else { return }
        receive(at: now)
        send(supply.produced(after: now - began, received: read))
    }

    private func receive(at now: Instant) {
        while failure == nil {
            let n = Glibc.read(descriptor, buffer.bytes.baseAddress, buffer.bytes.count)
            if n < 0 {
                if errno == EINTR { continue }
                if errno != EAGAIN {
                    failure = "reading failed: \(String(cString: strerror(errno)))"
                }
                return
            }
            guard n > 0 else { failure = "the connection ended after \(read) bytes"; return }
            let arrived = UnsafeRawBufferPointer(rebasing: buffer.bytes[..<n])
            if let wrong = incoming.firstDifference(arrived, from: UInt64(read)) {
                failure = "wrong byte at offset \(read + wrong)"
            }
            read += n
            log.note(n, total: read, at: now)
            if let began = peer?.began {
                log.noteDelays(of: other, began: began, total: read, at: now)
            }
            if n < buffer.bytes.count { return }
        }
    }

    private func send(_ produced: Int) {
        isBlocked = false
        while failure == nil, written < produced {
            let piece = UnsafeMutableRawBufferPointer(
                rebasing: buffer.bytes[..<min(buffer.bytes.count, produced - written)])
            outgoing.fill(piece, from: UInt64(written))
            let n = Glibc.write(descriptor, piece.baseAddress, piece.count)
            if n >= 0 { written += n; continue }
            if errno == EINTR { continue }
            if errno == EAGAIN {
                isBlocked = true
            } else {
                failure = "writing failed: \(String(cString: strerror(errno)))"
            }
            return
        }
    }
}

/// Room for what is read or written at a time.
final class SocketBuffer {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    deinit { bytes.deallocate() }
}

/// An application's server: it listens in the server's namespace.
final class LabListener {
    let descriptor: Int32
    static let port: UInt16 = 7000

    init(_ lab: Lab) throws {
        descriptor = try lab.socket(on: .server)
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        let address = SocketAddress(Lab.originAddress, port: Self.port)
        let bound = withSocketAddress(address) { bind(descriptor, $0, $1) }
        guard bound == 0, listen(descriptor, 1024) == 0 else {
            let why = String(cString: strerror(errno))
            close(descriptor)
            throw LabError("the origin can't listen: \(why)")
        }
    }

    deinit { close(descriptor) }

    /// The next connection, which the caller closes; waits for it up to ten seconds.
    func accept() throws -> Int32 {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard braid_lab_wait(&polled, 1, 10_000_000_000) > 0 else {
            throw LabError("no connection reached the origin in 10 s")
        }
        let made = Glibc.accept(descriptor, nil, nil)
        guard made >= 0 else { throw LabError("accept: \(String(cString: strerror(errno)))") }
        var one: Int32 = 1
        setsockopt(made, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        return made
    }
}

/// A connection through the proxy to the lab's listener, as any SOCKS5 client makes it (RFC 1928).
struct SocksConnection {
    /// Blocking, with a time-out of ten seconds; its owner closes it.
    let descriptor: Int32

    /// What can be asked for.
    enum Command: UInt8 { case connect = 1, associate = 3 }

    /// Connects and asks; the answer is awaited by `finish`, so that many can ask at once. An
    /// association is for datagrams from any port.
    init(_ lab: Lab, _ command: Command = .connect) throws {
        descriptor = try lab.socket(on: .client)
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard withSocketAddress(LabPair.address, { connect(descriptor, $0, $1) }) == 0 else {
            throw failed("can't reach the proxy: \(String(cString: strerror(errno)))")
        }
        // Version 5, one method: none.
        guard send([5, 1, 0]), receive(2) == [5, 0] else {
            throw failed("the proxy wants a password")
        }
        let target =
            command == .connect
            ? SocketAddress(Lab.originAddress, port: LabListener.port)
            : SocketAddress(.unspecifiedV4, port: 0)
        guard send([5, command.rawValue, 0] + Self.bytes(of: target)) else {
            throw failed("the proxy hung up")
        }
    }

    /// An IPv4 address as SOCKS5 writes it.
    static func bytes(of target: SocketAddress) -> [UInt8] {
        [1] + (0..<4).map { UInt8(truncatingIfNeeded: target.address.v4 >> (24 - 8 * $0)) }
            + [UInt8(target.port >> 8), UInt8(target.port & 255)]
    }

    /// Waits until the proxy says that the connection stands; the address that it names.
    @discardableResult func finish() throws -> SocketAddress {
        let answer = receive(10)
        guard answer.count == 10, answer[1] == 0 else {
            throw failed(
                answer.count == 10
                    ? "the proxy refused: SOCKS error \(answer[1])" : "the proxy hung up")
        }
        let address = answer[4..<8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return SocketAddress(
            IPAddress(v4: address), port: UInt16(answer[8]) << 8 | UInt16(answer[9]))
    }

    private func failed(_ sentence: String) -> LabError {
        close(descriptor)
        return LabError(sentence)
    }

    private func send(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { writeAll(descriptor, $0) }
    }

    /// Exactly `count` bytes; fewer where there are no more.
    private func receive(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count), done = 0
        while done < count {
            let n = bytes.withUnsafeMutableBytes {
                read(descriptor, $0.baseAddress! + done, count - done)
            }
            if n < 0, errno == EINTR { continue }
            guard n > 0 else { break }
            done += n
        }
        return Array(bytes[..<done])
    }
}

/// `body` with an IPv4 address as the system takes it.
func withSocketAddress<R>(
    _ address: SocketAddress, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
) -> R {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = address.port.bigEndian
    name.sin_addr.s_addr = address.address.v4.bigEndian
    return withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}
