import Glibc

/// The lock of an open file or folder (flock(2)), which other processes take for a moment.
public enum FileLock {
    /// How long somebody waits for it.
    public enum Patience: Int, Sendable {
        /// 50 ms: whoever holds it for good must not hold the loop up.
        case short = 10
        /// 10 s, for a command that somebody gave.
        case long = 2_000
    }
    private static let pause: UInt32 = 5_000

    /// Whether it could be had in that time. `errno` says why not. Given back by `release`, or with
    /// the descriptor.
    public static func take(_ descriptor: Int32, _ patience: Patience = .short) -> Bool {
        let tries = patience.rawValue
        for attempt in 1...tries {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
            guard errno == EWOULDBLOCK || errno == EINTR else { return false }
            if attempt < tries { usleep(pause) }
        }
        errno = EWOULDBLOCK
        return false
    }

    /// Others may have it.
    public static func release(_ descriptor: Int32) { flock(descriptor, LOCK_UN) }
}
