import Concentrator
import Crypto
import Glibc
import Measures
import Shell
import Tunnel

/// A folder with a small file for each user (`NAME.yaml`), which `braid user` and the concentrator
/// write: what is written by hand elsewhere stays as it is.
///
/// A file is replaced whole, by another one that was synced to the disk before; a lock keeps two
/// processes from deciding about the same file at once.
public struct UserDirectory: Equatable, Sendable {
    /// Where it is.
    public let path: String

    /// Files it may have, and bytes of one: more is some other folder.
    static let maximumFiles = 10_000, maximumFile = 64 << 10

    /// Machines that may come in by one invitation.
    public static let maximumUses = 1_000

    /// A directory that is there, or will be.
    public init(_ path: String) { self.path = path }

    /// Why something could not be done, as a sentence.
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    /// Whether a file of the directory can have this name: 1 to 64 of `A-Z a-z 0-9 . _ -`, not
    /// beginning with a dot or a dash.
    public static func isName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard (1...64).contains(bytes.count), bytes[0] != UInt8(ascii: "."),
            bytes[0] != UInt8(ascii: "-")
        else { return false }
        return bytes.allSatisfy { c in
            (48...57).contains(c) || (65...90).contains(c) || (97...122).contains(c)
                || "._-".utf8.contains(c)
        }
    }

    /// The user's file.
    public func file(of name: String) -> String { "\(path)/\(name).yaml" }

    /// The names of all users, in order. Throws the system's word where it can't be listed.
    func names() throws(SystemError) -> [String] {
        guard let folder = opendir(path) else {
            throw SystemError("list \(path)", code: errno)
        }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name.hasSuffix(".yaml") else { continue }
            let stem = String(name.dropLast(5))
            if Self.isName(stem) { names.append(stem) }
            if names.count > Self.maximumFiles {
                throw SystemError("list \(path): it has more than 10,000 users", code: EFBIG)
            }
        }
        return names.sorted()
    }

    // MARK: Writing

    private static let heading = "# Written by braid on"

    /// What the text of a user's file is. `when`: a day, for a person.
    public static func text(publicKey: Key32, when: String) -> String {
        "\(heading) \(when).\npublic_key: \"\(publicKey.base64)\"\n"
    }

    /// The file of one who is invited. `expires`: seconds since 1970, nil: never. `uses`: machines.
    public static func text(invitation: Key32, expires: Int64?, uses: Int, when: String) -> String {
        "\(heading) \(when).\n"
            + InvitedUser.line(publicKey: invitation, expires: expires, uses: uses) + "\n"
    }

    /// Whether a user or an open invitation has the name here; one whose time is over has not,
    /// unless a person wrote more into its file.
    public func isTaken(_ name: String) -> Bool {
        switch holder(of: name) {
        case .nobody, .overInvitation: false
        case .user, .editedInvitation: true
        }
    }

    /// Writes a new file. Throws where the name is taken, or it can't be written.
    public func add(_ name: String, _ text: String) throws(Failure) {
        try locked(.long) { () throws(Failure) in
            switch holder(of: name) {
            case .nobody: break
            case .overInvitation(let key): noteFormer(key)
            case .editedInvitation:
                throw Failure(
                    description:
                        "the time of \(name)'s invitation is over, but \(file(of: name)) holds more"
                        + " than that; keep what you need, then: braid user remove \(name)")
            case .user:
                throw Failure(
                    description:
                        "there is a user \(name) already; remove it first with: braid user remove \(name)"
                )
            }
            try replace(name, by: text)
        }
    }

    /// Removes a user's file; false where there is none.
    public func remove(_ name: String) throws(Failure) -> Bool {
        try locked(.long) { () throws(Failure) in
            let invited = (try? read(name)).flatMap { InvitedUser(file: $0) }
            if unlink(file(of: name)) == 0 {
                if let invited { noteFormer(invited.publicKey) }
                try sync()
                return true
            }
            guard errno == ENOENT else { throw failure("remove \(file(of: name))") }
            return false
        }
    }

    /// Lets the machine with `key` in by the invitation of the file `name`; the name of the user it
    /// is from then on, none of `taken`. One that can be used once becomes that user.
    public func enrol(
        _ key: Key32, by name: String, besides taken: Set<String>
    ) throws(Failure) -> String {
        try locked { () throws(Failure) in
            let text = try read(name)
            var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(
                String.init)
            guard let place = lines.firstIndex(where: { $0.hasPrefix("invitation:") }),
                let invited = InvitedUser(line: lines[place])
            else {
                throw Failure(description: "\(file(of: name)) is no invitation any more")
            }
            let line = "public_key: \"\(key.base64)\""
            if invited.uses == 1 {
                lines[place] = line
                try replace(name, by: lines.joined(separator: "\n"))
                noteFormer(invited.publicKey)
                return name
            }
            let user = freeName(after: name, besides: taken)
            guard let user else { throw Failure(description: "too many users came by \(name)") }
            var own = lines
            own[place] = line
            // First what it costs: a disk that is full in between lets nobody in for nothing.
            lines[place] = InvitedUser.line(
                publicKey: invited.publicKey, expires: invited.expires, uses: invited.uses - 1)
            try replace(name, by: lines.joined(separator: "\n"))
            try replace(user, by: own.joined(separator: "\n"))
            return user
        }
    }

    private func freeName(after name: String, besides taken: Set<String>) -> String? {
        (2...Self.maximumUses + 100).lazy.map { "\(name)-\($0)" }
            .first { !taken.contains($0) && access(file(of: $0), F_OK) != 0 && Self.isName($0) }
    }

    // MARK: Names and former invitations

    /// Whose a name is.
    private enum Holder {
        case nobody, user
        /// Its time is over, and the file holds what braid wrote, or also what a person did.
        case overInvitation(Key32), editedInvitation
    }

    private func holder(of name: String) -> Holder {
        guard access(file(of: name), F_OK) == 0 else { return .nobody }
        guard let text = try? read(name), let invited = InvitedUser(file: text),
            let expires = invited.expires, expires <= UniversalTime.now
        else { return .user }
        let isEdited = text.split(separator: "\n").contains {
            !$0.hasPrefix("invitation:") && !$0.hasPrefix(Self.heading)
        }
        return isEdited ? .editedInvitation : .overInvitation(invited.publicKey)
    }

    /// A hidden file beside the users', which outlives the process.
    private var formerFile: String { "\(path)/.former-invitations" }

    /// Keys of invitations that were used up, taken back or replaced: the latest ones, the last one
    /// last. Empty where none can be read.
    func formerInvitations() -> [Key32] {
        guard let text = try? contents(of: formerFile) else { return [] }
        return text.split(separator: "\n").suffix(ConcentratorSettings.maximumFormerInvitations)
            .compactMap { Key32(base64: String($0)) }
    }

    /// Inside of the lock. It makes a better message and nothing else: nothing fails where it can't
    /// be written.
    private func noteFormer(_ key: Key32) {
        let keys = formerInvitations().filter { $0 != key } + [key]
        let text = keys.suffix(ConcentratorSettings.maximumFormerInvitations)
            .map { "\($0.base64)\n" }.joined()
        try? replace(file: formerFile, new: formerFile + ".new", by: text)
    }

    private func read(_ name: String) throws(Failure) -> String {
        try contents(of: file(of: name))
    }

    private func contents(of file: String) throws(Failure) -> String {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure("read \(file)") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Self.maximumFile)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0, count < bytes.count else { throw failure("read \(file)") }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// Another process waits for this one; this one for it, a moment or longer.
    private func locked<R>(
        _ patience: FileLock.Patience = .short, _ body: () throws(Failure) -> R
    ) throws(Failure) -> R {
        let folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw failure("use \(path)") }
        defer { close(folder) }
        guard FileLock.take(folder, patience) else { throw failure("lock \(path)") }
        return try body()
    }

    /// The file belongs to whom the directory belongs, so that the program can read it whoever
    /// wrote it.
    private func replace(_ name: String, by text: String) throws(Failure) {
        try replace(file: file(of: name), new: "\(path)/.\(name).new", by: text)
    }

    private func replace(file: String, new: String, by text: String) throws(Failure) {
        unlink(new)  // of a process that was killed just here; nobody else is inside of the lock
        let descriptor = open(
            new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure("write \(new)") }
        var isWritten = false
        defer {
            close(descriptor)
            if !isWritten { unlink(new) }
        }
        var about = stat()
        let bytes = Array(text.utf8)
        guard stat(path, &about) == 0, fchmod(descriptor, 0o600) == 0,
            geteuid() != 0 || fchown(descriptor, about.st_uid, about.st_gid) == 0,
            write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0,
            rename(new, file) == 0
        else { throw failure("write \(file)") }
        isWritten = true
        try sync()
    }

    private func sync() throws(Failure) {
        let folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { throw failure("sync \(path)") }
        defer { close(folder) }
        guard fsync(folder) == 0 else { throw failure("sync \(path)") }
    }

    private func failure(_ what: String) -> Failure {
        Failure(description: "can't \(what): \(String(cString: strerror(errno)))")
    }
}

