import Multipath
import Tunnel

/// What `mode` may say: a handover mode, or that it follows from what connections do.
public enum ModeChoice: String, CaseIterable, Sendable {
    case full, backup, single, auto

    /// The mode that is fixed; nil for `auto`.
    public var fixed: HandoverMode? { HandoverMode(rawValue: rawValue) }
}

/// A wish for a mode as the control socket has it: `MODE`, or `auto` with what is known of the
/// person.
public struct ModeWish: Equatable, Sendable {
    /// Fixed, or by use.
    public var choice: ModeChoice
    /// For `auto` only.
    public var hint: ModeByUse.Hint

    /// As said by flags.
    public init(_ choice: ModeChoice, hint: ModeByUse.Hint = .unknown) {
        self.choice = choice
        self.hint = hint
    }

    /// Reads what `words` writes; nil where it is none.
    public init?(words: String) {
        let parts = words.split(separator: " ").map(String.init)
        guard let first = parts.first, let choice = ModeChoice(rawValue: first), parts.count <= 2
        else { return nil }
        self.init(choice)
        guard parts.count == 2 else { return }
        guard choice == .auto, let hint = ModeByUse.Hint(rawValue: parts[1]) else { return nil }
        self.hint = hint
    }

    /// As the control socket has it.
    public var words: String {
        hint == .unknown ? choice.rawValue : "\(choice.rawValue) \(hint.rawValue)"
    }
}
