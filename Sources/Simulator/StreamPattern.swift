/// The bytes of a simulated stream: a pseudo-random function of its key and the offset, so that any
/// byte can be made and checked without being stored; or a recording.
public struct StreamPattern: Hashable, Sendable {
    /// Streams of different keys have nothing in common.
    public var key: UInt64
    /// In place of pseudo-random bytes where it isn't empty; the stream is as long.
    public var recording: [UInt8]
    /// A `recording` that is not empty takes the place of pseudo-random bytes.
    public init(key: UInt64, recording: [UInt8] = []) {
        self.key = key
        self.recording = recording
    }

    /// Bytes 8 × index to 8 × index + 7, little-endian (SplitMix64's finaliser).
    private func word(_ index: UInt64) -> UInt64 {
        var z = key &+ index &* 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// The byte there; within the recording where there is one.
    public subscript(offset: UInt64) -> UInt8 {
        recording.isEmpty
            ? UInt8(truncatingIfNeeded: word(offset / 8) >> (8 * (offset % 8)))
            : recording[Int(offset)]
    }

    /// Writes the stream's bytes from `offset` on.
    public func fill(_ out: UnsafeMutableRawBufferPointer, from offset: UInt64) {
        var i = 0
        if !recording.isEmpty {
            for i in 0..<out.count { out[i] = recording[Int(offset) + i] }
            return
        }
        while i < out.count, (offset + UInt64(i)) % 8 != 0 {
            out[i] = self[offset + UInt64(i)]; i += 1
        }
        while i + 8 <= out.count {
            out.storeBytes(
                of: word((offset + UInt64(i)) / 8).littleEndian, toByteOffset: i, as: UInt64.self)
            i += 8
        }
        while i < out.count { out[i] = self[offset + UInt64(i)]; i += 1 }
    }

    /// The index of the first byte that differs from the stream's at `offset` on; nil where all are
    /// right.
    public func firstDifference(_ bytes: UnsafeRawBufferPointer, from offset: UInt64) -> Int? {
        var i = 0
        while i < bytes.count {
            let at = offset + UInt64(i)
            if recording.isEmpty, at % 8 == 0, i + 8 <= bytes.count,
                UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self))
                    == word(at / 8)
            {
                i += 8
            } else if recording.isEmpty || at < UInt64(recording.count), bytes[i] == self[at] {
                i += 1
            } else {
                return i
            }
        }
        return nil
    }
}
