import Configuration
import Glibc
import History
import Logging
import Measures
import Page
import Shell

/// A running proxy or concentrator as the program around it sees it.
struct Service {
    var status: () -> ServerStatus
    /// What it reports and counts.
    var recorder: Recorder
    /// Usage is kept also where no history is, since allowances depend on it.
    var keepsUsage = false
    /// Stops accepting and ends when the last connection has ended; called again, at once.
    var stop: () -> Void
    /// Nil where the mode is not its to choose. Returns what is wrong with the word, nil where
    /// nothing is.
    var setMode: ((String) -> String?)?
    /// The same for an uplink's name and its role.
    var setRole: ((_ uplink: String, _ role: String) -> String?)?
    /// The same for what an uplink has used, in bytes.
    var setUsage: ((_ uplink: String, _ bytes: Int) -> String?)?
    /// Whose paths and connections the status page shows.
    var driver: EngineDriver
    /// A proxy's uplinks, its mode, and the words for modes.
    var uplinks: () -> [ServerStatus.UplinkState] = { [] }
    var mode: () -> PageMode? = { nil }
    var modes: [String] = []
    /// What becomes of a flow, asked in the words of `RuleQuestion`; nil where they make no
    /// question.
    var askRule: (([String]) -> String?)?
    /// Reads the configuration anew.
    var reload: () -> LivingConfiguration.Outcome
    /// What is listened on, for a process that is to follow this one.
    var sockets: () -> [Int32]
    /// Another process serves what is listened on: what lives here ends, after so long at most.
    /// `isAware`: it knows of this one (`Lineage`). `hasCapture`: it has taken the capture over.
    var follow: (_ drain: Interval?, _ isAware: Bool, _ hasCapture: Bool) -> Void
    /// What is captured, for a process that is to follow; nil where there is nothing. The number is
    /// this process's generation.
    var offerCapture: ((_ generation: Int) throws(SystemError) -> CaptureOffer?)?
    /// That process did not come to it.
    var resumeCapture: (() -> Void)?
    /// Takes over what the process before has captured; whether there was something.
    var takeCaptureOver: (() throws(SystemError) -> Bool)?
    /// What is not the older processes', by their generations, is this one's; nil where they have
    /// nothing in common.
    var takeOver: ((_ older: [Int]) -> Void)?
    /// The process that followed has died: serves again. False where it can't.
    var serveAgain: ((_ older: [Int]) -> Bool)?
    /// Why no other process can follow; nil where one can.
    var whyNoSuccessor: () -> String?
}

extension ProgramConfiguration {
    /// What of it may change while the program runs.
    func applyWhileRunning() {
        LogSetup.level = Logger.Level(rawValue: logLevel.rawValue) ?? .info
    }
}

extension ControlRequests {
    /// Without a control socket the service still does its work: that is said in the log, once.
    static func open(
        _ role: ConfigurationKind, _ program: ProgramConfiguration, _ service: Service,
        _ loop: EventLoop
    ) -> ControlServer? {
        let path = program.control ?? ControlPath.standard(role.rawValue)
        let log = Logger(label: "control")
        do {
            let server = try ControlServer(path: path, loop: loop) { line in
                answer(
                    line, setMode: service.setMode, setRole: service.setRole,
                    setUsage: service.setUsage, askRule: service.askRule, reload: service.reload)
            }
            if let process = server.predecessor {
                log.notice(
                    "took the control socket over from a process that is still there",
                    metadata: ["path": "\(path)", "process": "\(process)"])
            }
            return server
        } catch {
            log.warning(
                "no control socket, so braid status can't ask: \(error)",
                metadata: ["path": "\(path)"])
            return nil
        }
    }
}
