import Glibc

/// Asks a running process over its control socket, for the command line; blocks.
public enum ControlClient {
    /// Why there is no answer.
    public enum Failure: Error, Equatable {
        /// ENOENT or ECONNREFUSED: nothing runs there.
        case system(SystemError)
        /// The folder or the process that listens belongs to this other user: nothing was asked.
        case otherUser(UInt32)
    }

    /// No status is longer; more is another program's doing.
    private static let maximumReply = 64 << 20

    /// Sends a line and returns the whole reply without its last line end; `timeout` at most from
    /// one piece of it to the next, in seconds.
    public static func ask(
        path: String, line: String, timeout: Int = 5
    ) throws(Failure) -> String {
        let descriptor = try system { () throws(SystemError) in
            try controlSocket(nonBlocking: false)
        }
        defer { close(descriptor) }
        var limit = timeval(tv_sec: timeout, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(
            descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        try connect(descriptor, path)
        return try system { () throws(SystemError) in try exchange(descriptor, path, line) }
    }

    private static func system<Value>(
        _ body: () throws(SystemError) -> Value
    ) throws(Failure) -> Value {
        do { return try body() } catch { throw .system(error) }
    }

    private static func connect(_ descriptor: Int32, _ path: String) throws(Failure) {
        let folder = ControlPath.folder(of: path)
        var about = stat()
        guard stat(folder, &about) == 0 else {
            throw .system(SystemError("connect to \(path)", code: errno))
        }
        let code = try system { () throws(SystemError) in
            try withUnixAddress(path) { Glibc.connect(descriptor, $0, $1) == 0 ? 0 : errno }
        }
        guard code == 0 else { throw .system(SystemError("connect to \(path)", code: code)) }
        guard let peer = ControlTrust.peer(descriptor) else { throw .otherUser(.max) }
        let user = geteuid()
        guard
            ControlTrust.mayBeAsked(by: user, peer: peer.user, owner: about.st_uid, folder: folder)
        else {
            throw .otherUser([0, user].contains(peer.user) ? about.st_uid : peer.user)
        }
    }

    private static func exchange(
        _ descriptor: Int32, _ path: String,
        _ line: String
    ) throws(SystemError) -> String {
        let request = Array((line + "\n").utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw SystemError("ask \(path)", code: errno)
        }
        var reply: [UInt8] = [], piece = [UInt8](repeating: 0, count: 64 << 10)
        while reply.count < maximumReply {
            let n = read(descriptor, &piece, piece.count)
            if n == 0 { break }
            if n < 0 {
                if errno == EINTR { continue }
                throw SystemError("hear from \(path)", code: errno == EAGAIN ? ETIMEDOUT : errno)
            }
            reply += piece[..<n]
        }
        // A process that does not answer this user closes without a word.
        guard !reply.isEmpty else { throw SystemError("hear from \(path)", code: ECONNRESET) }
        if reply.last == UInt8(ascii: "\n") { reply.removeLast() }
        return String(decoding: reply, as: UTF8.self)
    }
}
