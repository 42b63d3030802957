import CLab
import Glibc
import Measures

/// `braid lab`: builds the lab, runs one program in the client's namespace, and obeys control lines
/// meanwhile.
///
/// The program finds in its environment: `BRAID_LAB_CONTROL` (a Unix socket that takes one
/// `ControlLine` per line and answers each with one line), `BRAID_LAB_CLIENT` and
/// `BRAID_LAB_SERVER` (the namespaces, for
/// `nsenter --net=`), and `BRAID` (this executable).
public struct LabSession {
    private let plans: [Lab.Plan]
    private let seed: UInt64

    /// `seed` gives the links' chance; nothing is built before it runs.
    public init(_ plans: [Lab.Plan], seed: UInt64 = 1) {
        self.plans = plans
        self.seed = seed
    }

    /// Runs the program to its end; its exit code.
    public func run(_ command: [String]) throws -> Int32 {
        let lab = try Lab(plans, seed: seed)
        let folder = try TemporaryFolder()
        let listener = try UnixListener("\(folder.path)/control")
        let signals = try checked(braid_lab_signals(), "a signal descriptor")
        defer { close(signals) }
        let child = try lab.start(
            command[0], Array(command.dropFirst()), on: .client,
            environment: [
                "BRAID_LAB_CONTROL=\(listener.path)", "BRAID_LAB_CLIENT=\(lab.path(of: .client))",
                "BRAID_LAB_SERVER=\(lab.path(of: .server))", "BRAID=\(try ownExecutable())"
            ], input: 0, output: 1, errors: 2, inForeground: true)
        var clients: [ControlClient] = []
        while !child.hasEnded {
            var polled = ([signals, listener.descriptor] + clients.map(\.descriptor)).map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            // 20 ms: the child may have ended
            guard poll(&polled, nfds_t(polled.count), 20) > 0 else { continue }
            // Ctrl-C at the terminal has reached the program already.
            if polled[0].revents != 0 { child.signal(takeSignal(signals) == SIGINT ? 0 : SIGTERM) }
            for (client, entry) in zip(clients, polled[2...]) where entry.revents != 0 {
                client.serve(lab)
            }
            clients.removeAll(where: \.isClosed)
            if polled[1].revents != 0, let client = listener.accept() { clients.append(client) }
        }
        return child.status ?? 1
    }

    /// Sends one line to the lab this process runs in and returns the answer.
    public static func tell(_ line: String) throws -> String {
        guard let path = getenv("BRAID_LAB_CONTROL").map({ String(cString: $0) }) else {
            throw LabError("BRAID_LAB_CONTROL is not set; this works inside braid lab")
        }
        let descriptor = try unixSocket()
        defer { close(descriptor) }
        let result = withUnixAddress(path) { connect(descriptor, $0, $1) }
        guard result == 0 else { throw LabError("\(path): \(String(cString: strerror(errno)))") }
        writeAll(descriptor, line + "\n")
        shutdown(descriptor, Int32(SHUT_WR))
        var answer: [UInt8] = [], piece = [UInt8](repeating: 0, count: 4096)
        while true {
            let n = read(descriptor, &piece, piece.count)
            guard n > 0 else { break }
            answer += piece[..<n]
        }
        return String(decoding: answer, as: UTF8.self)
    }
}

/// The number of the signal that came.
func takeSignal(_ descriptor: Int32) -> Int32 {
    // signalfd_siginfo; its number comes first
    var information = [UInt8](repeating: 0, count: 128)
    guard read(descriptor, &information, information.count) == 128 else { return SIGTERM }
    return Int32(information[0])
}

/// The program that runs: the lab starts it again for proxy, concentrator and origin.
func ownExecutable() throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let n = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    guard n > 0 else { throw LabError("/proc/self/exe can't be read; is /proc mounted?") }
    return String(decoding: buffer[..<n].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Writes all of it, or as much as the other end takes; false where that is less.
@discardableResult
func writeAll(_ descriptor: Int32, _ text: String) -> Bool {
    Array(text.utf8).withUnsafeBytes { writeAll(descriptor, $0) }
}

@discardableResult
func writeAll(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Bool {
    var done = 0
    while done < bytes.count {
        let n = write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        if n < 0, errno == EINTR { continue }
        guard n > 0 else { return false }
        done += n
    }
    return true
}

/// A new file, or an old one's place; false where it can't be written.
@discardableResult
func writeFile(_ path: String, _ text: String) -> Bool {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    return writeAll(descriptor, text)
}

/// A folder under $TMPDIR or /tmp that goes away with this value.
final class TemporaryFolder {
    let path: String

    init() throws {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(base)/braid-lab-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw LabError("\(base): \(String(cString: strerror(errno)))")
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        // Files only, one level: all that the lab puts there.
        guard let folder = opendir(path) else { return }
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix(while: { $0 != 0 }), as: UTF8.self)
            }
            if name != ".", name != ".." { unlink("\(path)/\(name)") }
        }
        closedir(folder)
        rmdir(path)
    }
}

// MARK: Control socket

private func unixSocket() throws -> Int32 {
    let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard made >= 0 else { throw LabError("no socket: \(String(cString: strerror(errno)))") }
    return made
}

private func withUnixAddress<R>(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
) -> R {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    precondition(
        path.utf8.count < MemoryLayout.size(ofValue: address.sun_path), "socket path too long")
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}

private final class UnixListener {
    let path: String
    let descriptor: Int32

    init(_ path: String) throws {
        self.path = path
        descriptor = try unixSocket()
        let result = withUnixAddress(path) { bind(descriptor, $0, $1) }
        guard result == 0,
            listen(descriptor, 16) == 0
        else { throw LabError("\(path): \(String(cString: strerror(errno)))") }
    }
    deinit { close(descriptor) }

    func accept() -> ControlClient? {
        let made = Glibc.accept(descriptor, nil, nil)
        return made >= 0 ? ControlClient(made) : nil
    }
}

/// Somebody who sends control lines.
private final class ControlClient {
    /// A line is at most this long.
    static let maximumLine = 4096
    let descriptor: Int32
    private(set) var isClosed = false
    private var pending: [UInt8] = []

    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    /// Reads what is there (called when something is) and obeys the complete lines.
    func serve(_ lab: Lab) {
        var piece = [UInt8](repeating: 0, count: 4096)
        let n = read(descriptor, &piece, piece.count)
        guard n > 0, pending.count + n <= Self.maximumLine else { isClosed = true; return }
        pending += piece[..<n]
        while let end = pending.firstIndex(of: 10) {
            let line = String(decoding: pending[..<end], as: UTF8.self)
            pending.removeFirst(end + 1)
            if !line.isEmpty { writeAll(descriptor, lab.obey(line) + "\n") }
        }
    }
}
