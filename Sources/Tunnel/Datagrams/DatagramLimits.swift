import Measures

/// Every limit of datagram flows in one place, each with its unit and its reason.
enum DatagramLimits {
    /// Bytes of an application's datagram: what eight pieces of the base size hold, and what
    /// interfaces with jumbo frames send.
    static let payload = 9_000
    /// Associations of a session: a judge's two hundred calls and some more.
    static let associations = 1_024
    /// Flows of a session: a torrent client talks to some two thousand peers.
    static let flows = 4_096
    /// What waits longer to be sent is of no use to a call any more.
    static let queueAge = Interval.milliseconds(100)
    /// Bytes a session's datagrams may hold, queued, out of order and in pieces together: 100 ms of
    /// 320 Mbit/s.
    static let memory = 4 << 20
    /// Datagrams one flow may have queued: 100 ms of 20,000 a second, twice.
    static let queued = 4_096
    /// Sequence numbers behind the newest that are still told apart.
    static let window = 2_048
    /// Datagrams, and bytes of them, that may go once more when the path that took them ends within
    /// `queueAge`: two hundred calls.
    static let recent = 1_024
    static let recentBytes = 512 << 10
    /// How often those are looked for that are too old.
    static let recentCheck = Interval.milliseconds(250)
    /// How long a gap holds up what came behind it, in a flow that is spread over paths.
    static let reorderWait = Interval.milliseconds(30)
    /// Datagrams of a flow that wait for a gap: 30 ms of 100 Mbit/s.
    static let reordered = 256
    /// The pieces of one datagram arrive within this; as many datagrams of a flow may be
    /// incomplete.
    static let assemblyWait = Interval.milliseconds(300)
    static let assemblies = 16
    /// RFC 4787 section 4.3 asks for five minutes; a question to a name server is answered sooner.
    static let idle = Interval.seconds(300)
    static let idleQuestion = Interval.seconds(30)
    static let questionPort: UInt16 = 53
    /// What did not open a flow keeps it longer, so that its opener is the one to end it.
    static let idleGrace = Interval.seconds(10)
    /// Flows of an association that has ended which end at once, and how long the next ones wait:
    /// an end costs up to a microsecond, and thousands may be due.
    static let endingAtOnce = 32
    static let endingWait = Interval.milliseconds(1)
    /// A flow's number rests so long after both sides have forgotten it.
    static let numberRest = Interval.seconds(10)
    /// Words about flows (acknowledged, unknown) that wait for a datagram; what is lost beyond is
    /// asked for again.
    static let statements = 1_024
    /// What arrived is reported after this, or so many bytes.
    static let reportWait = Interval.milliseconds(20)
    static let reportBytes = 16 << 10
    /// Datagrams that make room at once where there is no memory left: as many are worth looking
    /// through all flows.
    static let crowdedOutAtOnce = 64
    /// Datagrams sent in one turn before bulk has its own.
    static let perTurn = 512
    /// Datagrams in a turn whose own paths take no more, while others' do.
    static let blockedTurns = 64
    /// While no path takes more, it is looked again so often.
    static let blockedWait = Interval.milliseconds(5)

    // What may be under way on a path, bytes (`DatagramWindow`).
    static let firstWindow = 64 << 10
    static let minimumWindow = 24 << 10
    static let maximumWindow = 16 << 20
    /// Delay above the least that is no queue yet, and that is one to shorten.
    static let shortQueue = Interval.milliseconds(15)
    static let longQueue = Interval.milliseconds(60)
}
