import Glibc

/// Asks a running proxy or concentrator over its control socket: one line there, the answer back, the end.
enum ControlClient {
    /// The answer's bytes. `path` nil: the one process that runs here.
    static func ask(_ request: String, at path: String?) throws -> [UInt8] {
        let path = try path ?? onlyOne()
        let descriptor = try connected(to: path)
        defer { close(descriptor) }
        var rest = Array((request + "\n").utf8)[...]
        while !rest.isEmpty {
            let n = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard n > 0 else { throw Complaint.failure("\(path) took no request: \(lastError())") }
            rest = rest.dropFirst(n)
        }
        var answer: [UInt8] = [], buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let n = read(descriptor, &buffer, buffer.count)
            if n < 0, errno == EINTR { continue }
            guard n >= 0 else { throw Complaint.failure("\(path) did not answer: \(lastError())") }
            if n == 0 { break }
            answer += buffer[..<n]
        }
        let refusal = Array("error: ".utf8)
        if answer.starts(with: refusal) {
            let text = String(decoding: answer.dropFirst(refusal.count), as: UTF8.self)
            throw Complaint.input(String(text.prefix { !$0.isNewline }))
        }
        guard !answer.isEmpty else { throw Complaint.failure("\(path) closed without an answer") }
        return answer
    }

    /// The socket of the one process that answers; a stale socket file doesn't count.
    private static func onlyOne() throws -> String {
        let paths = ControlPath.existing()
        let living = paths.filter { path in
            guard let descriptor = try? connected(to: path) else { return false }
            close(descriptor)
            return true
        }
        switch living.count {
        case 1: return living[0]
        case 0:
            if let path = paths.first { close(try connected(to: path)) }
            throw Complaint.failure("no proxy or concentrator of this user runs here; name its socket with --control")
        default:
            throw Complaint.input("several run here; choose one with --control: \(living.joined(separator: ", "))")
        }
    }

    private static func connected(to path: String) throws -> Int32 {
        guard var address = sockaddr_un(path: path) else {
            throw Complaint.input("\(path) is longer than the 107 bytes a socket's path may have")
        }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Complaint.failure("no socket: \(lastError())") }
        // A process that is stopped must not hang the one that asks.
        var patience = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let reason = lastError()
            close(descriptor)
            throw Complaint.failure("\(path) can't be reached: \(reason)")
        }
        return descriptor
    }

    static func lastError() -> String { String(cString: strerror(errno)) }
}

extension sockaddr_un {
    /// The address of a socket file; nil where the path is too long for one.
    init?(path: String) {
        self.init()
        sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: sun_path)
        guard bytes.count < room else { return nil }
        withUnsafeMutableBytes(of: &sun_path) { $0.copyBytes(from: bytes) }
    }
}