/// The `invitation` of a user's file.
struct InvitedUser: Equatable {
    /// That of the link's secret.
    var publicKey: Key32
    /// Seconds since 1970; nil: it lasts.
    var expires: Int64?
    /// Machines that may still come in by it.
    var uses: Int

    static func line(publicKey: Key32, expires: Int64?, uses: Int) -> String {
        var parts = ["public_key: \"\(publicKey.base64)\""]
        if let expires { parts.append("expires: \"\(UniversalTime.text(expires))\"") }
        if uses != 1 { parts.append("uses: \(uses)") }
        return "invitation: { \(parts.joined(separator: ", ")) }"
    }

    init(publicKey: Key32, expires: Int64?, uses: Int) {
        self.publicKey = publicKey
        self.expires = expires
        self.uses = uses
    }

    /// That of a user's file; nil where it is no invitation.
    init?(file text: String) {
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("invitation:") })
        else { return nil }
        self.init(line: String(line))
    }

    /// Reads such a line, as a reader of the file does.
    init?(line: String) {
        let report = Report()
        guard let root = Item(yaml: line, file: "", report: report),
            let table = Table<UserFileKey>(root, name: "", place: root.place, report: report),
            let field = table[.invitation], let invited = InvitedUser(field),
            report.problems.isEmpty
        else { return nil }
        self = invited
    }

    init?(_ field: Field) {
        guard let table = Table<InvitationKey>(field) else { return nil }
        let key = table.required(.publicKey, "braid user invite writes it")?.publicKey()
        let expires = table[.expires].flatMap { field -> Int64? in
            guard let text = field.text() else { return nil }
            guard let time = UniversalTime.seconds(text) else {
                return field.wrong("\"\(text)\" is no time such as 2026-12-24T18:00:00Z")
            }
            return time
        }
        let uses =
            table[.uses].map { $0.number(in: 1...UserDirectory.maximumUses) } ?? 1
        guard let key, let uses, table.has(.expires) == (expires != nil) else { return nil }
        self.init(publicKey: key, expires: expires, uses: uses)
    }
}

