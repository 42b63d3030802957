/// What a session asks of its endpoint when its time has come.
enum SessionDemand {
    /// Proxy: what moved in it says what mode it wants, and all that begins from now on.
    case modeFollows(ModeByUse)
    /// Proxy: it hears nothing, or its keys are gone.
    case needsHandshake
    case isOver(SessionEnd)

    /// The endpoint does it before the session goes on: no deadline is set yet.
    var comesFirst: Bool {
        switch self {
        case .modeFollows: false
        case .needsHandshake, .isOver: true
        }
    }
}
