import CLab
import Glibc
import Measures

/// `braid demo`: two emulated uplinks on this machine, a download through the proxy, a handover to
/// watch.
public struct Demo {
    /// How WiFi goes away.
    public enum Loss: String, CaseIterable, Sendable {
        /// The interface goes down, as when somebody walks out of WiFi's range and the driver
        /// notices.
        case visible
        /// Packets vanish and nobody is told.
        case silent
        case none
    }

    /// What `braid demo` can be asked for; the defaults are the paper's experiment.
    public struct Options: Sendable {
        /// Bytes to download.
        public var size = 8_000_000
        /// How WiFi goes away.
        public var loss = Loss.visible
        /// When WiFi goes away, counted from the start of the download.
        public var lossAt = Interval.seconds(5)
        /// How long after that it comes back; nil: never.
        public var returnAfter: Interval?
        /// 8 Mbit/s and 30 ms, as in the paper.
        public var wifi = LinkSpecification.wifi
        /// 2 Mbit/s and 100 ms, as in the paper.
        public var cellular = LinkSpecification.cellular
        /// The proxy's handover mode: full, backup or single.
        public var mode = "full"
        /// Where the two programs' logs and configuration stay; nil: a temporary folder, removed at
        /// the end.
        public var folder: String?
        public init() {}
    }

    /// Read when `run` begins.
    public var options: Options
    /// Nothing is built before `run`.
    public init(_ options: Options) { self.options = options }

    /// Runs it to the end; 0 only where every byte was verified, 130 where it was interrupted.
    /// Throws
    /// `LabError` where the lab can't be built or a program doesn't start.
    public func run() throws -> Int32 {
        let lab = try Lab([.wifi(options.wifi), .cellular(options.cellular)])
        let signals = try checked(braid_lab_signals(), "a signal descriptor")
        defer { close(signals) }
        let pair = try LabPair(.init(mode: options.mode, folder: options.folder), lab)
        do { try pair.start(interruptedBy: signals) } catch is LabInterruption { return 130 }
        let download = try DemoDownload(options, lab, signals)
        let result = try download.run()
        lab.endChildren()
        switch result {
        case .interrupted: return 130
        case .finished(let record):
            download.screen.finish(DemoSummary(options, record).lines)
            if !record.isVerified { download.screen.finish(pair.lastWords()) }
            return record.isVerified ? 0 : 1
        }
    }

    /// What the loss looks like, as the end of a sentence that begins with a time.
    var lossText: String {
        switch options.loss {
        case .visible: "WiFi's interface goes down"
        case .silent: "WiFi goes silent, nobody is told"
        case .none: "nothing happens"
        }
    }
}

/// Why the lab can't be built or went wrong, as a sentence for a person.
public struct LabError: Error, CustomStringConvertible {
    /// One sentence, without a full stop.
    public let description: String
    /// `description` is what the person reads.
    public init(_ description: String) { self.description = description }
}
