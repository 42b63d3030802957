import Configuration
import Foundation
import Glibc
import Shell

/// What setting a side up does, step by step, as a value: to be shown, or done. Nothing that is
/// there is written over.
struct SetupPlan {
    static let defaultFolder = "/etc/braid", defaultState = "/var/lib/braid-concentrator"
    static let units = "/etc/systemd/system"
    /// Of who is not root.
    static var ownFolder: String {
        let home = getenv("HOME").map { String(cString: $0) } ?? "."
        let own = getenv("XDG_CONFIG_HOME").map { String(cString: $0) }
        return (own.flatMap { $0.isEmpty ? nil : $0 } ?? "\(home)/.config") + "/braid"
    }
    /// Of packages: a unit there is renewed with the program, and goes with it.
    static let packagedUnits = "/lib/systemd/system"

    /// Where the command was given.
    static var workingFolder: String { FileManager.default.currentDirectoryPath }

    /// A text as YAML has it, whatever it holds but for ends of lines.
    static func quoted(_ text: String) -> String {
        "'" + text.replacing("'", with: "''") + "'"
    }

    enum Step {
        /// A user of the machine without rights, for the program.
        case user(String)
        /// `owner` and `group`: nil: who runs the command.
        case folder(String, mode: mode_t, owner: String?, group: String?)
        /// `isSecret`: is not shown.
        case file(String, text: String, mode: mode_t, group: String?, isSecret: Bool = false)
        case run([String])

        /// For a person.
        var line: String {
            switch self {
            case .user(let name):
                "user \(name) (useradd --system --no-create-home --shell /usr/sbin/nologin \(name))"
            case .folder(let path, let mode, let owner, let group):
                "folder \(path), mode 0\(String(mode, radix: 8))\(Self.whose(owner, group))"
            case .file(let path, _, let mode, let group, _):
                "file \(path), mode 0\(String(mode, radix: 8))\(Self.whose(nil, group))"
            case .run(let words): "run: \(words.joined(separator: " "))"
            }
        }

        /// What it would make, where that is there already.
        var whatIsThere: String? {
            switch self {
            case .user(let name): Privileges.User(name: name) == nil ? nil : "user \(name)"
            case .folder(let path, _, _, _): access(path, F_OK) == 0 ? "folder \(path)" : nil
            case .file(let path, _, _, _, _): access(path, F_OK) == 0 ? path : nil
            case .run: nil
            }
        }

        private static func whose(_ owner: String?, _ group: String?) -> String {
            (owner.map { ", owner \($0)" } ?? "") + (group.map { ", group \($0)" } ?? "")
        }
    }
    private(set) var steps: [Step] = []

    mutating func add(_ step: Step) { steps.append(step) }

    /// The service of a side, enabled and started, by the package's unit where that says the same
    /// as `text`.
    mutating func addService(
        _ name: String, text: String, packaged: String = SetupPlan.packagedUnits
    ) {
        let start = { (unit: String) in
            unit.split(separator: "\n").filter {
                $0.hasPrefix("ExecStart=") || $0.hasPrefix("User=")
            }
        }
        let known = try? String(contentsOfFile: "\(packaged)/\(name).service", encoding: .utf8)
        if known.map(start) != start(text) {
            add(
                .file("\(Self.units)/\(name).service", text: text, mode: 0o644, group: nil))
        }
        add(.run(["systemctl", "daemon-reload"]))
        add(.run(["systemctl", "enable", "--now", name]))
    }

    /// What would be done, with the contents of files that would be written.
    var text: String {
        steps.map { step -> String in
            if let there = step.whatIsThere { return "\(there) is there: left as it is" }
            guard case .file(_, let text, _, _, let isSecret) = step else { return step.line }
            let body =
                isSecret
                ? "    (secret)"
                : text.split(
                    separator: "\n", omittingEmptySubsequences: false
                ).map { $0.isEmpty ? "" : "    \($0)" }.joined(separator: "\n")
            return step.line + "\n" + body
        }.joined(separator: "\n")
    }

    // MARK: Doing it

