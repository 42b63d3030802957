import CLibevent
import Glibc
import Measures

/// Names to addresses through libevent's evdns: /etc/resolv.conf and /etc/hosts, no search domains.
public final class Resolver {
    public enum Failure: Error, Equatable, Sendable { case notFound, timedOut, serverFailed, cancelled }
    public enum Answer: Equatable, Sendable {
        case pending
        /// Never empty.
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
            switch (v4, v6) {
            case (.failed(let a), .failed(let b)): a == .notFound ? b : a
            default: nil
            }
        }
        init(_ name: String) { self.name = name }
        /// Nothing is reported any more.
        public func cancel() { fatalError("stub") }
    }

    public init(loop: EventLoop, timeout: Interval = .seconds(5)) throws(SystemError) { }

    /// Asks for `name`; `changed` is called from the loop when either family is answered or has failed.
    public func resolve(_ name: String, changed: @escaping (Resolution) -> Void) -> Resolution { fatalError("stub") }
}
