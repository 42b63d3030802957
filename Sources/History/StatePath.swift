import Glibc

/// Where a program keeps what it remembers.
public enum StatePath {
    /// `NAME.db` in systemd's state directory, for root in /var/lib/braid, else in
    /// $XDG_STATE_HOME/braid or ~/.local/state/braid. `extension`: with its dot.
    public static func standard(_ name: String, extension: String = ".db") -> String {
        folder + "/" + name + `extension`
    }

    /// Where a process of this user may have left NAME's file: its own place, and for root also
    /// those of the services of deploy/systemd.
    public static func places(_ name: String) -> [String] {
        var places = [standard(name)]
        if geteuid() == 0 {
            places += [
                "/var/lib/braid-\(name)/\(name).db", "/var/lib/private/braid-\(name)/\(name).db"
            ]
        }
        return places
    }

    /// Chosen once: a process of root's that becomes another user keeps it, and the processes that
    /// follow it are told by `variable`.
    public static let folder: String = {
        // systemd may name several, the first is ours.
        if let folder = value(of: variable) {
            return String(folder.prefix { $0 != ":" })
        }
        if geteuid() == 0 { return rootsFolder }
        if let state = value(of: "XDG_STATE_HOME") { return state + "/braid" }
        return (value(of: "HOME") ?? "/tmp") + "/.local/state/braid"
    }()

    private static let rootsFolder = "/var/lib/braid"

    /// The environment variable that names the folder, systemd's own.
    public static let variable = "STATE_DIRECTORY"

    private static func value(of name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }

    /// Makes the folder of `path`, with those above it, for its owner alone, where it is missing;
    /// `owner`: whose the new folders are, nil: this user's; root's own folder becomes theirs where
    /// an earlier process made it for root. Whatever fails shows when the file is opened.
    public static func prepare(_ path: String, owner: UInt32? = nil) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        let folder = String(path[..<slash])
        if access(folder, F_OK) == 0 {
            var about = stat()
            guard folder == rootsFolder, let owner, lstat(folder, &about) == 0,
                about.st_mode & S_IFMT == S_IFDIR, about.st_uid == 0
            else { return }
            lchown(folder, owner, gid_t.max)
            return
        }
        prepare(folder, owner: owner)
        guard mkdir(folder, 0o700) == 0, let owner else { return }
        lchown(folder, owner, gid_t.max)
    }
}
