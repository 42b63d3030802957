import CDatagram
import Glibc
import Measures

/// What systemd wants to hear of a `Type=notify` service; nothing happens without $NOTIFY_SOCKET.
public enum ServiceManager {
    /// The ports are open (`READY=1`).
    public static func ready() { tell("READY=1") }
    /// It reads its configuration anew; `ready()` is to follow.
    public static func reloading() {
        var t = timespec()
        clock_gettime(CLOCK_MONOTONIC, &t)
        let time = Int64(t.tv_sec) * 1_000_000 + Int64(t.tv_nsec) / 1_000
        tell("RELOADING=1\nMONOTONIC_USEC=\(time)")
    }
    /// From now on the service is that process; this one drains its connections.
    public static func followed(by process: pid_t) { tell("MAINPID=\(process)") }
    /// It drains its connections (`STOPPING=1`).
    public static func stopping() { tell("STOPPING=1") }
    /// The loop goes round: to be said twice in each `watchdogInterval`.
    public static func alive() { tell("WATCHDOG=1") }

    /// The unit's WatchdogSec; nil where there is none or where it is meant for another process
    /// (sd_watchdog_enabled(3)).
    public static func watchdogInterval(
        _ variable: (String) -> String? = { name in getenv(name).map { String(cString: $0) } }
    ) -> Interval? {
        guard let time = variable("WATCHDOG_USEC").flatMap(Int64.init), time > 0,
            time < Int64.max / 1000
        else { return nil }
        if let process = variable("WATCHDOG_PID"), process != "\(getpid())" { return nil }
        return .microseconds(max(time, 2_000))
    }

    /// One line for `systemctl status`; line ends become spaces.
    public static func status(_ text: String) {
        tell("STATUS=" + text.split(whereSeparator: \.isNewline).joined(separator: " "))
    }

    private static func tell(_ message: String) {
        guard let value = getenv("NOTIFY_SOCKET") else { return }
        let path = Array(String(cString: value).utf8)
        var name = sockaddr_un()
        guard path.count > 1, path.count < MemoryLayout.size(ofValue: name.sun_path) else { return }
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { room in
            room.copyBytes(from: path)
            if path[0] == UInt8(ascii: "@") { room[0] = 0 }  // abstract namespace, sd_notify(3)
        }
        let fd = braid_socket_unix(1, 0)
        guard fd >= 0 else { return }
        defer { close(fd) }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
        let text = Array(message.utf8)
        _ = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(fd, text, text.count, Int32(MSG_NOSIGNAL), $0, size)
            }
        }
    }
}
