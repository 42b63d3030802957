import Measures

/// RFC 7323 section 3.2: TSval and TSecr, in the sender's clock ticks.
public struct Timestamps: Hashable, Sendable {
    public var value: UInt32 = 0
    public var echo: UInt32 = 0
    public init() {}
    public init(value: UInt32, echo: UInt32) { self.value = value; self.echo = echo }
}

/// Up to four blocks received out of order, the most recent first (RFC 2018 section 3), half-open.
public struct SACKBlocks: Sendable {
    public struct Block: Hashable, Sendable {
        public var start: SubflowSequence
        public var end: SubflowSequence
        @inlinable public init(start: SubflowSequence, end: SubflowSequence) { self.start = start; self.end = end }
    }
    public static let capacity = 4
    public private(set) var count = 0
    var blocks = InlineArray<4, Block>(repeating: Block(start: SubflowSequence(0), end: SubflowSequence(0)))

    public init() {}
    public subscript(i: Int) -> Block { blocks[i] }
    public mutating func removeAll() { count = 0 }
    /// Adds a block behind those there are; one beyond the fourth is left out.
    public mutating func append(_ block: Block) {
        guard count < Self.capacity else { return }
        blocks[count] = block
        count += 1
    }
}
