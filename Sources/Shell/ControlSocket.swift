import Glibc
import Measures

/// Where the control sockets of this user's Braid processes are: /run/braid for root, else
/// $XDG_RUNTIME_DIR/braid, else /tmp/braid-UID.
public enum ControlPath {
    public static func standard(_ name: String) -> String { fatalError("stub") }
}

/// Answers one request line with one reply on a Unix socket (mode 0600): `braid status`, `braid mode`.
public final class ControlServer {
    /// Replaces a dead process's socket; throws EADDRINUSE where a living one answers.
    /// `handler` gets the line without its end and returns the reply (may have several lines).
    public init(path: String, loop: EventLoop, handler: @escaping (String) -> String) throws(SystemError) { fatalError("stub") }
    public func close() {}
}

public enum ControlClient {
    /// Sends a line and waits for the whole reply, 5 s at most. ENOENT or ECONNREFUSED: nothing runs there.
    public static func ask(path: String, line: String) throws(SystemError) -> String { fatalError("stub") }
}
