import ArgumentParser
import Configuration
import Glibc
import Logging
import Shell

/// The configuration of a running program, which can be read anew.
final class LivingConfiguration {
    /// What became of reading it anew.
    enum Outcome {
        /// It was applied, with these changes and these warnings.
        case applied(ConfigurationChanges, warnings: [String])
        /// Nothing has changed, for these reasons.
        case refused([String])

        /// A line each, for the log and for `braid reload`.
        var lines: [String] {
            switch self {
            case .applied(let changes, let warnings): changes.lines + warnings
            case .refused(let reasons): reasons
            }
        }
    }

    private(set) var current: Configuration
    private let read: () throws(ConfigurationErrors) -> Configuration
    /// Made after the log is set up, which the configuration says how to.
    private lazy var log = Logger(label: "reload")

    /// `read`: reads it from where it came from, flags included.
    init(
        _ configuration: Configuration,
        read: @escaping () throws(ConfigurationErrors) -> Configuration
    ) {
        current = configuration
        self.read = read
    }

    /// Reads it, and has `apply` go on with it: whole, or not at all.
    func reload(_ apply: (Configuration) throws(SystemError) -> Void) -> Outcome {
        let outcome = attempt(apply)
        switch outcome {
        case .applied(let changes, let warnings):
            log.notice(
                "configuration read anew",
                metadata: ["changes": "\(changes.lines.joined(separator: "; "))"])
            for warning in warnings { log.warning("\(warning)") }
        case .refused(let reasons):
            for reason in reasons {
                log.error("configuration not read anew", metadata: ["why": "\(reason)"])
            }
        }
        return outcome
    }

    private func attempt(_ apply: (Configuration) throws(SystemError) -> Void) -> Outcome {
        let new: Configuration
        do {
            new = try read()
        } catch {
            return .refused(error.problems.map(\.description))
        }
        guard let (changes, configuration) = current.changes(to: new) else {
            return .refused(["it is now the configuration of another kind of program"])
        }
        do {
            try apply(configuration)
        } catch {
            let hint =
                error.code == EACCES
                ? "; this program gave up the right to open that port: restart it" : ""
            return .refused(["can't \(error)\(hint)"])
        }
        current = configuration
        let warnings = if case .proxy(let proxy) = new { proxy.warnings } else { [String]() }
        return .applied(changes, warnings: warnings)
    }
}

struct ReloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Has a running proxy or concentrator read its configuration anew.",
        discussion: """
            Connections and calls live on. A file with anything wrong in it is refused whole, and the old \
            configuration stays. Says what has changed, and what takes a restart. SIGHUP does the same.
            """)

    @OptionGroup var control: ControlOptions

    func run() throws {
        let answer = try Control.ask("reload", at: control.control)
        Output.write(Control.lines(of: answer).joined(separator: "\n") + "\n")
    }
}
