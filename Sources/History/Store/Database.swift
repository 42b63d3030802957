import CSQLite
import Glibc

/// Why the store can't be read or written, in a sentence's second half.
public enum StoreError: Error, Equatable, CustomStringConvertible {
    /// What stands there is another program's, of a newer version of this one, or damaged.
    case foreign(String)
    /// Another process holds it.
    case locked
    /// No space: on the disk, or within the size that the file may have.
    case full
    /// What SQLite says, or the system.
    case failed(String)

    /// Throws where something else than a plain file stands at `path`: a pipe or a device may keep
    /// whoever opens it waiting. Nothing at all may be there.
    static func unlessPlainFile(_ path: String) throws(StoreError) {
        var about = stat()
        guard stat(path, &about) != 0 || about.st_mode & S_IFMT == S_IFREG else {
            throw .failed("it is no plain file")
        }
    }

    /// For a person.
    public var description: String {
        switch self {
        case .foreign(let why): why
        case .locked: "another program has locked it"
        case .full: "there is no space for it"
        case .failed(let why): why
        }
    }
}

/// One connection to an SQLite file, for one thread.
final class Database {
    /// What a column may hold.
    enum Value { case integer(Int64), text(String), null }

    private let handle: OpaquePointer
    /// How long another process may hold the file before this one gives up, ms: for one that reads
    /// a moment, not for one that stays.
    private static let busyMilliseconds: Int32 = 200

    /// Opens the file, which is made, for this user alone, where it is missing and `readOnly` is
    /// false.
    init(path: String, readOnly: Bool) throws(StoreError) {
        try StoreError.unlessPlainFile(path)
        if !readOnly {
            let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            guard file >= 0 else { throw Self.systemError() }
            close(file)
        }
        var opened: OpaquePointer?
        let flags =
            readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        let code = sqlite3_open_v2(path, &opened, flags | SQLITE_OPEN_NOMUTEX, nil)
        guard let opened, code == SQLITE_OK else {
            let error = Self.error(code, opened)
            sqlite3_close_v2(opened)
            throw error
        }
        handle = opened
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, Self.busyMilliseconds)
        // What a damaged or hostile file says about itself is not taken on trust.
        sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, 1 << 20)
        try execute("PRAGMA trusted_schema = OFF")
    }

    deinit { sqlite3_close_v2(handle) }

    /// Statements without results or values, separated by semicolons.
    func execute(_ sql: String) throws(StoreError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw Self.error(code, handle) }
    }

    /// `body` within a transaction, which is undone where it throws.
    func transaction(_ body: () throws(StoreError) -> Void) throws(StoreError) {
        try execute("BEGIN IMMEDIATE")
        do throws(StoreError) {
            try body()
            try execute("COMMIT")
        } catch {
            _ = sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
            throw error
        }
    }

    /// A statement that may be run several times.
    func prepare(_ sql: String) throws(StoreError) -> Statement {
        var prepared: OpaquePointer?
        let code = sqlite3_prepare_v2(handle, sql, -1, &prepared, nil)
        guard code == SQLITE_OK, let prepared else { throw Self.error(code, handle) }
        return Statement(prepared, self)
    }

    /// The first column of the first row, as a number.
    func number(_ sql: String) throws(StoreError) -> Int64 {
        var found: Int64 = 0
        try prepare(sql).each([]) { found = $0.integer(0) }
        return found
    }

    fileprivate func error(_ code: Int32) -> StoreError { Self.error(code, handle) }

    private static func error(_ code: Int32, _ handle: OpaquePointer?) -> StoreError {
        switch code & 0xff {
        case SQLITE_BUSY, SQLITE_LOCKED: .locked
        case SQLITE_FULL: .full
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            .foreign("it is damaged or no database; move it away, and a new one is made")
        default:
            .failed(handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory")
        }
    }

    private static func systemError() -> StoreError {
        let code = errno
        return code == ENOSPC || code == EDQUOT
            ? .full : .failed(String(cString: strerror(code)).lowercased())
    }
}

/// A prepared statement of a `Database`.
final class Statement {
    private let handle: OpaquePointer
    private let database: Database
    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    fileprivate init(_ handle: OpaquePointer, _ database: Database) {
        self.handle = handle
        self.database = database
    }

    deinit { sqlite3_finalize(handle) }

    /// Runs it with these values; `row` is called for each row.
    func each(
        _ values: [Database.Value], _ row: (Statement) -> Void = { _ in }
    ) throws(StoreError) {
        defer { sqlite3_reset(handle) }
        for (index, value) in values.enumerated() {
            let place = Int32(index + 1)
            let code =
                switch value {
                case .integer(let number): sqlite3_bind_int64(handle, place, number)
                case .text(let text):
                    sqlite3_bind_text(
                        handle, place, text, Int32(clamping: text.utf8.count), Self.transient)
                case .null: sqlite3_bind_null(handle, place)
                }
            guard code == SQLITE_OK else { throw database.error(code) }
        }
        while true {
            switch sqlite3_step(handle) {
            case SQLITE_ROW: row(self)
            case SQLITE_DONE: return
            case let code: throw database.error(code)
            }
        }
    }

    /// Of the present row; 0 for what is no number.
    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    /// Of the present row; nil for NULL.
    func text(_ column: Int32) -> String? {
        guard let bytes = sqlite3_column_text(handle, column) else { return nil }
        let count = Int(sqlite3_column_bytes(handle, column))
        return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}
