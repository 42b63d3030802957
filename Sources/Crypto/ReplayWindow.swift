/// Which packet numbers of a path arrived: 8,192 wide (the block-wise bitmap of RFC 6479).
public struct ReplayWindow {
    /// How far behind `highest` a number may lie and still be judged.
    public static let width: UInt64 = 8_192
    /// One block more than the width, so that a whole block is cleared at a time while every number
    /// of the window still has its bit (RFC 6479 section 3).
    private static let blocks: UInt64 = width / 64 + 1

    /// The highest number accepted so far; 0 where none.
    public private(set) var highest: UInt64 = 0
    private var bitmap = [UInt64](repeating: 0, count: Int(ReplayWindow.blocks))

    /// Every number is fresh.
    public init() {}

    /// Whether `number` is new. Cheap; ask before opening a record.
    public func isFresh(_ number: UInt64) -> Bool {
        if number > highest { return true }
        if highest - number >= Self.width { return false }
        return bitmap[Self.block(number)] & Self.bit(number) == 0
    }

    /// Notes `number` after its record proved authentic; false where it was not fresh.
    public mutating func accept(_ number: UInt64) -> Bool {
        guard isFresh(number) else { return false }
        if number > highest {
            let last = highest >> 6
            for step in 0..<min((number >> 6) - last, Self.blocks) {
                bitmap[Int((last &+ 1 &+ step) % Self.blocks)] = 0
            }
            highest = number
        }
        bitmap[Self.block(number)] |= Self.bit(number)
        return true
    }

    private static func block(_ number: UInt64) -> Int { Int((number >> 6) % blocks) }
    private static func bit(_ number: UInt64) -> UInt64 { 1 << (number & 63) }
}
