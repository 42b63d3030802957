import CDatagram
import CMnl
import Glibc

/// One process captures in a network namespace: it has one of the kernel's packet queues that no
/// packet ever comes to, which takes CAP_NET_ADMIN, so that no other program is in the way; and
/// which the kernel gives back with the process. Without such queues (nfnetlink_queue) it is an
/// abstract socket, which any program could have.
final class CaptureClaim {
    private enum Kind {
        case queue(OpaquePointer)
        /// Also of a queue, where another process has handed it over.
        case socket(Int32)
    }
    private let kind: Kind

    /// Whoever has a copy of it open has the claim, too.
    var descriptor: Int32 {
        switch kind {
        case .queue(let socket): mnl_socket_get_fd(socket)
        case .socket(let descriptor): descriptor
        }
    }

    /// One that another process has handed over, as a descriptor that is this object's now.
    init(adopting descriptor: Int32) { kind = .socket(descriptor) }

    /// Just below those in which packets are held.
    private static let queue: UInt16 = 8_683

    /// EADDRINUSE where another process captures. Needs CAP_NET_ADMIN.
    init() throws(SystemError) {
        let what = "capture traffic, which another process does here"
        do throws(SystemError) {
            kind = .queue(try PacketQueue.claim(Self.queue))
        } catch {
            // What another has is EPERM, as is a right that is missing.
            if error.code == EBUSY || error.code == EPERM,
                Privileges.has(.networkAdministration)
            {
                throw SystemError(what, code: EADDRINUSE)
            }
            kind = .socket(try checked(braid_claim("braid-capture"), what))
        }
    }

    deinit {
        switch kind {
        case .queue(let socket): mnl_socket_close(socket)
        case .socket(let descriptor): Glibc.close(descriptor)
        }
    }
}
