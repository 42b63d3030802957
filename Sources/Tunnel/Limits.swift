import Measures

/// Every limit of a session in one place, each with its unit and its reason.
enum Limits {
    /// Paths of one session: path IDs 0 to 15 (a phone has three uplinks, a concentrator two
    /// addresses).
    static let paths = 16
    /// Sessions an endpoint holds; the slot takes 16 of the index's 24 bits.
    static let sessions = 65_536
    /// Sessions that answered a hello and have not been spoken to yet, of all users and of one; the
    /// oldest (of that user) is dropped. A proxy repeats itself within 250 ms, and gives an answer
    /// 2 s at least.
    static let unconfirmedSessions = 512
    static let unconfirmedPerUser = 16
    static let unconfirmedLifetime = Interval.seconds(15)

    /// A concentrator's go-away is said again after this, then after twice as long each time, up
    /// to `maximumSignalInterval`: the answer comes when the proxy has another session, two round
    /// trips later.
    static let firstGoAway = Interval.milliseconds(500)
    /// A proxy takes it from a session that is as old as this.
    static let minimumGoAwayAge = Interval.seconds(1)
    /// A session without connections ends, where its proxy does not answer: it may not know the
    /// word.
    static let unansweredGoAway = Interval.seconds(10)
    /// A replaced session without connections ends this long after the last record; and how often a
    /// proxy looks whether the process of a silent one is still there.
    static let replacedLook = Interval.seconds(1)
    /// Replaced sessions that a proxy keeps: a concentrator has two older processes at most.
    static let replacedSessions = 3

    // Hellos before they are opened (HelloGate). A multiplication on the curve takes some 40
    // microseconds, a handshake five: 2,000 a second are less than a tenth of a core, and 400
    // sessions.
    static let multiplicationRate = 2_000.0
    static let multiplicationBurst = 400.0
    /// Opened in one turn, and the time until the next ones: half a millisecond that others wait.
    static let multiplicationsPerTurn = 10
    static let helloPause = Interval.microseconds(500)
    /// Hellos that wait to be opened, and how many without a cookie.
    static let queuedHellos = 64
    static let hellosWithoutCookie = 8
    /// Cookies are asked for until this long after the last strain.
    static let loadMemory = Interval.seconds(1)
    /// A secret makes cookies for so long, and is taken for as long again.
    static let cookieLifetime = Interval.seconds(120)
    /// Under load: hellos with a cookie, and cookies, of one address (IPv6: of one /64). An office
    /// behind one address has 20 proxies or so; each asks four times in its first second.
    static let sourceHelloRate = 20.0
    static let sourceHelloBurst = 40.0
    static let cookieRate = 20.0
    static let cookieBurst = 40.0
    /// Of one user: hellos with the right keys that are answered, and challenges. Sixteen proxies
    /// that lost their concentrator ask at once, then every second or two.
    static let userHelloRate = 10.0
    static let userHelloBurst = 40.0
    static let challengeRate = 4.0
    static let challengeBurst = 16.0
    /// How far a proxy's clock may be ahead of ours: its stamp is remembered, and none below it
    /// counts.
    static let stampLead: UInt64 = 600_000_000_000
    /// A hello sent this long before the concentrator began is taken for a replay.
    static let stampAge: UInt64 = 120_000_000_000
    /// A challenge waits for its hello so long: a round trip and a repetition or two.
    static let challengeLifetime = Interval.seconds(10)
    /// Challenges in a row that a proxy answers at once; the next ones in its own time.
    static let promptAnswers = 3
    /// The same trouble with the same user's hellos is told again after this time.
    static let refusalSilence = Interval.seconds(60)
    /// So many answered hellos, over so long, that no record followed are told of: a proxy asks for
    /// the fifth time after 2 s.
    static let unheededWelcomes = 4
    static let unheededTime = Interval.milliseconds(1500)
    /// A session is kept this long in silence once another process of the same machine has opened
    /// one with the same key: the proxy was started again.
    static let followedSilence = Interval.seconds(60)
    /// Hellos of unknown users that are told: 5 at once, one every 10 s.
    static let strangerRate = 0.1
    static let strangerBurst = 5.0
    /// Cookies a proxy holds, a pair of uplink and address each.
    static let heldCookies = 32
    /// A connection that has not said whither for so long is given up. A proxy says it in the SYN.
    static let prefaceTimeout = Interval.seconds(10)
    /// Connections of a user that wind up after their end, beyond those it may have open.
    static let minimumWindingUp = 1_000
    /// How often it is told that a user met a limit.
    static let limitSilence = Interval.seconds(10)
    /// How often one cached welcome is repeated to copies of its hello: every uplink to every
    /// address.
    static let welcomeRepeats = 32
    /// Handshake datagrams waiting for the next batch; more are dropped, the peer repeats itself.
    /// Cookies leave some of the room to others.
    static let outbox = 128
    static let outboxCookies = 64
    /// Handshake attempts whose answer is still accepted.
    static let handshakeAttempts = 4
    /// Datagrams held back for an address that has yet to show that it receives: a first window's
    /// worth.
    static let heldDatagrams = 24
    /// Of the three times as much that an address may get before it has answered: for the question,
    /// twice.
    static let challengeSpace = 80
    /// An unanswered question is repeated at least this often while something comes from there,
    /// whatever round trip was measured on the path before.
    static let maximumChallengeWait = Interval.milliseconds(250)
    static let maximumHold = Interval.milliseconds(500)
    /// Full datagrams with which a path is opened that has to carry data at once: the concentrator
    /// may answer three times as much before it knows that the address receives, which is its first
    /// window.
    static let wakePadding = 6
    /// Plain bytes of the first of them: three times as much holds a challenge and a full segment.
    static let firstPadded = 540
    /// Answers to segments of unknown subflow numbers in one turn: about as many as a datagram
    /// holds. They are shorter than what asks for them, and are not answered.
    static let resetsPerTurn = 512
    /// The smallest payload of a full segment, bytes (RFC 9293 section 3.7.1): whoever announces
    /// less gets this.
    static let minimumSegmentSize = 536
    /// Resting numbers freed in one go, with each number that is given or taken.
    static let numbersPerWake = 16
    /// Changes of paths that one datagram may announce: a proxy says each path's state once. An
    /// address, of which a concentrator has 8, counts twice: it may open and close several paths.
    static let statesPerDatagram = 2 * paths
    /// SYNs that one datagram may hold, to open or to join a connection: six to ten microseconds
    /// each where the memory is new. Those behind them count as lost, and whoever sends begins
    /// another datagram.
    static let openingsPerDatagram = 4
    /// Connections of sessions that have ended that fail in each `advance` and `transmit`.
    static let streamsPerTurn = 64
    /// What notifying connections of what a datagram said of a path may cost in each `advance` and
    /// `transmit` (`ArrivalWork`): both together as much as reading one. The others hear of it in
    /// the following turns, or before they are used next.
    static let newsPerTurn = 15_000
    /// Segments pulled from one connection before the next one's turn: 45 kB, one GSO message.
    static let segmentsPerVisit = 32

