import CDatagram
import Glibc

/// The mark of the process's own sockets, by which a capture leaves them alone.
public enum OwnSockets {
    /// Every socket that is opened from now on carries the mark. Throws without CAP_NET_ADMIN.
    public static func mark() throws(SystemError) {
        guard Privileges.has(.networkAdministration) else {
            throw SystemError(
                "capture traffic without CAP_NET_ADMIN (start as root, or by the unit in"
                    + " deploy/systemd, or leave capture: out)", code: EPERM)
        }
        braid_mark_sockets(CaptureMark.own)
    }
}
