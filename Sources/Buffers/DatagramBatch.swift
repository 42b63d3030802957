import Measures

/// Datagrams ready to be sent, in an arena that is written once and handed to the kernel as it is.
///
/// Datagrams are written into *lanes* (one per path) so that those of one path lie one behind the
/// other: a run of equal sizes to one destination is one `UDP_SEGMENT` message. Nothing is
/// allocated after `init`.
public final class DatagramBatch {
    /// A run of datagrams for one destination through one uplink: all `segmentSize` long but the
    /// last, which may be shorter.
    public struct Run {
        /// The number of the uplink by which they leave.
        public var uplink: UplinkNumber
        /// Where they go.
        public var remote: SocketAddress
        /// The address to send from, where the socket serves several; unspecified lets the kernel
        /// choose.
        public var local: IPAddress
        /// Where the first one begins in `arena`, bytes.
        public var offset: Int
        /// Bytes of all of them.
        public var length: Int
        /// Bytes of each but the last, which may be shorter.
        public var segmentSize: Int
        /// How many they are.
        public var datagrams: Int
    }

    /// Lanes: one for each path up to eight, then shared.
    public static let laneCount = 8
    /// The kernel's limits for one UDP_SEGMENT message: 64 segments, 65,507 bytes of payload.
    public static let maximumSegments = 64
    /// Bytes of a run: what a UDP datagram may have, less its headers.
    public static let maximumRunBytes = 65_000
    /// The longest datagram a lane takes: an MTU of 1500 and some room for jumbo probes.
    public static let maximumDatagram = 2048

    /// The memory of all lanes, one behind the other.
    public let arena: UnsafeMutableRawPointer
    /// Bytes of each lane.
    public let laneBytes: Int
    /// The runs of every lane, ready to send.
    public private(set) var runs: [Run] = []
    private var laneEnd: [Int]
    /// The index of each lane's open run.
    private var laneRun: [Int?]
    private let receiverBits: UInt32

    /// `laneBytes`: at least `maximumDatagram`. `receiverBits`: of a datagram's first four bytes
    /// (little-endian) those by which the other machine tells its processes at one port apart: of a
    /// run its kernel sees the first datagram alone, so that all of them are the same process's.
    public init(laneBytes: Int = 128 << 10, receiverBits: UInt32 = 0) {
        self.laneBytes = laneBytes
        self.receiverBits = receiverBits
        arena = .allocate(byteCount: laneBytes * Self.laneCount, alignment: 64)
        laneEnd = (0..<Self.laneCount).map { $0 * laneBytes }
        laneRun = Array(repeating: nil, count: Self.laneCount)
        runs.reserveCapacity(256)
    }
    deinit { arena.deallocate() }

    /// No datagram waits.
    public var isEmpty: Bool { runs.isEmpty }

    /// Room for one datagram of up to `maximumDatagram` bytes in `lane`; nil where the lane is
    /// full, which ends the batch for that path.
    public func reserve(lane: Int) -> UnsafeMutableRawPointer? {
        laneEnd[lane] + Self.maximumDatagram <= (lane + 1) * laneBytes ? arena + laneEnd[lane] : nil
    }

    /// Bytes left in `lane`.
    public func room(lane: Int) -> Int { (lane + 1) * laneBytes - laneEnd[lane] }

    /// Closes the datagram just written into `lane`.
    public func commit(
        lane: Int, length: Int, uplink: UplinkNumber, remote: SocketAddress, local: IPAddress
    ) {
        precondition(length > 0 && length <= Self.maximumDatagram)
        let offset = laneEnd[lane]
        laneEnd[lane] = offset + length
        if let open = laneRun[lane], runs[open].uplink == uplink, runs[open].remote == remote,
            runs[open].local == local,
            length <= runs[open].segmentSize,
            runs[open].length == runs[open].datagrams * runs[open].segmentSize,
            runs[open].datagrams < Self.maximumSegments,
            runs[open].length + length <= Self.maximumRunBytes,
            (firstBytes(runs[open].offset) ^ firstBytes(offset)) & receiverBits == 0
        {
            runs[open].length += length
            runs[open].datagrams += 1
        } else {
            laneRun[lane] = runs.count
            runs.append(
                Run(
                    uplink: uplink, remote: remote, local: local, offset: offset, length: length,
                    segmentSize: length, datagrams: 1))
        }
    }

    /// Of a datagram that stands there; a lane has space for four bytes behind a shorter one.
    @inline(__always) private func firstBytes(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: arena.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// Forgets all runs: they were sent, or are lost.
    public func removeAll() {
        runs.removeAll(keepingCapacity: true)
        for lane in 0..<Self.laneCount { laneEnd[lane] = lane * laneBytes; laneRun[lane] = nil }
    }
}