    /// A record's key is replaced after this time (or `recordsPerKey`), at the next sending.
    static let keyLifetime = Interval.seconds(120)
    static let recordsPerKey: UInt64 = 1 << 60
    static let maximumRekeyWait = Interval.seconds(10)
    /// A concentrator makes new keys this often at most (each costs four Diffie-Hellman operations,
    /// 180 microseconds); a proxy looks at an answer to its rekey this often.
    static let rekeyInterval = Interval.seconds(10)
    static let rekeyAnswerInterval = Interval.milliseconds(50)
    /// Of all sessions, in one turn; the others wait for the next one.
    static let rekeysPerTurn = 2
    /// How long the replaced key still opens: late datagrams come within the deepest queue's delay.
    static let oldKeyLifetime = Interval.seconds(5)

    /// Keys older than `EndpointConfiguration.keyDeath` send nothing; what comes with them is
    /// opened for this much longer, as the other end's are younger by the time a rekeying takes.
    static let keyGrace = Interval.seconds(10)
    /// Handshakes that went on with the session and were not followed by a record: then a new one
    /// is asked for.
    static let vainResumptions = 3
    /// Handshakes at once by which a session may go on.
    static let successors = 4
    /// Bytes a second, and at once, to addresses of a session that have not shown that they
    /// receive: what sixteen paths need that are opened in the middle of a download
    /// (`wakePadding`).
    static let unvalidatedRate = 32_768.0
    static let unvalidatedBurst = 400_000.0

    /// A proxy's NAT binding lives at least 30 s (RFC 4787 asks for 120). A path that rests beside
    /// one that works has none.
    static let keepalive = Interval.seconds(20)
    /// RTT is measured this often on paths in use while something is being transferred.
    static let warmProbe = Interval.seconds(1)
    /// "Something is being transferred" for this long after the last payload.
    static let activity = Interval.seconds(10)
    /// All paths silent for this long: a new handshake is tried beside the probes.
    static let handshakeAfterSilence = Interval.seconds(3)
    /// No path works for this long, though something is heard: the same.
    static let handshakeWithoutPath = Interval.seconds(10)
    /// And at most this long, where handshakes bring no path that full datagrams pass.
    static let maximumHandshakeWithoutPath = Interval.seconds(300)
    /// A session that heard nothing for this long is asked for at its next use already.
    static let handshakeAfterIdleness = Interval.seconds(45)

    static let firstHandshakeTimeout = Interval.milliseconds(250)
    static let waitingHandshakeTimeout = Interval.seconds(2)
    static let idleHandshakeTimeout = Interval.seconds(10)

