/// A bit for each place of a ring.
struct SpanBits {
    private var words: UnsafeMutablePointer<UInt64>?
    private var size = 0

    /// For `count` places, all clear.
    mutating func resize(_ count: Int) {
        deallocate()
        size = (count &+ 63) >> 6
        words = UnsafeMutablePointer<UInt64>.allocate(capacity: size)
        words!.initialize(repeating: 0, count: size)
    }
    mutating func deallocate() {
        free()
        words = nil
        size = 0
    }
    func free() { words?.deallocate() }
    mutating func clearAll() { words?.update(repeating: 0, count: size) }

    /// The word with the bit of `place`.
    @inline(__always) func word(_ place: Int) -> UInt64 { words.unsafelyUnwrapped[place >> 6] }
    @inline(__always) func isSet(_ place: Int) -> Bool {
        word(place) >> UInt64(place & 63) & 1 != 0
    }
    @inline(__always) func set(_ place: Int) { set(1 << UInt64(place & 63), at: place) }
    @inline(__always) func clear(_ place: Int) { clear(1 << UInt64(place & 63), at: place) }
    /// `bits` of the word with the bit of `place`.
    @inline(__always) func set(_ bits: UInt64, at place: Int) {
        words.unsafelyUnwrapped[place >> 6] |= bits
    }
    @inline(__always) func clear(_ bits: UInt64, at place: Int) {
        words.unsafelyUnwrapped[place >> 6] &= ~bits
    }
}
