import Logging
import Measures
import Multipath
import Shell
import Wire

/// What is counted of applications, and what of it is said in the log: seldom, however often it
/// happens.
final class ClientNotices {
    var counters = Counters()
    /// After wrong passwords, on all listeners that ask for one.
    private(set) var guesses = GuessPauses()
    private var limit = NoticeLimit()
    private let loop: EventLoop
    private let log: Logger

    struct Counters {
        var accepted = 0, turnedAway = 0, refusedDialogues = 0, requests = 0, failedDials = 0
        var wrongPasswords = 0, crowdedOut = 0, displaced = 0, blocked = 0

        var status: [ServerStatus.Counter] {
            [
                .init("clients_accepted_total", accepted),
                .init("clients_turned_away_total", turnedAway),
                .init("requests_total", requests),
                .init("dialogues_refused_total", refusedDialogues),
                .init("dials_failed_total", failedDials),
                .init("wrong_passwords_total", wrongPasswords),
                .init("clients_crowded_out_total", crowdedOut),
                .init("clients_displaced_total", displaced),
                .init("blocked_total", blocked)
            ]
        }
    }

    init(loop: EventLoop, log: Logger) {
        self.loop = loop
        self.log = log
    }

    private func say(
        _ what: Logger.Message, _ level: Logger.Level = .notice,
        _ details: Logger.Metadata = [:]
    ) {
        guard let silent = limit.pass(at: loop.now()) else { return }
        var metadata = details
        metadata["not_logged_before"] = "\(silent)"
        log.log(level: level, what, metadata: metadata)
    }

    /// Somebody is not served, or not any more, since `maximum` are.
    func full(_ what: Logger.Message, maximum: Int) {
        say(what, .notice, ["maximum": "\(maximum)"])
    }

    func crowdedOut(on listener: ProxyListener) {
        counters.crowdedOut += 1
        say(
            "too many connections in their dialogue: the oldest is closed", .notice,
            ["on": "\(listener.address)"])
    }

    /// Somebody showed a wrong name or password, told from others by `shown`.
    func wrongPassword(_ shown: ArraySlice<UInt8>, from source: Source, on listener: ProxyListener)
    {
        counters.wrongPasswords += 1
        guesses.noteWrong(source, hash: shown.hashValue, at: loop.now())
        say(
            "wrong user name or password", .notice,
            ["from": "\(source)", "on": "\(listener.address)"])
    }

    /// There is no socket for an association.
    func noRelay(_ error: SystemError) {
        counters.failedDials += 1
        say("no association: \(error)", .warning)
    }

    func dialFailed(_ target: Target, _ status: DialStatus) {
        counters.failedDials += 1
        guard let silent = limit.pass(at: loop.now()) else { return }
        var metadata: Logger.Metadata = ["target": "\(target)", "reason": "\(status)"]
        if silent > 0 { metadata["not_logged_before"] = "\(silent)" }
        log.notice("could not connect", metadata: metadata)
    }

    func noDirectConnection(_ error: SystemError) {
        if limit.pass(at: loop.now()) != nil { log.warning("no direct connection: \(error)") }
    }
}
