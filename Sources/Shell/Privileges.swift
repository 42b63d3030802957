import CDatagram
import Glibc
import Synchronization

/// What the process may do, and what others may see of it.
public enum Privileges {
    /// The user a process of root's becomes where the configuration names none and this one exists.
    public static let dedicatedUser = "braid"

    /// A user of the machine, as the process can become it.
    public struct User: Equatable, Sendable {
        /// As in /etc/passwd.
        public var name: String
        /// Its user number.
        public private(set) var number: uid_t
        /// The number of its own group.
        public private(set) var group: gid_t

        /// Nil where the machine has no such user.
        public init?(name: String) {
            guard let entry = getpwnam(name) else { return nil }
            self.name = name
            number = entry.pointee.pw_uid
            group = entry.pointee.pw_gid
        }

        /// Whether becoming this user gives up nothing.
        public var isRoot: Bool { number == 0 }
        /// Whether the process runs as this user already.
        public var isCurrent: Bool { number == geteuid() }
    }

    /// Keys and what applications say stay out of core files and out of other processes' reach.
    public static func forbidDumps() { _ = braid_forbid_dumps() }

    /// Whether the process has root's effective user number.
    public static var isRoot: Bool { geteuid() == 0 }

    /// What root can do that a service may need without being root.
    public enum Capability: Int32, Sendable {
        /// CAP_NET_ADMIN: to capture traffic.
        case networkAdministration = 12
        /// CAP_NET_RAW: to bind sockets to interfaces before Linux 5.7.
        case rawSockets = 13
    }

    /// Whether the process has it now.
    public static func has(_ capability: Capability) -> Bool {
        braid_has_capability(capability.rawValue) != 0
    }

    /// Gives it up for good, where the process has it.
    public static func drop(_ capability: Capability) {
        if has(capability) { _ = braid_drop_capability(capability.rawValue) }
    }

    /// What `body` starts has the capability, where this process has it: without this a program
    /// that is started by a user other than root has none.
    public static func passingOn<Value>(
        _ capability: Capability, _ body: () throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        let isPassedOn = has(capability) && braid_pass_on(capability.rawValue, 1) == 0
        defer { if isPassedOn { _ = braid_pass_on(capability.rawValue, 0) } }
        return try body()
    }

    private static let expected = Mutex<User?>(nil)

    /// Whom a process of root's is about to become, once its ports are open; nil: nobody else. What
    /// it makes until then and needs later is to be theirs.
    public static var next: User? {
        get { expected.withLock { $0 } }
        set { expected.withLock { $0 = newValue } }
    }

    /// A file that root's process has opened is that user's from now on. One with another name
    /// stays whose it is: it may be anything of root's.
    public static func giveToNext(_ descriptor: Int32) {
        guard isRoot, let user = next else { return }
        var about = stat()
        guard fstat(descriptor, &about) == 0, about.st_uid == 0, about.st_nlink == 1 else { return }
        fchown(descriptor, user.number, gid_t.max)
    }

    /// Becomes `user` for good, with no capability left but those it needs.
    /// - Parameter bindsToInterfaces: sockets will be bound to interfaces (SO_BINDTODEVICE). Linux
    ///   5.7 and
    ///   later let everybody do that with a socket that is bound to none; before, CAP_NET_RAW is
    ///   kept for it.
    /// - Parameter captures: rules of nftables and routes will be changed: CAP_NET_ADMIN is kept.
    public static func become(
        _ user: User, bindsToInterfaces: Bool, captures: Bool = false
    ) throws(SystemError) {
        let keeps = bindsToInterfaces && !anybodyMayBindToInterfaces
        try checked(
            braid_become(user.number, user.group, keeps ? 1 : 0, captures ? 1 : 0),
            "become the user \(user.name)")
    }

    private static var anybodyMayBindToInterfaces: Bool {
        var about = utsname()
        guard uname(&about) == 0 else { return false }
        let release = withUnsafeBytes(of: &about.release) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return isLinux57OrLater(release)
    }

    /// `release` as uname(2) has it, such as "6.1.0-18-amd64".
    static func isLinux57OrLater(_ release: String) -> Bool {
        let numbers = release.split(separator: ".", maxSplits: 2).prefix(2).map { part in
            Int(part.prefix { $0.isASCII && $0.isNumber }) ?? 0
        }
        guard numbers.count == 2 else { return false }
        return numbers[0] > 5 || (numbers[0] == 5 && numbers[1] >= 7)
    }
}
