import Glibc
import Measures

/// One name asked of the system's own resolver (getaddrinfo) in a thread of its own: for answers
/// that are too long for evdns, which knows neither TCP nor EDNS.
final class SystemLookup {
    private let name: String
    private let isIPv4: Bool
    private let done: ([IPAddress]) -> Void
    private var watch: FileWatch?
    /// Of the pipe: what is read from, what is written to.
    private var ends: [Int32] = []
    // Written by the thread before it writes to the pipe, read by the loop after it read from the
    // pipe.
    private var result: [IPAddress] = []

    /// `done` is called once from the loop, with no address where there is none; nil where no
    /// thread could be made.
    init?(_ name: String, isIPv4: Bool, loop: EventLoop, done: @escaping ([IPAddress]) -> Void) {
        // The final dot keeps search domains away.
        self.name = name.hasSuffix(".") ? name : name + "."
        self.isIPv4 = isIPv4
        self.done = done
        var made: [Int32] = [0, 0]
        guard pipe(&made) == 0 else { return nil }
        ends = made
        let watch = loop.watch(ends[0])
        watch.onReadable(for: self) { $0.finish() }
        watch.wantsRead = true
        self.watch = watch
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        guard
            pthread_create(
                &thread, nil,
                { context in
                    let lookup = Unmanaged<SystemLookup>.fromOpaque(context!).takeRetainedValue()
                    lookup.ask()
                    return nil
                }, context.toOpaque()) == 0
        else {
            context.release()
            return nil
        }
        pthread_detach(thread)
    }

    deinit {
        watch?.cancel()
        for end in ends { close(end) }
    }

    private func ask() {
        var hints = addrinfo(), list: UnsafeMutablePointer<addrinfo>?
        hints.ai_family = isIPv4 ? AF_INET : AF_INET6
        hints.ai_protocol = Int32(IPPROTO_TCP)
        if getaddrinfo(name, nil, &hints, &list) == 0 {
            var next = list
            while let entry = next {
                if let name = entry.pointee.ai_addr, let address = Self.address(name),
                    !result.contains(address)
                {
                    result.append(address)
                }
                next = entry.pointee.ai_next
            }
            freeaddrinfo(list)
        }
        _ = write(ends[1], "x", 1)
    }

    private func finish() {
        watch?.cancel()
        watch = nil
        done(result)
    }

    private static func address(_ name: UnsafeMutablePointer<sockaddr>) -> IPAddress? {
        let raw = UnsafeRawPointer(name)
        switch Int32(name.pointee.sa_family) {
        case AF_INET:
            return IPAddress(v4: UInt32(bigEndian: raw.load(as: sockaddr_in.self).sin_addr.s_addr))
        case AF_INET6:
            return NameServer.v6(raw + MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr)!)
        default: return nil
        }
    }
}
