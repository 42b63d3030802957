import Glibc

/// How much memory this process can count on.
public enum SystemMemory {
    /// Bytes of the machine's memory, or of what its control group may have where that is less.
    /// Asked once.
    public static func limit() -> Int { found }

    private static let found: Int = {
        let pages = sysconf(Int32(_SC_PHYS_PAGES)), size = sysconf(Int32(_SC_PAGESIZE))
        let machine = pages > 0 && size > 0 ? pages * size : fallback
        return controlGroups().compactMap(readLimit).reduce(machine, min)
    }()

    /// Where the system does not say.
    private static let fallback = 1 << 30

    /// Files that may hold a limit: of this process's control group (v2, then v1) and of those
    /// around it.
    private static func controlGroups() -> [String] {
        var out: [String] = []
        for line in (text("/proc/self/cgroup") ?? "").split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let isUnified = parts[1].isEmpty
            guard isUnified || parts[1].split(separator: ",").contains("memory") else { continue }
            let root = isUnified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
            let file = isUnified ? "memory.max" : "memory.limit_in_bytes"
            var path = parts[2]
            while true {
                out.append(root + (path == "/" ? "" : String(path)) + "/" + file)
                guard let slash = path.lastIndex(of: "/"), path.count > 1 else { break }
                path = slash == path.startIndex ? "/" : path[..<slash]
            }
        }
        return out
    }

    private static func readLimit(_ path: String) -> Int? {
        guard let value = text(path)?.prefix(while: { $0.isASCII && $0.isNumber }),
            let bytes = Int(value),
            bytes >= 4 << 20
        else { return nil }  // "max", or nothing that a process could live with
        return bytes
    }

    /// The first 4 kB of a file; nil where it can't be read.
    private static func text(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let n = read(descriptor, &bytes, bytes.count)
        return n > 0 ? String(decoding: bytes[..<n], as: UTF8.self) : nil
    }
}
