import History
import Shell

/// A proxy's mode as the page shows it.
public struct PageMode {
    /// What was chosen: one of `PageSource.modes`.
    public var choice: String
    /// What connections have at present; nil while there is no session.
    public var present: String?
    /// What the present one follows from, where it is not chosen.
    public var reason: String?

    /// All three of them.
    public init(choice: String, present: String?, reason: String?) {
        self.choice = choice
        self.present = present
        self.reason = reason
    }
}

/// What the live page shows, and what it may change: closures of the program it belongs to.
public struct PageSource {
    /// `proxy` or `concentrator`.
    public var role: String
    /// The program's version.
    public var version: String
    /// Whose paths, connections and flows are shown.
    public var driver: EngineDriver
    /// Its events and its usage.
    public var recorder: Recorder
    /// Where targets may be shown.
    public var showsTargets: Bool
    /// A proxy's uplinks; none at a concentrator.
    public var uplinks: () -> [ServerStatus.UplinkState] = { [] }
    /// A proxy's mode; nil at a concentrator.
    public var mode: () -> PageMode? = { nil }
    /// Words for modes that `setMode` knows.
    public var modes: [String] = []
    /// Returns what is wrong with the word, nil where nothing is; nil itself: not to be changed
    /// here.
    public var setMode: ((_ mode: String) -> String?)?
    /// The same for an uplink's name and its role.
    public var setRole: ((_ uplink: String, _ role: String) -> String?)?
    /// What `/status` gives (JSON), and `/metrics`.
    public var status: () -> SideWork.Text, metrics: () -> SideWork.Text

    /// With nothing to change.
    public init(
        role: String, version: String, driver: EngineDriver, recorder: Recorder,
        showsTargets: Bool,
        status: @escaping () -> SideWork.Text, metrics: @escaping () -> SideWork.Text
    ) {
        self.role = role
        self.version = version
        self.driver = driver
        self.recorder = recorder
        self.showsTargets = showsTargets
        self.status = status
        self.metrics = metrics
    }
}
