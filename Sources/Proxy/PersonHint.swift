import Logging
import Measures
import Shell
import Tunnel

/// Who tells `mode: auto` whether somebody uses the machine (`idle_hint`), besides `braid mode auto
/// --in-use|--idle`.
public enum IdleHintSource: String, CaseIterable, Sendable {
    /// systemd-logind, where it runs and somebody has a session.
    case logind
    case none
}

/// What `mode: auto` knows of the person in front of the machine: what was said by command, else
/// what logind believes.
final class PersonHint {
    private let loop: EventLoop
    private let log: Logger
    private let changed: (ModeByUse.Hint) -> Void
    private var said = ModeByUse.Hint.unknown
    private var logind: IdleHint?

    /// `changed` is called in the loop when logind's word is another.
    init(loop: EventLoop, log: Logger, changed: @escaping (ModeByUse.Hint) -> Void) {
        self.loop = loop
        self.log = log
        self.changed = changed
    }

    /// What is known now.
    var hint: ModeByUse.Hint {
        said == .unknown ? logind?.state ?? .unknown : said
    }

    /// For the status; nil where nothing is known.
    var label: String? {
        switch hint {
        case .unknown: nil
        case .inUse: said == .unknown ? "in use, logind says" : "said to be in use"
        case .idle: said == .unknown ? "idle, logind says" : "said to be idle"
        }
    }

    /// By command; `.unknown` takes it back.
    func say(_ hint: ModeByUse.Hint) { said = hint }

    /// Logind is asked from now on, or not any more.
    func ask(_ isWanted: Bool) {
        guard isWanted, said == .unknown else {
            let wasKnown = logind.map { $0.state != .unknown } ?? false
            logind = nil
            if wasKnown { changed(hint) }
            return
        }
        guard logind == nil else { return }
        logind = IdleHint(loop: loop, log: log) { [weak self] _ in
            guard let self else { return }
            log.info("user present", metadata: ["hint": "\(hint.rawValue)"])
            changed(hint)
        }
    }
}

extension ProxySettings {
    /// Whether logind is asked in `mode: auto`. Where others than this machine's users are served,
    /// whoever sits here tells nothing of them.
    var asksLogind: Bool {
        let servesOthers =
            listeners.contains { !$0.address.address.isLoopback }
            || capture?.networks.isEmpty == false
        return (idleHint ?? (servesOthers ? .none : .logind)) == .logind
    }
}
