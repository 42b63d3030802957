import Buffers
import Crypto
import Measures
import Multipath
import Subflow
import Wire

/// One way between the two ends of a session: where it leads, whether it works, what was measured
/// on it, and the small frames that wait for its next datagram.
final class Path {
    let id: PathID
    var uplinkName: String
    /// Where the peer is, and by what it is reached. The proxy sticks to the address it dialled.
    var address: PathAddress
    /// Whether that has shown that it receives (concentrator).
    var validation: AddressValidation
    /// Fixed at first use, so that a trace shows one pair of addresses for a path's whole life.
    var traceAddresses: (local: IPAddress, remote: IPAddress)?

    var role = PathRole()
    /// What the proxy says of the path.
    var statement = PathStatement()
    var records = PathRecords()

    /// How long datagrams may be.
    var mtu: PathMTU
    /// Whether it works.
    var monitor = HealthMonitor()
    var traffic = PathTraffic()
    /// What its connections are to hear of.
    var changes = Changes()
    /// What waits for a datagram.
    let waiting = WaitingFrames()

    init(
        id: PathID, uplinkName: String, address: PathAddress, datagramLimit: Int,
        isValidated: Bool
    ) {
        self.id = id
        self.uplinkName = uplinkName
        self.address = address
        validation = AddressValidation(isValidated: isValidated)
        mtu = PathMTU(
            base: DatagramSizes.baseDatagram(isIPv4: address.remote.address.isIPv4),
            ceiling: datagramLimit)
    }

    /// Datagrams of different paths leave in different runs.
    @inline(__always) var lane: Int { id.number % DatagramBatch.laneCount }
    var remote: SocketAddress { address.remote }
    var uplink: UplinkNumber { address.uplink }
    var datagramLimit: Int { mtu.current }
    @inline(__always) var health: PathHealth { monitor.health }
    @inline(__always) var isOpen: Bool { monitor.isOpen }
    var roundTrip: PathRoundTrip { monitor.roundTrip }

    /// With other keys the numbers begin again; what was under way with the old ones is lost.
    func restartNumbers() {
        records = PathRecords()
        traffic.loss.restart()
    }

    /// Within this time a probe should be answered.
    var probeTimeout: Interval { roundTrip.probeTimeout }

    /// Bytes of plain frames that the next datagram still takes.
    var frameSpace: Int {
        datagramLimit - DatagramHeader.size - RecordCipher.tagBytes - waiting.count
    }

    /// Whether a plain frame of `length` bytes goes into the next datagram, which costs its reader
    /// `work` (`ArrivalWork`).
    @inline(__always) func takes(_ length: Int, work: Int = ArrivalWork.frame) -> Bool {
        length <= frameSpace && waiting.work + work <= ArrivalWork.maximumSent
    }

    /// Where it goes; nil where it doesn't fit any more.
    func append(_ length: Int, work: Int = ArrivalWork.frame) -> UnsafeMutableRawPointer? {
        guard takes(length, work: work) else { return nil }
        return waiting.append(length, work: work)
    }

    /// Something waits for a flush.
    var hasWaiting: Bool {
        waiting.longProbe != nil || waiting.longAnswer != nil || mtu.hasProbe
            || waiting.count > 0 || statement.isDue || waiting.paddingDue > 0
            || validation.check?.isDue == true
    }
}

/// The numbers of a path's records, in both directions.
struct PathRecords {
    /// Numbers start at 1 and never start again while the keys of one handshake live, whatever the
    /// epoch and the incarnation, so that no nonce is used twice.
    private(set) var next: UInt64 = 1
    var replay = ReplayWindow()

    /// The number of the next record on this path.
    mutating func takeNumber() -> UInt64 {
        precondition(next < 1 << 62, "a path's packet numbers are used up")
        defer { next += 1 }
        return next
    }
}

/// What a path is used for.
struct PathRole {
    /// Its uplink is a backup one, and the effective mode is backup: it rests.
    var isBackup = false
    /// Its uplink has the role, whatever the mode.
    var isReserve = false
    /// It is kept awake while something is transferred (proxy).
    var isWarm = false
    /// When it is closed since nobody wants it any more, even if subflows live on it still.
    var leaveBy = Instant.distantFuture
    /// What it costs beside the others.
    var cost = PathCosts.Cost.usual
    /// Nothing goes on it by itself.
    var isResting: Bool { isBackup || cost != .usual }
}

/// Frames of a path that wait for a datagram: the small ones, written one behind another, and
/// those that get a datagram of their own.
final class WaitingFrames {
    let bytes = UnsafeMutableRawPointer.allocate(
        byteCount: DatagramBatch.maximumDatagram, alignment: 16)
    private(set) var count = 0 {
        didSet { if count == 0 { work = 0 } }
    }
    /// What they cost their reader at most.
    private(set) var work = 0
    /// A question and an answer of the base size, in datagrams of their own.
    var longProbe: ProbeFrame?
    var longAnswer: ProbeFrame?
    /// Full datagrams still to be sent ahead of an answer, each of which lets the peer send three.
    var paddingDue = 0
    deinit { bytes.deallocate() }

    func append(_ length: Int, work more: Int) -> UnsafeMutableRawPointer {
        defer {
            count += length
            work += more
        }
        return bytes + count
    }

    /// The small frames; they stand until the next ones are written.
    func take() -> UnsafeRawBufferPointer {
        defer { count = 0 }
        return UnsafeRawBufferPointer(start: bytes, count: count)
    }
    func removeSmall() { count = 0 }
    func removeAll() {
        count = 0
        longProbe = nil
        longAnswer = nil
    }
}

/// The paths of a session, by their IDs.
struct PathTable: Sequence {
    private var paths: [Path?] = Array(repeating: nil, count: Limits.paths)

    /// All IDs that a path may have.
    static let all = (0..<Limits.paths).map { PathID($0) }
    /// Whether there may be such a path.
    static func contains(_ octet: UInt8) -> Bool { octet < Limits.paths }

    /// Where the path from an uplink to an address stands, or may stand.
    enum Place {
        case existing(Path)
        /// Nothing uses this one any more: it may lead there.
        case abandoned(Path)
        case empty(PathID)
    }

    /// The place of the path from an uplink to an address: that which it had before, else an empty
    /// one, else that of a path whose uplink is none any more (`isThere`), which is closed, and of
    /// which all is said. Nil where there is none of these.
    func place(
        from uplink: UplinkNumber, to remote: SocketAddress, isThere: (UplinkNumber) -> Bool
    ) -> Place? {
        var empty: PathID?, abandoned: Path?
        for id in PathTable.all {
            guard let path = self[id] else {
                if empty == nil { empty = id }
                continue
            }
            if path.uplink == uplink, path.remote == remote { return .existing(path) }
            if empty == nil, abandoned == nil, !path.isOpen, !path.statement.isPending,
                !isThere(path.uplink)
            {
                abandoned = path
            }
        }
        return empty.map { .empty($0) } ?? abandoned.map { .abandoned($0) }
    }

    var first: Path?? { paths.first }
    func makeIterator() -> IndexingIterator<[Path?]> { paths.makeIterator() }

    /// Nil where there is none, and where there may be none.
    @inline(__always) subscript(id: PathID) -> Path? {
        get { paths.indices.contains(id.number) ? paths[id.number] : nil }
        set { paths[id.number] = newValue }
    }
}
