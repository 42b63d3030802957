import Logging
import Measures

/// Names to addresses through libevent's evdns: /etc/hosts and the servers of /etc/resolv.conf in
/// their order, no search domains.
///
/// A changed /etc/resolv.conf or /etc/hosts is read again before the next question.
public final class Resolver {
    /// Why a name has no address.
    public enum Failure: Error, Equatable, Sendable {
        /// The name does not exist, or has no address of the family.
        case notFound
        case timedOut
        case serverFailed
    }

    /// What is known of one family's addresses.
    public enum Answer: Equatable, Sendable {
        case pending
        /// Never empty; in the server's order.
        case addresses([IPAddress])
        case failed(Failure)
        /// Empty while pending, and after a failure.
        public var addresses: [IPAddress] { if case .addresses(let a) = self { a } else { [] } }
    }

    /// A question under way: A and AAAA are asked for at once and answered each by itself.
    public final class Resolution {
        /// As it was asked for.
        public let name: String
        /// The A records.
        public fileprivate(set) var v4 = Answer.pending
        /// The AAAA records.
        public fileprivate(set) var v6 = Answer.pending
        /// Whether both families are answered or have failed.
        public var isComplete: Bool { v4 != .pending && v6 != .pending }
        /// Why there is no address at all, once complete.
        public var failure: Failure? {
            guard case .failed(let a) = v4, case .failed(let b) = v6 else { return nil }
            // One family timing out says more than the other not existing.
            return a == .notFound ? b : a
        }

        fileprivate var changed: ((Resolution) -> Void)?
        fileprivate var timer: LoopTimer?
        /// Of both families.
        fileprivate var searches: [ServerSearch] = []
        fileprivate var isWanted: Bool { changed != nil }

        fileprivate init(_ name: String, _ changed: @escaping (Resolution) -> Void) {
            self.name = name
            self.changed = changed
        }

        /// Nothing is reported any more.
        public func cancel() {
            changed = nil
            timer = nil
            searches.forEach { $0.cancel() }
            searches = []
        }

        fileprivate func record(isIPv4: Bool, _ answer: Answer) {
            guard changed != nil, (isIPv4 ? v4 : v6) == .pending else { return }
            if isIPv4 { v4 = answer } else { v6 = answer }
            let tell = changed
            if isComplete { cancel() }
            tell?(self)
        }
    }

    private let loop: EventLoop
    private let limit: Interval?
    private var file: ResolverFile
    private var servers: [NameServer] = []
    /// Counts the changes of the file.
    private var version = 0
    private var hosts = HostsFile()
    private var lookups: [ObjectIdentifier: LoopThread] = [:]
    /// Threads that ask the system's resolver at the same time.
    private static let maximumLookups = 16

    /// - Parameter timeout: for one question, all tries together; nil: as /etc/resolv.conf has it.
    /// - Parameter configurationPath: for tests.
    public init(
        loop: EventLoop, timeout: Interval? = nil,
        configurationPath: String = "/etc/resolv.conf"
    ) throws(SystemError) {
        self.loop = loop
        limit = timeout
        file = ResolverFile(path: configurationPath)
        makeServers()
    }

    /// Asks for `name`; `changed` is called from the loop when a family is answered or has failed,
    /// at most twice. Keeps the resolution alive until then.
    @discardableResult
    public func resolve(_ name: String, changed: @escaping (Resolution) -> Void) -> Resolution {
        let resolution = Resolution(name, changed)
        if let known = hosts.lookUp(name) ?? (Self.isAskable(name) ? nil : []) {
            // In the next iteration: a caller expects nothing before it has the resolution.
            let answer = loop.timer { [resolution] in
                for isIPv4 in [false, true] {
                    let some = known.filter { $0.isIPv4 == isIPv4 }
                    resolution.record(
                        isIPv4: isIPv4, some.isEmpty ? .failed(.notFound) : .addresses(some))
                }
            }
            answer.arm(after: .zero)
            resolution.timer = answer
            return resolution
        }
        let searches = [false, true].map { search(resolution, isIPv4: $0) }
        resolution.searches = searches
        // The timer keeps the resolution, until it is complete or cancelled.
        let timer = loop.timer { [resolution, searches] in
            for (search, isIPv4) in zip(searches, [false, true]) {
                resolution.record(isIPv4: isIPv4, .failed(search.failure))
            }
        }
        searches.forEach { $0.start() }
        // What could not even be asked is told from the loop too.
        let isHopeless = searches.allSatisfy(\.isOver)
        timer.arm(after: isHopeless ? .zero : limit ?? file.configuration.limit)
        resolution.timer = timer
        return resolution
    }

    // MARK: Servers

    private func search(_ resolution: Resolution, isIPv4: Bool) -> ServerSearch {
        let settings = { [weak self] in self?.current() }
        return ServerSearch(resolution.name, isIPv4: isIPv4, loop: loop, settings: settings) {
            [weak self, weak resolution] result, isTruncated in
            guard let resolution, resolution.timer != nil else { return }
            if isTruncated, self?.askSystem(resolution, isIPv4: isIPv4) == true { return }
            switch result {
            case .success(let found): resolution.record(isIPv4: isIPv4, .addresses(found))
            case .failure(let failure): resolution.record(isIPv4: isIPv4, .failed(failure))
            }
        }
    }

    private func current() -> (
        servers: [NameServer], configuration: ResolverConfiguration, version: Int
    ) {
        if file.reread() { makeServers() }
        return (servers, file.configuration, version)
    }

    /// Questions under way keep the servers they were asked of.
    private func makeServers() {
        version += 1
        servers = file.configuration.servers.compactMap { NameServer($0, loop: loop) }
        if servers.count < file.configuration.servers.count
            || !file.configuration.refused.isEmpty
        {
            Logger(label: "resolver").warning(
                "not every nameserver of /etc/resolv.conf can be asked",
                metadata: [
                    "nameservers": "\(file.configuration.servers.joined(separator: " "))",
                    "refused": "\(file.configuration.refused.joined(separator: " "))"
                ])
        }
    }

    /// RFC 1035 section 2.3.4: labels of up to 63 octets, 253 in all.
    private static func isAskable(_ name: String) -> Bool {
        let absolute = name.hasSuffix(".") ? name.dropLast() : name[...]
        let labels = absolute.split(separator: ".", omittingEmptySubsequences: false)
        return absolute.utf8.count <= 253 && labels.allSatisfy { (1...63).contains($0.utf8.count) }
    }

    /// The answer did not fit a datagram: the system's resolver asks again over TCP.
    private func askSystem(_ resolution: Resolution, isIPv4: Bool) -> Bool {
        guard lookups.count < Self.maximumLookups, resolution.isWanted else { return false }
        var key: ObjectIdentifier?
        let name = resolution.name
        let lookup = LoopThread(
            loop: loop, work: { SystemLookup.addresses(of: name, isIPv4: isIPv4) },
            done: { [weak self] found in
                if let key { self?.lookups[key] = nil }
                resolution.record(
                    isIPv4: isIPv4, found.isEmpty ? .failed(.notFound) : .addresses(found))
            })
        guard let lookup else { return false }
        key = ObjectIdentifier(lookup)
        lookups[ObjectIdentifier(lookup)] = lookup
        return true
    }
}
