import Configuration
import Glibc

/// Where the control socket of a running proxy or concentrator is.
enum ControlPath {
    /// The places in order of preference: the system's folder, the session's, one in /tmp.
    static func candidates(_ role: ConfigurationKind) -> [String] {
        var paths: [String] = []
        if geteuid() == 0 { paths.append("/run/braid/\(role.rawValue).sock") }
        if let folder = getenv("XDG_RUNTIME_DIR") {
            paths.append("\(String(cString: folder))/braid-\(role.rawValue).sock")
        }
        paths.append("/tmp/braid-\(geteuid())/\(role.rawValue).sock")
        return paths
    }

    /// The first place whose folder is there, or can be made, and belongs to this user alone.
    static func forListening(_ role: ConfigurationKind) -> String? {
        candidates(role).first { path in
            let folder = String(path[..<path.lastIndex(of: "/")!])
            if mkdir(folder, 0o700) != 0, errno != EEXIST { return false }
            var status = stat()
            guard lstat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid() else { return false }
            // Whoever may write into the folder could put a socket of his own there.
            return status.st_mode & 0o022 == 0 && access(folder, W_OK) == 0
        }
    }

    /// The sockets that `braid status` asks where none is named.
    static func existing() -> [String] {
        var paths: [String] = []
        for role in [ConfigurationKind.proxy, .concentrator] {
            // Root's socket is tried by everyone: the answer "permission denied" is better than none.
            paths += candidates(role) + ["/run/braid/\(role.rawValue).sock"]
        }
        var seen: [String] = []
        for path in paths where !seen.contains(path) && access(path, F_OK) == 0 { seen.append(path) }
        return seen
    }
}
