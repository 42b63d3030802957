import Foundation
import Glibc

/// A small file of usage by day, for allowances where no history is kept. It is written anew and
/// put in its place by one rename.
final class UsageFile {
    private struct Line: Codable {
        var day: Int
        var user: String?
        var uplink: String
        var sent: Int
        var received: Int
    }
    private struct Key: Hashable {
        var day: Int
        var source: UsageLedger.Source
    }
    /// Bytes of a file that is read; a longer one is not ours.
    private static let maximumBytes = 16 << 20
    private let path: String
    private var days: [Key: UsageLedger.Volume] = [:]

    /// Reads the file; one that does not exist is empty. `now`: ms since 1970 UTC.
    init(path: String) throws(StoreError) {
        self.path = path
        try StoreError.unlessPlainFile(path)
        guard let file = fopen(path, "re") else {
            if errno == ENOENT { return }
            throw .failed(String(cString: strerror(errno)).lowercased())
        }
        defer { fclose(file) }
        var data = Data(), piece = [UInt8](repeating: 0, count: 64 << 10)
        while data.count <= Self.maximumBytes {
            let count = fread(&piece, 1, piece.count, file)
            if count == 0 { break }
            data += piece[..<count]
        }
        // It begins empty after a file system that lost it.
        if data.isEmpty { return }
        guard data.count <= Self.maximumBytes,
            let lines = try? JSONDecoder().decode([Line].self, from: data)
        else {
            throw .foreign("it is no file of usage; move it away, and a new one is made")
        }
        for line in lines where line.sent >= 0 && line.received >= 0 {
            days[
                Key(day: line.day, source: .init(user: line.user, uplink: line.uplink)),
                default: .init()] += .init(sent: line.sent, received: line.received)
        }
    }

    func restore(_ ledger: inout UsageLedger, now: Int64) {
        let first = UsageHour(milliseconds: now - Int64(UsageLedger.keptDays) * 86_400_000).day
        for (key, volume) in days {
            ledger.restore(volume, of: key.source, day: key.day, keptFrom: first)
        }
    }

    func write(_ batch: HistoryBatch, now: Int64) throws(StoreError) {
        for (hour, sources) in batch.usage {
            for (source, volume) in sources {
                days[Key(day: hour.day, source: source), default: .init()] += volume
            }
        }
        let first = UsageHour(milliseconds: now - Int64(UsageLedger.keptDays) * 86_400_000).day
        days = days.filter { $0.key.day >= first }
        let lines = days.map {
            Line(
                day: $0.key.day, user: $0.key.source.user, uplink: $0.key.source.uplink,
                sent: $0.value.sent, received: $0.value.received)
        }.sorted { ($0.day, $0.user ?? "", $0.uplink) < ($1.day, $1.user ?? "", $1.uplink) }
        guard let data = try? JSONEncoder().encode(lines) else { return }
        try replace(with: data)
    }

    private func replace(with data: Data) throws(StoreError) {
        let own = path + ".new"
        let file = open(own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw .failed(String(cString: strerror(errno)).lowercased()) }
        var rest = data[...], code: Int32 = 0
        while !rest.isEmpty, code == 0 {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else { code = count == 0 ? EIO : errno }
            if code == EINTR { code = 0 }
        }
        if code == 0, fsync(file) != 0 { code = errno }
        close(file)
        if code == 0, rename(own, path) != 0 { code = errno }
        guard code == 0 else {
            unlink(own)
            throw code == ENOSPC || code == EDQUOT
                ? .full : .failed(String(cString: strerror(code)).lowercased())
        }
    }
}
