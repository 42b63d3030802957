import Concentrator
import Measures
import Multipath
import Proxy
import Rules
import Shell
import Subflow

/// Every value that holds where neither the configuration file nor a flag says otherwise.
///
/// The configuration's tests read `docs/operations.md` and compare its table with this file.
public enum Defaults {
    /// Where the concentrator listens, and the port of a concentrator address without one. UDP 443
    /// passes where QUIC passes.
    public static let concentratorPort: UInt16 = 443
    /// IPv4 on every address; `[::]` is asked for where it is wanted.
    public static let concentratorListen = "0.0.0.0:443"
    /// Loopback only: whoever reaches the port uses the tunnel.
    public static let proxyListen = "mixed://127.0.0.1:1080"
    /// Every uplink carries data.
    public static let mode = ModeChoice.full
    /// Under `cost: prefer-cheap` data waits so long for cheap uplinks.
    public static let backlogTime = Interval.seconds(4)
    /// As far as the wire has steps for it.
    public static let backlogTimeRange = Interval.milliseconds(500)...Interval.seconds(16)
    /// Names are answered at once, addresses when the dial has ended.
    public static let open = OpenPolicy.auto
    /// A network that is left for a moment is no reason to fail.
    public static let withoutSession = WithoutSession.wait
    /// Whom the application has sent to may answer, from any port.
    public static let udpFiltering = DatagramFiltering.address
    /// docs/decisions.md has the figures of each.
    public static let congestion = CongestionAlgorithm.bbr
    /// States of sessions and paths, no targets and no users.
    public static let logLevel = LogLevel.info
    /// As people read it.
    public static let logFormat = LogFormat.text

    /// Of the history's file.
    public static let historySize = ByteCount.mebibytes(64)
    /// Of each event; a quarter of a year.
    public static let historyEvents = Interval.seconds(90 * 86_400)
    /// Of usage by hour; two bills.
    public static let historyHours = Interval.seconds(60 * 86_400)
    /// Of usage by day; three years.
    public static let historyDays = Interval.seconds(1_100 * 86_400)
    /// The first holds thrice what may wait to be written; nobody reads more than the second.
    public static let historySizeRange = ByteCount.mebibytes(8)...ByteCount.mebibytes(16 << 10)
    /// From a day to ten years.
    public static let historyEventsRange = Interval.seconds(86_400)...Interval.seconds(315_360_000)
    /// What `braid usage --hour` shows at least.
    public static let historyHoursRange =
        Interval.seconds(2 * 86_400)...Interval.seconds(315_360_000)
    /// What allowances of a month look back on at least.
    public static let historyDaysRange =
        Interval.seconds(62 * 86_400)...Interval.seconds(315_360_000)

    /// Applications' connections that a proxy serves at once.
    public static let proxyConnections = 20_000
    /// Connections of all users that a concentrator serves at once, and of one user.
    public static let concentratorConnections = 100_000
    /// Of one user, dials included.
    public static let connectionsPerUser = 50_000
    /// Of one user: connections without their whole target, and sessions.
    public static let halfOpenPerUser = 256
    /// Of more, the one that was silent for longest is closed.
    public static let sessionsPerUser = 16
    /// Parts of the machine's memory (or of what its control group may have) that connections may
    /// hold, and of that one user's.
    public static let proxyMemoryPart = 4
    /// The concentrator does nothing else on its machine, the proxy does.
    public static let concentratorMemoryPart = 2
    /// Of what the concentrator's connections may hold.
    public static let userMemoryPart = 2
    /// Dials and look-ups of names under way at once, of all users and of one.
    public static let dials = 4_096
    /// Never more than are free besides.
    public static let dialsPerUser = 512
    /// The resolver holds 1,024 questions, of which a name makes two.
    public static let lookUps = 480
    /// Never more than are free besides.
    public static let lookUpsPerUser = 64
    /// Associations of one user at once.
    public static let associationsPerUser = 1_024
    /// Datagrams a second of one user to the world.
    public static let datagramsPerUser = 50_000
    /// Questions a second that one user's proxies may ask the concentrator's resolver.
    public static let questionsPerUser = 1_000
    /// Of one user: other ends that associations exchange datagrams with at once, over all
    /// sessions. Four torrent clients talk to some two thousand each.
    public static let flowsPerUser = 8_192
    /// Bytes of one connection kept until the other side has them: two seconds at 64 Mbit/s.
    public static let sendBuffer = ByteCount.mebibytes(16)
    /// The most one connection may have on its way to us: a second at 64 Mbit/s.
    public static let receiveWindow = ByteCount.mebibytes(8)
    /// How long a stopping process waits for its connections to end.
    public static let drain = Interval.seconds(30)
    /// How captured traffic comes to the proxy.
    public static let captureMethod = CapturePlan.Method.auto
    /// What becomes of captured traffic when the proxy ends.
    public static let onExit = CapturePlan.Exit.open
    /// How long a concentrator keeps a session that it hears nothing of, with its connections: a
    /// night's sleep.
    public static let sessionSilence = Interval.seconds(86_400)
    /// How long a dial at the concentrator may take, all addresses of the name together.
    public static let dialTimeout = Interval.seconds(10)

    /// How long an application may take from its connection to the end of its SOCKS dialogue or
    /// HTTP head.
    public static let dialogue = Interval.seconds(30)
    /// How long an HTTP request and its response may stand still.
    public static let idleBody = Interval.seconds(900)
    /// Connections that have not shown a password yet, on one listener that asks for one.
    public static let unauthenticated = 256

    /// Ranges a limit is held to; outside of them nothing good happens.
    public static let connectionsRange = 1...1_000_000
    /// Sessions, half-open connections, dials and connections of one user.
    public static let perUserRange = 1...100_000
    /// The resolver holds 1024 questions, of which a name makes two.
    public static let lookUpsRange = 1...500
    /// Of a connection's send buffer and receive window.
    public static let bufferRange = ByteCount.kibibytes(64)...ByteCount.mebibytes(1024)
    /// Of all connections, and of one user's.
    public static let memoryRange = ByteCount.mebibytes(4)...ByteCount.mebibytes(16 << 20)
    /// Zero: a stopping process waits for nobody.
    public static let drainRange = Interval.zero...Interval.seconds(3600)
    /// Shorter than a second would refuse people on slow links.
    public static let dialogueRange = Interval.seconds(1)...Interval.seconds(300)
    /// Entries of all rules, those in files included.
    public static let ruleEntries = 1_000_000
    /// Bytes of a file of entries.
    public static let ruleFileBytes = 64 << 20
    /// Up to a day.
    public static let idleBodyRange = Interval.seconds(1)...Interval.seconds(86_400)
    /// From a minute, which covers most gaps in coverage, to a week.
    public static let sessionSilenceRange = Interval.seconds(60)...Interval.seconds(604_800)
    /// Applications give up after a few minutes by themselves.
    public static let dialTimeoutRange = Interval.seconds(1)...Interval.seconds(300)
}
