import CDatagram
import Glibc
import Measures

/// Where the control sockets of this user's Braid processes are.
public enum ControlPath {
    /// `NAME.sock` in /run/braid for root, else in $XDG_RUNTIME_DIR/braid, else in /tmp/braid-UID.
    public static func standard(_ name: String) -> String { directory + "/\(name).sock" }

    /// Where `NAME` may be asked: its own place, and for root also that of the service of
    /// deploy/systemd.
    public static func places(_ name: String) -> [String] {
        [standard(name)] + (geteuid() == 0 ? ["/run/braid-\(name)/\(name).sock"] : [])
    }

    /// Chosen once: a process of root's that becomes another user keeps it, and the processes that
    /// follow it are told by `variable`.
    public static let directory: String = {
        if let told = getenv(variable), told.pointee != 0 { return String(cString: told) }
        if geteuid() == 0 { return rootsDirectory }
        if let runtime = getenv("XDG_RUNTIME_DIR"), runtime.pointee != 0 {
            return String(cString: runtime) + "/braid"
        }
        return "/tmp/braid-\(geteuid())"
    }()

    private static let rootsDirectory = "/run/braid"

    /// The environment variable that names the folder.
    public static let variable = "BRAID_CONTROL_FOLDER"

    /// The folder a socket is in.
    static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Makes the socket's directory where it is missing; it must be this user's alone.
    static func prepare(_ path: String) throws(SystemError) {
        let parent = folder(of: path)
        if mkdir(parent, 0o700) == 0 { return }
        guard errno == EEXIST else { throw SystemError("create \(parent)", code: errno) }
        guard parent.hasPrefix("/tmp/braid-") else { return }
        var about = stat()
        // In /tmp anybody could have made it first.
        guard lstat(parent, &about) == 0, about.st_mode & S_IFMT == S_IFDIR,
            about.st_uid == geteuid(),
            about.st_mode & 0o077 == 0
        else {
            throw SystemError("use \(parent), which is not yours alone", code: EACCES)
        }
    }
}

extension ControlPath {
    /// Hands the standard folder to the user whom root's process is about to become, so that it
    /// can take its place there again, and the next one's process, too.
    public static func give(to user: Privileges.User) {
        // What the environment names may be anybody's.
        guard directory == rootsDirectory else { return }
        _ = lchown(directory, user.number, uid_t.max)
    }
}

/// A Unix stream socket's address; throws ENAMETOOLONG.
func withUnixAddress<R>(
    _ path: String,
    _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
) throws(SystemError) -> R {
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

func controlSocket(nonBlocking: Bool) throws(SystemError) -> Int32 {
    try checked(braid_socket_unix(0, nonBlocking ? 1 : 0), "open a control socket")
}

/// Which of the machine's users have a say over a control socket.
enum ControlTrust {
    /// Who is at the other end of a connected Unix socket: on the client's side whoever listens.
    static func peer(_ descriptor: Int32) -> (user: uid_t, process: pid_t)? {
        var user: UInt32 = 0, process: Int32 = 0
        return braid_peer(descriptor, &user, &process) == 0 ? (user, process) : nil
    }

    /// The server answers root and the user it runs as.
    static func mayAsk(_ user: uid_t) -> Bool { user == 0 || user == geteuid() }

    /// Whether `user` may ask a process of `peer` whose socket is in a folder of `owner`.
    ///
    /// Both must be root's or the user's own. One exception: a folder directly in /run, which only
    /// root can make, is whose root has given it to; of that user root may ask the process, or one
    /// of its own that has taken the place. So it is with a service of systemd's (RuntimeDirectory
    /// and DynamicUser), and where an image makes the folder for the user it runs the program as.
    static func mayBeAsked(by user: uid_t, peer: uid_t, owner: uid_t, folder: String) -> Bool {
        if user == 0, [0, owner].contains(peer), isRuntimeFolder(folder) { return true }
        return [0, user].contains(peer) && [0, user].contains(owner)
    }

    /// `/run/NAME`, with nothing on the way that another than root could have put there.
    private static func isRuntimeFolder(_ folder: String) -> Bool {
        let parts = folder.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "", parts[1] == "run", !parts[2].isEmpty else {
            return false
        }
        var about = stat()
        return lstat("/run", &about) == 0 && about.st_mode & S_IFMT == S_IFDIR && about.st_uid == 0
            && about.st_mode & 0o022 == 0
    }
}
