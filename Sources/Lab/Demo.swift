import Measures

/// `braid demo`: two emulated uplinks on this machine, a download through the proxy, a handover to watch.
public struct Demo {
    /// How WiFi goes away.
    public enum Loss: String, CaseIterable, Sendable {
        /// The interface goes down, as when somebody walks out of the house and the driver notices.
        case visible
        /// Packets vanish and nobody is told.
        case silent
        case none
    }

    public struct Options: Sendable {
        /// Bytes to download.
        public var size = 8_000_000
        public var loss = Loss.visible
        /// When WiFi goes away, counted from the start of the download.
        public var lossAt = Interval.seconds(5)
        /// How long after that it comes back; nil: never.
        public var returnAfter: Interval?
        public var wifi = LinkSpecification.wifi
        public var cellular = LinkSpecification.cellular
        /// The proxy's handover mode: full, backup or single.
        public var mode = "full"
        /// Where the two programs' logs and configuration stay; nil: a temporary folder, removed at the end.
        public var folder: String?
        public init() {}
    }

    public var options: Options
    public init(_ options: Options) { self.options = options }

    /// Runs it to the end; 0 only where every byte was verified. Throws `LabError` where the lab can't be built.
    public func run() throws -> Int32 { throw LabError("braid demo is not there yet") }
}

/// Why the lab can't be built or went wrong, as a sentence for a person.
public struct LabError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}