/// Keys of a file of the users' directory.
enum UserFileKey: String, CaseIterable {
    case publicKey = "public_key", preSharedKeyFile = "pre_shared_key_file", egress, names
    case invitation
}

/// Keys of `invitation`.
enum InvitationKey: String, CaseIterable { case publicKey = "public_key", expires, uses }

/// Times of day in UTC, as files have them: `2026-12-24T18:00:00Z` (RFC 3339).
public enum UniversalTime {
    /// `seconds` since 1970.
    public static func text(_ seconds: Int64) -> String {
        var time = time_t(seconds), t = tm()
        gmtime_r(&time, &t)
        var out = [CChar](repeating: 0, count: 40)
        let count = strftime(&out, out.count, "%Y-%m-%dT%H:%M:%SZ", &t)
        return String(decoding: out[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Nil where it is none.
    public static func seconds(_ text: String) -> Int64? {
        let bytes = Array(text.utf8), pattern = Array("0000-00-00T00:00:00Z".utf8)
        guard bytes.count == pattern.count else { return nil }
        for (byte, wanted) in zip(bytes, pattern) {
            let fits = wanted == 48 ? (48...57).contains(byte) : byte == wanted
            if !fits { return nil }
        }
        func number(_ range: Range<Int>) -> Int32 {
            bytes[range].reduce(0) { $0 * 10 + Int32($1 - 48) }
        }
        var t = tm()
        t.tm_year = number(0..<4) - 1900
        t.tm_mon = number(5..<7) - 1
        t.tm_mday = number(8..<10)
        t.tm_hour = number(11..<13)
        t.tm_min = number(14..<16)
        t.tm_sec = number(17..<19)
        let seconds = Int64(timegm(&t))
        // What has no such day or hour would be another one's.
        return Self.text(seconds) == text ? seconds : nil
    }

    /// Seconds since 1970 now, as this machine believes.
    public static var now: Int64 { Int64(EventLoop.wallClock() / 1_000_000_000) }
}