    /// Does all steps in their order, telling of each; throws at the first that can't be done.
    func perform(_ tell: (String) -> Void) throws {
        for step in steps {
            switch step {
            case .user(let name): try Self.makeUser(name, tell)
            case .folder(let path, let mode, let owner, let group):
                try Self.makeFolder(path, mode, owner, group, tell)
            case .file(let path, let text, let mode, let group, _):
                if access(path, F_OK) == 0 { tell("\(path) is there: left as it is"); continue }
                try Self.write(path, text, mode, group)
                tell("wrote \(path)")
            case .run(let words):
                guard Command.run(words) == 0 else {
                    throw Complaint.failure("failed: \(words.joined(separator: " "))")
                }
                tell("done: \(words.joined(separator: " "))")
            }
        }
    }

    private static func makeUser(_ name: String, _ tell: (String) -> Void) throws {
        guard Privileges.User(name: name) == nil else { return }
        let words = [
            "useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name
        ]
        guard Command.run(words) == 0, Privileges.User(name: name) != nil else {
            throw Complaint.failure("can't make the user \(name): useradd failed")
        }
        tell("made the user \(name)")
    }

    private static func makeFolder(
        _ path: String, _ mode: mode_t, _ owner: String?, _ group: String?, _ tell: (String) -> Void
    ) throws {
        if access(path, F_OK) == 0 { return }
        var parents = path.split(separator: "/").map(String.init)
        parents.removeLast()
        var way = ""
        for part in parents {
            way += "/" + part
            if mkdir(way, 0o755) != 0, errno != EEXIST {
                throw Complaint.failure("can't make \(way): \(SystemError.text(errno))")
            }
        }
        // In its place when all is right: a folder of the wrong owner would be left as it is.
        let new = path + ".new"
        rmdir(new)
        guard mkdir(new, 0o700) == 0, chmod(new, mode) == 0, give(new, owner, group),
            rename(new, path) == 0
        else {
            let reason = SystemError.text(errno)
            rmdir(new)
            throw Complaint.failure("can't make \(path): \(reason)")
        }
        tell("made \(path)")
    }

    private static func write(
        _ path: String, _ text: String, _ mode: mode_t, _ group: String?
    ) throws {
        // In its place when it is whole: half a key would be left as it is the next time.
        let new = path + ".new"
        unlink(new)
        let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw Complaint.failure("can't write \(path): \(SystemError.text(errno))")
        }
        defer { close(descriptor) }
        guard Output.write(text, to: descriptor), give(new, nil, group),
            fchmod(descriptor, mode) == 0, fsync(descriptor) == 0, put(new, path)
        else {
            let reason = SystemError.text(errno)
            unlink(new)
            throw Complaint.failure("can't write \(path): \(reason)")
        }
    }

    /// Under its name, unless somebody else has made one meanwhile.
    private static func put(_ new: String, _ path: String) -> Bool {
        if link(new, path) == 0 { unlink(new); return true }
        // A file system without links.
        guard errno == EPERM || errno == EOPNOTSUPP, access(path, F_OK) != 0 else { return false }
        return rename(new, path) == 0
    }

    /// Only root can give something away.
    private static func give(_ path: String, _ owner: String?, _ group: String?) -> Bool {
        guard geteuid() == 0, owner != nil || group != nil else { return true }
        let user = owner.flatMap { Privileges.User(name: $0)?.number } ?? 0
        let number = group.flatMap { Privileges.User(name: $0)?.group } ?? 0
        return chown(path, user, number) == 0
    }
}

/// Other programs, found by PATH.
enum Command {
    /// Runs it with this terminal, and waits; its exit code, 127 where it is not there.
    static func run(_ words: [String]) -> Int32 {
        var process = pid_t()
        var arguments = words.map { strdup($0) } + [nil]
        defer { arguments.forEach { free($0) } }
        guard posix_spawnp(&process, words[0], nil, nil, &arguments, environ) == 0 else {
            return 127
        }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0 { guard errno == EINTR else { return 127 } }
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128
    }

    /// Whether systemd runs this machine (sd_booted(3)).
    static var hasSystemd: Bool {
        var about = stat()
        return lstat("/run/systemd/system", &about) == 0 && about.st_mode & S_IFMT == S_IFDIR
    }
}
