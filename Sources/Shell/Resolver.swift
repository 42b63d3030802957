import CLibevent
import Glibc
import Logging
import Measures

/// Names to addresses through libevent's evdns: /etc/resolv.conf and /etc/hosts, no search domains.
///
/// A changed /etc/resolv.conf or /etc/hosts is read again before the next question.
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
        fileprivate var isWanted: Bool { changed != nil }

        fileprivate init(_ name: String, _ changed: @escaping (Resolution) -> Void) {
            self.name = name
            self.changed = changed
        }

        /// Nothing is reported any more.
        public func cancel() {
            changed = nil
            timer = nil
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
    private var hosts = HostsFile()
    private var lookups: [ObjectIdentifier: SystemLookup] = [:]
    /// Threads that ask the system's resolver at the same time.
    private static let mostLookups = 16

    /// - Parameter timeout: for one question, all tries together.
    /// - Parameter configurationPath: for tests.
    public init(loop: EventLoop, timeout: Interval = .seconds(5),
                configurationPath: String = "/etc/resolv.conf") throws(SystemError) {
        guard let base = evdns_base_new(loop.base, 0) else {
            throw SystemError("set up name resolution", code: ENOMEM)
        }
        self.loop = loop
        self.base = base
        self.timeout = timeout
        self.configurationPath = configurationPath
        evdns_set_log_fn { isWarning, text in
            guard let text else { return }
            Logger(label: "resolver").log(level: isWarning != 0 ? .warning : .debug,
                                          "\(String(cString: text))")
        }
        evdns_base_set_option(base, "timeout:", "2")
        evdns_base_set_option(base, "attempts:", "3")
        evdns_base_set_option(base, "max-inflight:", "1024")
        configurationTime = modified()
        readConfiguration()
    }

    deinit { evdns_base_free(base, 1) }

    /// Asks for `name`; `changed` is called from the loop when a family is answered or has failed, at most
    /// twice. Keeps the resolution alive until then.
    @discardableResult
    public func resolve(_ name: String, changed: @escaping (Resolution) -> Void) -> Resolution {
        rereadConfiguration()
        let resolution = Resolution(name, changed)
        let timer = loop.timer(for: resolution) {
            $0.settle(isIPv4: true, .failed(.timedOut))
            $0.settle(isIPv4: false, .failed(.timedOut))
        }
        timer.arm(after: timeout)
        resolution.timer = timer
        if let known = hosts.lookUp(name) ?? (Self.isAskable(name) ? nil : []) {
            // In the next iteration: a caller expects nothing before it has the resolution.
            timer.cancel()
            let answer = loop.timer { [resolution] in
                for isIPv4 in [false, true] {
                    let some = known.filter { $0.isIPv4 == isIPv4 }
                    resolution.settle(isIPv4: isIPv4, some.isEmpty ? .failed(.notFound) : .addresses(some))
                }
            }
            answer.arm(after: .zero)
            resolution.timer = answer
            return resolution
        }
        ask(resolution, isIPv4: false)
        ask(resolution, isIPv4: true)
        return resolution
    }

    // MARK: evdns

    private final class Question {
        let resolver: Resolver
        let resolution: Resolution
        let isIPv4: Bool
        init(_ resolver: Resolver, _ resolution: Resolution, isIPv4: Bool) {
            self.resolver = resolver
            self.resolution = resolution
            self.isIPv4 = isIPv4
        }
    }

    private func ask(_ resolution: Resolution, isIPv4: Bool) {
        let question = Unmanaged.passRetained(Question(self, resolution, isIPv4: isIPv4))
        let answered: evdns_callback_type = { code, _, count, _, addresses, context in
            let question = Unmanaged<Question>.fromOpaque(context!).takeRetainedValue()
            question.resolver.answered(question, code, addresses, Int(count))
        }
        let request = isIPv4
            ? evdns_base_resolve_ipv4(base, resolution.name, DNS_QUERY_NO_SEARCH, answered,
                                      question.toOpaque())
            : evdns_base_resolve_ipv6(base, resolution.name, DNS_QUERY_NO_SEARCH, answered,
                                      question.toOpaque())
        // Without memory: the question's timer answers.
        if request == nil { question.release() }
    }

    /// RFC 1035 section 2.3.4: labels of up to 63 octets, 253 in all.
    private static func isAskable(_ name: String) -> Bool {
        let absolute = name.hasSuffix(".") ? name.dropLast() : name[...]
        let labels = absolute.split(separator: ".", omittingEmptySubsequences: false)
        return absolute.utf8.count <= 253 && labels.allSatisfy { (1...63).contains($0.utf8.count) }
    }

    private func answered(_ question: Question, _ code: Int32, _ addresses: UnsafeMutableRawPointer?,
                          _ count: Int) {
        let answer: Answer
        switch code {
        case DNS_ERR_NONE where count > 0: answer = Self.read(addresses, count, isIPv4: question.isIPv4)
        case DNS_ERR_NONE, DNS_ERR_NOTEXIST, DNS_ERR_NODATA: answer = .failed(.notFound)
        case DNS_ERR_TIMEOUT: answer = .failed(.timedOut)
        case DNS_ERR_TRUNCATED where askSystem(question): return
        default: answer = .failed(.serverFailed)
        }
        question.resolution.settle(isIPv4: question.isIPv4, answer)
    }

    private static func read(_ addresses: UnsafeMutableRawPointer?, _ count: Int, isIPv4: Bool) -> Answer {
        guard let addresses else { return .failed(.notFound) }
        var out: [IPAddress] = []
        for i in 0..<count {
            let address = isIPv4
                ? IPAddress(v4: UInt32(bigEndian: (addresses + 4 * i).loadUnaligned(as: UInt32.self)))
                : v6(UnsafeRawPointer(addresses) + 16 * i)
            if !out.contains(address) { out.append(address) }
        }
        return .addresses(out)
    }

    /// Sixteen bytes in network order.
    static func v6(_ at: UnsafeRawPointer) -> IPAddress {
        IPAddress(v6High: UInt64(bigEndian: at.loadUnaligned(as: UInt64.self)),
                  low: UInt64(bigEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }

    /// The answer did not fit a datagram: the system's resolver asks again over TCP.
    private func askSystem(_ question: Question) -> Bool {
        guard lookups.count < Self.mostLookups, question.resolution.isWanted else { return false }
        var key: ObjectIdentifier?
        let lookup = SystemLookup(question.resolution.name, isIPv4: question.isIPv4,
                                  loop: loop) { [weak self] found in
            if let key { self?.lookups[key] = nil }
            question.resolution.settle(isIPv4: question.isIPv4,
                                       found.isEmpty ? .failed(.notFound) : .addresses(found))
        }
        guard let lookup else { return false }
        key = ObjectIdentifier(lookup)
        lookups[ObjectIdentifier(lookup)] = lookup
        return true
    }

    // MARK: Configuration

    private func readConfiguration() {
        // Without DNS_OPTION_SEARCH: a name from an application is absolute.
        _ = evdns_base_resolv_conf_parse(base, DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC, configurationPath)
    }

    private func modified() -> timespec {
        var about = stat()
        return stat(configurationPath, &about) == 0 ? about.st_mtim : timespec()
    }

    private func rereadConfiguration() {
        let time = modified()
        // A file that is being replaced is not there for a moment; what was read stays.
        guard time.tv_sec != 0 else { return }
        guard time.tv_sec != configurationTime.tv_sec || time.tv_nsec != configurationTime.tv_nsec else {
            return
        }
        configurationTime = time
        evdns_base_clear_nameservers_and_suspend(base)
        readConfiguration()
        evdns_base_resume(base)
    }
}
