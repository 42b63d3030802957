import ArgumentParser
import Configuration
import Glibc
import History
import Logging
import Measures
import Shell

/// Has another process of the program, perhaps of another version, follow this one: it starts with
/// the sockets that are listened on, and when it serves them this one ends what it has in order.
final class Upgrade {
    /// What of the program around the server stands in the way of a second process.
    struct Surroundings {
        /// The status page's port is let go for the new one.
        var closePage: () -> Void
        /// It did not start, or died: the page is this one's again.
        var reopenPage: () -> Void
        /// The service manager watches over the process that serves.
        var feedWatchdog: (Bool) -> Void
    }

    private enum State {
        case alone
        /// A process is starting.
        case starting(Successor)
        /// It serves.
        case followed(pid_t)
    }
    private var state = State.alone
    /// The service is to end.
    private var isEnding = false
    private let service: Service
    private let lineage: Lineage
    private let surroundings: Surroundings
    private let loop: EventLoop
    /// A process that follows has its sockets and its state where this one has them, though it is
    /// not root's from the beginning.
    private let folders = [
        ControlPath.variable: ControlPath.directory, StatePath.variable: StatePath.folder
    ]
    private let log = Logger(label: "upgrade")

    init(
        _ service: Service, _ lineage: Lineage, _ surroundings: Surroundings, loop: EventLoop
    ) {
        self.service = service
        self.lineage = lineage
        self.surroundings = surroundings
        self.loop = loop
        lineage.onOlderEnded = { [weak self] in
            // One that starts, or serves, sees it too.
            guard let self, case .alone = self.state else { return }
            service.takeOver?(lineage.olderGenerations)
        }
        lineage.onAlone = { [weak self] in self?.followerDied() }
        lineage.onWord = { word in
            switch word {
            case .end: service.stop()
            case .reload: _ = service.reload()
            case .stop: break
            }
        }
    }

    /// Why a process that follows could not write its own `pcap` beside this one's; nil where it
    /// can, or there is none.
    static func obstacle(toFile pcap: String?) -> String? {
        guard let pcap, let why = PcapWriter.obstacle(path: pcap) else { return nil }
        return
            "the new process can't write pcap beside this one's: \(why); take pcap out, or restart"
    }

    /// Whether another process serves what this one did.
    var isFollowed: Bool { if case .followed = state { true } else { false } }

    /// Starts it; `reply` gets a line, a refusal where it does not come to it. `drain`: how long
    /// what lives here may go on; nil: as the configuration says.
    func begin(drain: Interval?, reply: @escaping (String) -> Void) {
        let obstacle: String? =
            switch state {
            case .starting: "another process is starting already"
            case .followed: "another process serves already; this one only ends what it has"
            case .alone where isEnding: "this one is ending"
            case .alone where getpid() == 1:
                "this is the first process of a container, which would end with it: start another container"
            case .alone: service.whyNoSuccessor()
            }
        if let obstacle { return reply(ControlRequests.refusal + obstacle + "\n") }
        guard let place = lineage.next else {
            return reply(
                ControlRequests.refusal + "older processes are still there: end them, or wait\n")
        }
        surroundings.closePage()
        do {
            let capture = try service.offerCapture?(lineage.generation)
            let successor = try Privileges.passingOn(.networkAdministration) {
                () throws(SystemError) in
                try Successor(
                    service.sockets(), place, variables: folders, capture: capture, loop: loop
                ) { [weak self] in self?.ended($0, drain, reply) }
            }
            state = .starting(successor)
        } catch {
            service.resumeCapture?()
            surroundings.reopenPage()
            reply(ControlRequests.refusal + "can't \(error)\n")
        }
    }

    /// The service is to end: no process follows any more, also none that is about to.
    func end() {
        isEnding = true
        if case .starting(let successor) = state { successor.cancel() }
    }

    private func ended(
        _ outcome: Successor.Outcome, _ drain: Interval?, _ reply: (String) -> Void
    ) {
        switch outcome {
        case .ready(let process, let isAware, let hasCapture):
            state = .followed(process)
            lineage.followed()
            surroundings.feedWatchdog(false)
            log.notice("another process follows", metadata: ["process": "\(process)"])
            ServiceManager.followed(by: process)
            reply("process \(process) serves; this one (\(getpid())) ends what it has\n")
            if !hasCapture { service.resumeCapture?() }
            service.follow(drain, isAware, hasCapture)
        case .failed(let code):
            state = .alone
            service.resumeCapture?()
            // It may have come as far as to take the port.
            service.takeOver?(lineage.olderGenerations)
            if !isEnding { surroundings.reopenPage() }
            let why =
                code.map {
                    "ended at its start with exit code \($0); its message stands in the log"
                }
                ?? "was not ready in time"
            log.error("the process that was to follow \(why)")
            reply(
                ControlRequests.refusal
                    + "the new process \(why). Nothing has changed: this one goes on\n")
        }
    }

    /// The process that followed is gone, and has not said that it ends.
    private func followerDied() {
        log.error("the process that followed has died")
        guard case .followed(let process) = state else { return }
        // The service manager may not hear of it: it is a child of this one.
        var status: Int32 = 0
        waitpid(process, &status, WNOHANG)
        guard service.serveAgain?(lineage.olderGenerations) == true else { return }
        state = .alone
        lineage.renew()
        surroundings.reopenPage()
        surroundings.feedWatchdog(true)
        ServiceManager.followed(by: getpid())
    }

    /// Words of the control socket: `upgrade` or `upgrade SECONDS`; false where they are others.
    func answer(_ line: String, reply: @escaping (String) -> Void) -> Bool {
        let words = line.split(separator: " ")
        guard words.first == "upgrade", words.count <= 2 else { return false }
        var drain: Interval?
        if words.count == 2 {
            guard let seconds = Int64(words[1]), (0...UpgradeCommand.maximumDrain).contains(seconds)
            else {
                reply(ControlRequests.refusal + "not understood: \(line.prefix(40))\n")
                return true
            }
            drain = .seconds(seconds)
        }
        begin(drain: drain, reply: reply)
        return true
    }
}

struct UpgradeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade",
        abstract: "Has a new process of the installed program take a running one's place.",
        discussion: """
            The new one starts with the same arguments and gets the ports, so that no connection is refused; then \
            the old one ends what it has, a proxy's connections within limits.drain or --drain.
            """)

    /// Seconds.
    static let maximumDrain: Int64 = 86_400

    @Option(help: "How long old connections may go on: 30s, 10m, 2h; 0s ends them at once.")
    var drain: String?
    @OptionGroup var control: ControlOptions

    func run() throws {
        var line = "upgrade"
        if let drain {
            let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600]
            guard let unit = drain.last.flatMap({ units[$0] }), let count = Int64(drain.dropLast()),
                (0...Self.maximumDrain).contains(count), count * unit <= Self.maximumDrain
            else {
                throw Complaint.input(
                    "\"\(Printable.text(drain))\" is no time such as 30s, 10m or 2h, a day at most")
            }
            line += " \(count * unit)"
        }
        let answer = try Control.ask(line, at: control.control, timeout: 60)
        Output.write(Control.lines(of: answer).joined(separator: "\n") + "\n")
    }
}
