import Glibc

/// The lock of an open file or folder (flock(2)), which other processes take for a moment.
public enum FileLock {
    private static let tries = 10
    private static let pause: UInt32 = 5_000

    /// Whether it could be had, within 50 ms: whoever holds it for good must not hold the loop up.
    /// `errno` says why not. Given back by `release`, or with the descriptor.
    public static func take(_ descriptor: Int32) -> Bool {
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
