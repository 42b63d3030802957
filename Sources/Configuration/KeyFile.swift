import Crypto
import Glibc
import Shell

/// A file with one key of 32 bytes in base64, as `braid keygen` writes it.
///
/// Blank lines and lines that start with `#` don't count.
public enum KeyFile {
    /// What is wrong with a key file, as the end of a sentence that began with its path.
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    /// Reads the key. Refuses a file that others than its owner can read or write.
    public static func read(_ path: String) throws(Failure) -> Key32 {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let make = errno == ENOENT ? "; make it with: braid keygen \(path)" : ""
            throw Failure(description: "can't be read: \(lastError())\(make)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw Failure(description: "can't be read: \(lastError())")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw Failure(description: "is not a file")
        }
        // systemd gives a service's user its credentials by an access list, which shows as a
        // group's right to read.
        let credentials = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) + "/" }
        let isCredential = credentials.map { path.hasPrefix($0) } ?? false
        // Root's file that the service's own group may read: as a file of settings of a service is.
        let isServices =
            status.st_uid == 0
            && [0, getegid(), Privileges.User(name: Privileges.dedicatedUser)?.group]
                .contains(status.st_gid)
        guard status.st_mode & (isCredential || isServices ? 0o037 : 0o077) == 0 else {
            let mode = String(status.st_mode & 0o777, radix: 8)
            throw Failure(
                description: "is open to others (mode 0\(mode)); mend it with: chmod 600 \(path)")
        }
        // A key file has a line of 44 characters and perhaps a comment.
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw Failure(description: "can't be read: \(lastError())") }
        let lines = String(decoding: bytes[..<count], as: UTF8.self)
            .split(whereSeparator: \.isNewline)
            .map { $0.trimmingWhitespace() }
            .filter { !$0.isEmpty && !$0.hasPrefix("#") }
        guard lines.count == 1, let key = Key32(base64: lines[0]), key != .zero else {
            throw Failure(description: "holds no key; a key file is written by: braid keygen FILE")
        }
        return key
    }

    /// Writes a key to a new file of mode 0600; an existing file is never touched. A missing folder
    /// is made, for its owner alone, where only that one is missing: a longer way is more likely a
    /// slip of the pen.
    public static func write(_ key: Key32, to path: String) throws(Failure) {
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            let folder = String(path[..<slash])
            if mkdir(folder, 0o700) != 0, errno == ENOENT {
                throw Failure(
                    description: "can't be written: make its folder with: mkdir -p \(folder)")
            }
        }
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            if errno == EEXIST {
                throw Failure(description: "exists already; keys are never written over")
            }
            throw Failure(description: "can't be written: \(lastError())")
        }
        defer { close(descriptor) }
        let line = Array((key.base64 + "\n").utf8)
        // The mode given to open passes through the umask, which may take away the owner's own
        // bits.
        guard fchmod(descriptor, 0o600) == 0,
            Glibc.write(descriptor, line, line.count) == line.count,
            fsync(descriptor) == 0
        else {
            let reason = lastError()
            unlink(path)
            throw Failure(description: "can't be written: \(reason)")
        }
    }

    private static func lastError() -> String { String(cString: strerror(errno)) }
}

extension Substring {
    fileprivate func trimmingWhitespace() -> String {
        var text = self
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}

extension Field {
    /// The key in the file that this setting names.
    func key(relativeTo folder: String) -> Key32? {
        guard let path = path(relativeTo: folder) else { return nil }
        do { return try KeyFile.read(path) } catch { return wrong("\(path) \(error)") }
    }
}
