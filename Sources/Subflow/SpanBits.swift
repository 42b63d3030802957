/// A bit for each place of a ring.
struct SpanBits {
    private var words: UnsafeMutablePointer<UInt64>?

    /// For `count` places, all clear.
    mutating func resize(_ count: Int) {
        deallocate()
        let size = (count &+ 63) >> 6
        words = UnsafeMutablePointer<UInt64>.allocate(capacity: size)
        words!.initialize(repeating: 0, count: size)
    }
    mutating func deallocate() {
        free()
        words = nil
    }
    func free() { words?.deallocate() }
    @inline(__always) func word(_ place: Int) -> UInt64 { words.unsafelyUnwrapped[place >> 6] }
    @inline(__always) func set(_ place: Int) {
        words.unsafelyUnwrapped[place >> 6] |= 1 << UInt64(place & 63)
    }
    @inline(__always) func clear(_ place: Int) {
        words.unsafelyUnwrapped[place >> 6] &= ~(1 << UInt64(place & 63))
    }
}
