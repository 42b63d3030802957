import Measures

/// RFC 7323 section 3.2: TSval and TSecr, in the sender's clock ticks.
public struct Timestamps: Hashable, Sendable {
    /// TSval: the sender's clock.
    public var value: UInt32 = 0
    /// TSecr: the latest value of the other end's; 0 on a SYN without ACK.
    public var echo: UInt32 = 0
    /// To be filled in.
    public init() {}
    /// From the two values.
    public init(value: UInt32, echo: UInt32) { self.value = value; self.echo = echo }

    static let octets = 10

    @inline(__always) func write(to p: UnsafeMutableRawPointer) {
        p.put(TCPOptionKind.timestamps, 0)
        p.put(UInt8(Self.octets), 1)
        p.put(value, 2)
        p.put(echo, 6)
    }

    /// `p` stands at the kind of an option of `octets` bytes.
    @inline(__always) static func read(_ p: UnsafeRawPointer) -> Timestamps {
        Timestamps(value: p.word32(2), echo: p.word32(6))
    }
}

/// Up to four blocks received out of order, the most recent first (RFC 2018 section 3), half-open.
public struct SACKBlocks: Sendable {
    /// Sequence numbers that have arrived, `start ..< end`.
    public struct Block: Hashable, Sendable {
        /// The first number.
        public var start: SubflowSequence
        /// The number behind the last one.
        public var end: SubflowSequence
        /// From its two edges.
        @inlinable public init(start: SubflowSequence, end: SubflowSequence) {
            self.start = start
            self.end = end
        }
    }
    /// The most blocks 40 bytes of options take.
    public static let capacity = 4
    /// 0 to 4.
    public private(set) var count = 0
    var blocks = InlineArray<4, Block>(
        repeating: Block(start: SubflowSequence(0), end: SubflowSequence(0)))

    /// To be filled in.
    public init() {}
    /// The block with this index, below `count`; the first was received last, or is a duplicate.
    public subscript(i: Int) -> Block { blocks[i] }
    /// No block is left.
    public mutating func removeAll() { count = 0 }
    /// Adds a block behind those there are; one beyond the fourth is left out.
    public mutating func append(_ block: Block) {
        guard count < Self.capacity else { return }
        blocks[count] = block
        count += 1
    }

    /// At least one block (RFC 2018 section 3).
    var octets: Int { 2 + 8 * count }

    func write(to p: UnsafeMutableRawPointer) {
        p.put(TCPOptionKind.sack, 0)
        p.put(UInt8(truncatingIfNeeded: octets), 1)
        for i in 0..<count {
            p.put(blocks[i].start.value, 2 + 8 * i)
            p.put(blocks[i].end.value, 6 + 8 * i)
        }
    }

    /// False, with nothing changed, where the length is not that of one to four blocks.
    mutating func read(_ p: UnsafeRawPointer, length: Int) -> Bool {
        guard length >= 10, length & 7 == 2, length <= 2 + 8 * Self.capacity else { return false }
        count = 0
        var at = 2
        while at < length {
            append(
                Block(start: SubflowSequence(p.word32(at)), end: SubflowSequence(p.word32(at + 4))))
            at += 8
        }
        return true
    }
}

extension SACKBlocks: Equatable {
    /// The same blocks in the same order.
    public static func == (a: SACKBlocks, b: SACKBlocks) -> Bool {
        guard a.count == b.count else { return false }
        for i in 0..<a.count where a.blocks[i] != b.blocks[i] { return false }
        return true
    }
}

/// Kinds of TCP options (IANA, TCP parameters).
enum TCPOptionKind {
    static let end: UInt8 = 0
    static let noOperation: UInt8 = 1
    static let maximumSegmentSize: UInt8 = 2
    static let windowScale: UInt8 = 3
    static let sackPermitted: UInt8 = 4
    static let sack: UInt8 = 5
    static let timestamps: UInt8 = 8
    static let multipath: UInt8 = 30
}

/// Subtypes of MPTCP options (RFC 8684 section 7.2).
enum MultipathSubtype {
    static let capable: UInt8 = 0
    static let join: UInt8 = 1
    static let dss: UInt8 = 2
    static let addAddress: UInt8 = 3
    static let removeAddress: UInt8 = 4
    static let priority: UInt8 = 5
    static let fail: UInt8 = 6
    static let fastClose: UInt8 = 7
    static let reset: UInt8 = 8

    /// Kind, length and the byte of subtype and low bits.
    @inline(__always)
    static func writeHead(
        _ subtype: UInt8, _ lowBits: UInt8, octets: Int, to p: UnsafeMutableRawPointer
    ) {
        p.put(TCPOptionKind.multipath, 0)
        p.put(UInt8(truncatingIfNeeded: octets), 1)
        p.put(subtype << 4 | lowBits, 2)
    }
}
