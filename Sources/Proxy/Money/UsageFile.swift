import Glibc
import Shell

/// What has been used of each uplink's allowance, in a small file that outlives the process: a line
/// of fixed length for each. Several processes may count into it at once (one that still drains,
/// and the next): each adds what it has counted under a lock, so that nothing is lost and nothing
/// counted twice. What was written outlives the process however it ends; power is another matter,
/// for the kernel writes to the disk in its own time.
final class UsageFile {
    /// What is known of one uplink.
    struct Record: Equatable {
        /// Since the period began.
        var bytes = 0
        /// Its first day, since 1970.
        var period = 0
        /// Of the allowance, what was told of last: 0, 80 or 100 %.
        var told = 0
        /// The one that the clock was in before, and may come back to; nil where none is known.
        var before: Period?

        /// What is used, and when it began.
        var asPeriod: Period { Period(bytes: bytes, start: period) }
    }

    /// What was used in a period.
    struct Period: Equatable {
        var bytes: Int
        /// Its first day, since 1970.
        var start: Int
        /// Where the clock was set, and so may be set back to it: what has been counted since, in
        /// whichever period. Nil: time went by.
        var since: Int?
        /// The clock was set from it to another time, and not back yet.
        var isAway = false
    }

    /// Uplinks that are remembered, whatever the configuration was meanwhile.
    static let maximumRecords = 64
    static let lineLength = 128
    static let maximumName = 64
    /// No uplink carries an exabyte; a larger number in the file is this one, so that sums stay in
    /// their type.
    static let maximumBytes = 1_000_000_000_000_000_000

    let path: String
    private var descriptor: Int32
    /// False where it could be opened for reading only.
    private var isWritable: Bool
    /// Lines that could not be read when the file was opened.
    private(set) var isDamaged = false

    /// Opens the file, which is made where it is missing, readable by its owner alone. One that may
    /// not be written at present is read; `change` tries again.
    init(path: String) throws(SystemError) {
        self.path = path
        do throws(SystemError) {
            descriptor = try Self.open(path, O_RDWR | O_CREAT)
            isWritable = true
            Privileges.giveToNext(descriptor)
        } catch {
            guard [EROFS, EACCES, EPERM].contains(error.code) else { throw error }
            descriptor = try Self.open(path, O_RDONLY)
            isWritable = false
        }
        isDamaged = lines().contains { !$0.isEmpty && Self.parse($0) == nil }
    }

    private static func open(_ path: String, _ how: Int32) throws(SystemError) -> Int32 {
        let descriptor = Glibc.open(path, how | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)", code: errno) }
        var about = stat()
        guard fstat(descriptor, &about) == 0, about.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw SystemError("open \(path), which is no file", code: EINVAL)
        }
        return descriptor
    }

    /// Whether it may be written, which it may be again.
    private func admitsWriting() -> Bool {
        if isWritable { return true }
        guard let again = try? Self.open(path, O_RDWR | O_CREAT) else { return false }
        close(descriptor)
        descriptor = again
        isWritable = true
        return true
    }

    deinit { close(descriptor) }

    /// What the file has of `name`; nil where it has nothing.
    func read(_ name: String) -> Record? {
        lines().lazy.compactMap(Self.parse).first { $0.name == name }?.record
    }

    /// Changes what the file has of `name` while nobody else does; what it has then. Nil, with
    /// nothing changed, where it can't be written: a full disk, one that is read-only, or 64 other
    /// names.
    func change(_ name: String, _ change: (inout Record) -> Void) -> Record? {
        guard name.utf8.count <= Self.maximumName, !name.contains(where: \.isWhitespace),
            admitsWriting(), FileLock.take(descriptor)
        else { return nil }
        defer { FileLock.release(descriptor) }
        let lines = lines()
        let known = lines.firstIndex { Self.parse($0)?.name == name }
        // A line that can't be read is nobody's.
        let free = lines.firstIndex { Self.parse($0) == nil }
        let place = known ?? free ?? lines.count
        guard place < Self.maximumRecords else { return nil }
        var record = known.flatMap { Self.parse(lines[$0])?.record } ?? Record()
        change(&record)
        let line = Self.write(name, record)
        let offset = off_t(place * Self.lineLength)
        return pwrite(descriptor, line, line.count, offset) == line.count ? record : nil
    }

    /// As many bytes as may be counted.
    static func clamped(_ bytes: Int) -> Int { min(max(0, bytes), maximumBytes) }

    // MARK: Lines

    private func lines() -> [String] {
        var bytes = [UInt8](repeating: 0, count: Self.maximumRecords * Self.lineLength)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return [] }
        return stride(from: 0, to: count, by: Self.lineLength).map {
            let line = bytes[$0..<min($0 + Self.lineLength, count)]
            return String(decoding: line.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// `NAME BYTES PERIOD TOLD`, and in a line of text below it, which nobody has to have:
    /// `  before BYTES PERIOD`, and behind it what was counted since where the clock was set;
    /// `away` instead of `before` where it was not set back yet.
    private static func parse(_ line: String) -> (name: String, record: Record)? {
        let parts = line.split(separator: "\n")
        let words = parts.first?.split(separator: " ") ?? []
        guard words.count == 4, let bytes = Int(words[1]), bytes >= 0, let period = Int(words[2]),
            let told = Int(words[3])
        else { return nil }
        var record = Record(bytes: clamped(bytes), period: period, told: told)
        let more = parts.dropFirst().first?.split(separator: " ") ?? []
        if more.count == 3 || more.count == 4, more[0] == "before" || more[0] == "away",
            let bytes = Int(more[1]), bytes >= 0, let start = Int(more[2])
        {
            record.before = Period(
                bytes: clamped(bytes), start: start, isAway: more[0] == "away")
            if more.count == 4 { record.before?.since = Int(more[3]).map { clamped($0) } }
        }
        return (String(words[0]), record)
    }

    private static func write(_ name: String, _ record: Record) -> [UInt8] {
        var line = Array("\(name) \(record.bytes) \(record.period) \(record.told)".utf8)
        if let before = record.before {
            let word = before.isAway ? "away" : "before"
            let more = Array("\n  \(word) \(before.bytes) \(before.start)".utf8)
            let since = Array((before.since.map { " \($0)" } ?? "").utf8)
            if line.count + more.count + since.count < lineLength {
                line += more + since
            } else if line.count + more.count < lineLength {
                line += more
            }
        }
        line += [UInt8](repeating: 32, count: max(0, lineLength - 1 - line.count))
        return Array(line.prefix(lineLength - 1)) + [10]
    }
}
