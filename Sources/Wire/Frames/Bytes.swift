/// Big-endian loads and stores for the frames of this folder; the caller has checked the bounds.
extension UnsafeRawBufferPointer {
    @inlinable func bigEndian<T: FixedWidthInteger>(_ at: Int, as: T.Type) -> T {
        T(bigEndian: loadUnaligned(fromByteOffset: at, as: T.self))
    }
    @inlinable func low24(_ at: Int) -> UInt32 {
        UInt32(self[at]) << 16 | UInt32(bigEndian(at + 1, as: UInt16.self))
    }
}

extension UnsafeMutableRawPointer {
    @inlinable func store<T: FixedWidthInteger>(bigEndian value: T, at: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: at, as: T.self)
    }
    @inlinable func store(low24 value: UInt32, at: Int) {
        storeBytes(of: UInt8(truncatingIfNeeded: value >> 16), toByteOffset: at, as: UInt8.self)
        store(bigEndian: UInt16(truncatingIfNeeded: value), at: at + 1)
    }
}