    /// Segments that the first flights of all subflows may have that begin on a path within a
    /// second, and the minimum of each: 64 downloads at once would else begin with six seconds
    /// of a 2 Mbit/s link.
    static let firstFlights = 64
    static let minimumFirstFlight = 4
    /// What the peer may hold back an acknowledgement (its delayed-ACK timer).
    static let peerAckDelay = Interval.milliseconds(25)
    static let minimumVariation = Interval.milliseconds(20)
    /// The same for a probe that silence called for: a quarter of the shortest round trip, within
    /// `minimumProbeVariation` and `minimumVariation`.
    static let minimumProbeVariation = Interval.milliseconds(8)
    /// An answer to a silence's probe that is so much later than usual brings doubt: an eighth of
    /// the shortest round trip, within these.
    static let minimumDoubtMargin = Interval.milliseconds(4)
    static let maximumDoubtMargin = Interval.milliseconds(10)
    /// Only data that came in a row for so long raises doubt where it breaks off.
    static let steadyStreak = Interval.seconds(1)
    /// Payload of at least so many bytes may fill a segment (one of the base size has more); and by
    /// how much the heads of full segments differ.
    static let fullPayload = 1_100
    static let headVariation = 32
    /// A path's time-out while nothing was measured on it.
    static let initialTimeout = Interval.milliseconds(250)
    /// And whatever was: a process that stood still for minutes measures them, and would wait for
    /// as long.
    static let maximumTimeout = Interval.seconds(10)
    /// What an answer that ends a silence counts for as a round trip, at most, where less was
    /// known.
    static let maximumStallSample = Interval.milliseconds(500)
    /// What takes so long is no round trip: clocks were set, or the answer is to somebody else.
    static let maximumSample = Interval.seconds(60)
    static let suspectProbe = Interval.milliseconds(30)
    /// A suspect path is probed this often for its first minute while something is being
    /// transferred, later only `maximumSuspectProbe`.
    static let freshSuspectProbe = Interval.milliseconds(30)
    static let freshSuspicion = Interval.seconds(60)
    static let maximumSuspectProbe = Interval.milliseconds(300)
    /// Of a pair of uplink and address that never answered, while another path of the uplink works.
    static let maximumFutileProbe = Interval.seconds(30)
    static let maximumIdleProbe = Interval.seconds(5)
    /// Probes without an answer that make a path suspect even while datagrams arrive on it: it may
    /// be dead in our direction only.
    static let unansweredWhileHearing = 6
    static let minimumSignalInterval = Interval.milliseconds(50)
    static let maximumSignalInterval = Interval.seconds(2)
    /// Bulk datagrams have no room for a signal; a separate one goes this often beside them.
    static let signalBesideBulk = Interval.milliseconds(10)
    /// Arrivals this far apart are no streak.
    static let streakBreak = Interval.milliseconds(300)
    /// Arrivals in a row that count as a streak whose end is worth a probe.
    static let streakLength = 8
    /// The minimum silence behind a streak that is worth a probe, and the maximum however arrivals
    /// varied, where they come more often than every 8 ms.
    static let minimumStreakSilence = Interval.milliseconds(15)
    static let maximumStreakSilence = Interval.milliseconds(30)

    /// A subflow number rests this long before it is given again; the concentrator lets go sooner.
    static let numberRest = Interval.seconds(45)
    static let listenerNumberRest = Interval.seconds(10)
    /// How long, and how many at most, the SYNs that opened connections are remembered: a proxy
    /// repeats one for up to two minutes, and it may be under way for minutes more.
    static let openingMemory = Interval.seconds(600)
    static let openings = 2_048
    /// Address space is taken for as many connections as there may be, and for no more than these.
    static let reservedStreams = 1 << 17
    /// Resets of aborted connections that are repeated, while no word comes that the peer knows,
    /// after a round trip and then with doubling waits; less long than a number rests, since it
    /// names nothing else meanwhile.
    static let unconfirmedResets = 4_096
    static let resetMemory = Interval.seconds(40)
    /// A datagram full of them goes on a path; the next follows after this: 12 Mbit/s at most.
    static let resetPause = Interval.milliseconds(1)
    /// A connection without a subflow is kept this long by a listener whose peer could join.
    static let orphanTimeout = Interval.seconds(30)
    /// Single mode: a connection without payload for so long leaves its lost path later, at
    /// leisure, each in its own time.
    static let quiet = Interval.seconds(2)
    static let dormancy = Interval.seconds(12)
    static let dormancySpread = Interval.milliseconds(100)
    static let firstJoinRetry = Interval.milliseconds(100)
    static let maximumJoinRetry = Interval.seconds(30)

    /// Single mode: how long a path that nobody wants any more is kept for what is under way on it,
    /// and how often it is looked at meanwhile.
    static let leaveTimeout = Interval.seconds(3)
    static let leaveInterval = Interval.milliseconds(50)

    /// Addresses a concentrator announces; the table's width.
    static let announcedAddresses = 8

    /// Bytes of an IP packet with which every path begins and which it must take to carry data;
    /// less than half of the room to an Ethernet's 1,500 is lost until the first probe is answered.
    static let basePacket = 1280
    /// A question in a datagram of at least so many bytes (UDP payload) is answered as long: an
    /// IPv6 base datagram.
    static let minimumBaseDatagram = 1232

    /// How long a record of another session is taken for a sign that several are served.
    static let mixedTime = Interval.milliseconds(100)

    /// A frame of at most this many payload bytes shares a datagram with others.
    static let smallPayload = 600
}
