import CLibevent
import Glibc
import Logging
import Measures

/// Names to addresses through libevent's evdns: /etc/resolv.conf and /etc/hosts, no search domains.
///
/// A changed /etc/resolv.conf is read again before the next question.
public final class Resolver {
    public enum Failure: Error, Equatable, Sendable {
        /// The name does not exist, or has no address of the family.
        case notFound
        case timedOut
        case serverFailed
    }

    public enum Answer: Equatable, Sendable {
        case pending
        /// Never empty; in the server's order.
        case addresses([IPAddress])
        case failed(Failure)
        public var addresses: [IPAddress] { if case .addresses(let a) = self { a } else { [] } }
    }

    /// A question under way: A and AAAA are asked for at once and answered each by itself.
    public final class Resolution {
        public let name: String
        public fileprivate(set) var v4 = Answer.pending
        public fileprivate(set) var v6 = Answer.pending
        public var isComplete: Bool { v4 != .pending && v6 != .pending }
        /// Why there is no address at all, once complete.
        public var failure: Failure? {
            guard case .failed(let a) = v4, case .failed(let b) = v6 else { return nil }
            // One family timing out says more than the other not existing.
            return a == .notFound ? b : a
        }

        fileprivate var changed: ((Resolution) -> Void)?
        fileprivate var timer: LoopTimer?
        fileprivate var start: LoopTimer?

        fileprivate init(_ name: String, _ changed: @escaping (Resolution) -> Void) {
            self.name = name
            self.changed = changed
        }

        /// Nothing is reported any more.
        public func cancel() {
            changed = nil
            timer = nil
            start = nil
        }

        fileprivate func settle(isIPv4: Bool, _ answer: Answer) {
            guard changed != nil, (isIPv4 ? v4 : v6) == .pending else { return }
            if isIPv4 { v4 = answer } else { v6 = answer }
            let tell = changed
            if isComplete { cancel() }
            tell?(self)
        }
    }

    private let loop: EventLoop
    private let base: OpaquePointer
    private let timeout: Interval
    private let configurationPath: String
    private var configurationTime = timespec()

    /// - Parameter timeout: for one question, all tries together.
    /// - Parameter configurationPath: for tests.
    public init(loop: EventLoop, timeout: Interval = .seconds(5),
                configurationPath: String = "/etc/resolv.conf") throws(SystemError) {
        guard let base = evdns_base_new(loop.base, 0) else { throw SystemError("set up name resolution", code: ENOMEM) }
        self.loop = loop
        self.base = base
        self.timeout = timeout
        self.configurationPath = configurationPath
        evdns_set_log_fn { isWarning, text in
            guard let text else { return }
            Logger(label: "resolver").log(level: isWarning != 0 ? .warning : .debug, "\(String(cString: text))")
        }
        evdns_base_set_option(base, "timeout:", "2")
        evdns_base_set_option(base, "attempts:", "3")
        evdns_base_set_option(base, "max-inflight:", "1024")
        configurationTime = modified()
        readConfiguration(hosts: true)
    }

    deinit { evdns_base_free(base, 1) }

    /// Asks for `name`; `changed` is called from the loop when a family is answered or has failed, at most
    /// twice. Keeps the resolution alive until then.
    @discardableResult
    public func resolve(_ name: String, changed: @escaping (Resolution) -> Void) -> Resolution {
        rereadConfiguration()
        let resolution = Resolution(name, changed)
        let timer = loop.timer { [unowned resolution] in
            let kept = resolution
            kept.settle(isIPv4: true, .failed(.timedOut))
            kept.settle(isIPv4: false, .failed(.timedOut))
        }
        timer.arm(after: timeout)
        resolution.timer = timer
        // evdns answers at once from /etc/hosts; a caller expects nothing before it has the resolution.
        let start = loop.timer { [self] in
            ask(resolution, isIPv4: false)
            ask(resolution, isIPv4: true)
        }
        start.arm(after: .zero)
        resolution.start = start
        return resolution
    }

    // MARK: evdns

    private final class Question {
        let resolution: Resolution
        let isIPv4: Bool
        init(_ resolution: Resolution, isIPv4: Bool) { self.resolution = resolution; self.isIPv4 = isIPv4 }
    }

    private func ask(_ resolution: Resolution, isIPv4: Bool) {
        var hints = addrinfo()
        hints.ai_family = isIPv4 ? AF_INET : AF_INET6
        hints.ai_protocol = Int32(IPPROTO_TCP)
        let context = Unmanaged.passRetained(Question(resolution, isIPv4: isIPv4)).toOpaque()
        _ = evdns_getaddrinfo(base, resolution.name, nil, &hints, { code, list, context in
            let question = Unmanaged<Question>.fromOpaque(context!).takeRetainedValue()
            question.resolution.settle(isIPv4: question.isIPv4, Resolver.read(code, list))
            if let list { evutil_freeaddrinfo(list) }
        }, context)
    }

    private static func read(_ code: Int32, _ list: UnsafeMutablePointer<addrinfo>?) -> Answer {
        guard code == 0 else { return .failed(failure(code)) }
        var out: [IPAddress] = [], next = list
        while let entry = next {
            if let name = entry.pointee.ai_addr, let address = address(name), !out.contains(address) { out.append(address) }
            next = entry.pointee.ai_next
        }
        return out.isEmpty ? .failed(.notFound) : .addresses(out)
    }

    private static func failure(_ code: Int32) -> Failure {
        switch code {
        case EAI_NONAME, -5: .notFound   // -5: EAI_NODATA, which Glibc shows only to GNU sources
        case EAI_AGAIN: .timedOut
        default: .serverFailed
        }
    }

    private static func address(_ name: UnsafeMutablePointer<sockaddr>) -> IPAddress? {
        let raw = UnsafeRawPointer(name)
        switch Int32(name.pointee.sa_family) {
        case AF_INET:
            return IPAddress(v4: UInt32(bigEndian: raw.load(as: sockaddr_in.self).sin_addr.s_addr))
        case AF_INET6:
            let at = raw + MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr)!
            return IPAddress(v6High: UInt64(bigEndian: at.loadUnaligned(as: UInt64.self)),
                             low: UInt64(bigEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
        default: return nil
        }
    }

    // MARK: Configuration

    private func readConfiguration(hosts: Bool) {
        // Without DNS_OPTION_SEARCH: a name from an application is absolute.
        let options = DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC | (hosts ? DNS_OPTION_HOSTSFILE : 0)
        _ = evdns_base_resolv_conf_parse(base, options, configurationPath)
    }

    private func modified() -> timespec {
        var about = stat()
        return stat(configurationPath, &about) == 0 ? about.st_mtim : timespec()
    }

    private func rereadConfiguration() {
        let time = modified()
        // A file that is being replaced is not there for a moment; what was read stays.
        guard time.tv_sec != 0 else { return }
        guard time.tv_sec != configurationTime.tv_sec || time.tv_nsec != configurationTime.tv_nsec else { return }
        configurationTime = time
        evdns_base_clear_nameservers_and_suspend(base)
        readConfiguration(hosts: false)
        evdns_base_resume(base)
    }
}
