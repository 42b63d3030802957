import Configuration
import Glibc
import Shell

/// Asks a running proxy or concentrator over its control socket.
enum Control {
    /// The answer to `request`. `path` nil: of the one process of this user that runs here.
    /// `timeout`: seconds to wait for it.
    static func ask(_ request: String, at path: String?, timeout: Int = 5) throws -> String {
        let answer =
            try path.map { try reply(to: request, at: $0, timeout) }
            ?? onlyAnswer(to: request, timeout)
        // Refusals are told apart by their first word: see `ControlRequests`.
        if answer.hasPrefix(ControlRequests.refusal) {
            throw Complaint(
                sentences: lines(of: answer.dropFirst(ControlRequests.refusal.count)), exitCode: 2)
        }
        return answer
    }

    /// An answer's lines as a terminal may be given them, no more than a person reads.
    static func lines(of answer: some StringProtocol) -> [String] {
        answer.split(whereSeparator: \.isNewline).prefix(200)
            .map { Printable.text(String($0.prefix(1000))) }
    }

    private static func onlyAnswer(to request: String, _ timeout: Int) throws -> String {
        let paths = [ConfigurationKind.proxy, .concentrator].flatMap {
            ControlPath.places($0.rawValue)
        }
        // Asked for its status first, so that nothing is changed while it isn't clear in which of
        // them.
        let living = paths.filter(answers)
        switch living.count {
        case 1: return try reply(to: request, at: living[0], timeout)
        case 0:
            for path in paths where access(path, F_OK) == 0 {
                _ = try reply(to: request, at: path, timeout)
            }
            throw Complaint.failure(
                "no proxy or concentrator of this user runs here; name its socket with --control")
        default:
            throw Complaint.input(
                "several run here; choose one with --control: \(living.joined(separator: " or "))")
        }
    }

    /// Whether somebody of this user does at `path`.
    static func answers(_ path: String) -> Bool {
        (try? ControlClient.ask(path: path, line: "status")) != nil
    }

    private static func reply(
        to request: String, at path: String, _ timeout: Int
    ) throws -> String {
        do {
            return try ControlClient.ask(path: path, line: request, timeout: timeout)
        } catch {
            switch error {
            case .system(let error):
                throw Complaint.failure(
                    "nobody answers at \(path): \(SystemError.text(error.code))")
            case .otherUser(let user):
                throw Complaint.failure(
                    "\(path) belongs to user \(user): only processes of yours and root's are asked")
            }
        }
    }
}

/// The other side: what a running process answers, a line at a time.
enum ControlRequests {
    static let refusal = "error: "

    /// `status` brings JSON, which takes a while to make.
    static func text(_ line: String, _ service: Service) -> SideWork.Text? {
        guard line.split(separator: " ") == ["status"] else { return nil }
        let status = service.status()
        return { StatusDocument(status).json }
    }

    /// `mode M` (or `mode auto HINT`) and `uplink NAME ROLE` bring `ok`, `rule` with its words and
    /// `reload` bring lines; anything else is refused.
    static func answer(
        _ line: String, setMode: ((String) -> String?)?,
        setRole: ((String, String) -> String?)?, setUsage: ((String, Int) -> String?)? = nil,
        askRule: (([String]) -> String?)? = nil,
        reload: (() -> LivingConfiguration.Outcome)? = nil
    ) -> String {
        let words = line.split(separator: " ").map(String.init)
        switch (words.first, words.count) {
        case ("reload", 1):
            guard let outcome = reload?() else { return refusal + "nothing to read anew\n" }
            let lines = outcome.lines.joined(separator: "\n") + "\n"
            if case .refused = outcome { return refusal + lines }
            return lines
        case ("mode", 2...3):
            guard let setMode else {
                return refusal + "the mode is the proxy's to choose, not the concentrator's\n"
            }
            return setMode(words.dropFirst().joined(separator: " ")).map { refusal + $0 + "\n" }
                ?? "ok\n"
        case ("uplink", 3):
            guard let setRole else {
                return refusal + "uplinks are the proxy's, not the concentrator's\n"
            }
            return setRole(words[1], words[2]).map { refusal + $0 + "\n" } ?? "ok\n"
        case ("usage", 4) where words[1] == "set":
            guard let setUsage else {
                return refusal + "allowances are the proxy's, not the concentrator's\n"
            }
            guard let bytes = Int(words[3]), bytes >= 0 else {
                return refusal + "not understood: \(line.prefix(40))\n"
            }
            return setUsage(words[2], bytes).map { refusal + $0 + "\n" } ?? "ok\n"
        case ("rule", 3...):
            guard let askRule else {
                return refusal + "rules are the proxy's, not the concentrator's\n"
            }
            return askRule(Array(words.dropFirst())).map { $0 + "\n" }
                ?? refusal + "not understood: \(line.prefix(40))\n"
        default: return refusal + "not understood: \(line.prefix(40))\n"
        }
    }
}
