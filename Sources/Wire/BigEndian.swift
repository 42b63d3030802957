/// Unaligned loads and stores in network byte order. The caller has checked the bounds.
extension UnsafeRawPointer {
    @inline(__always) func byte(_ at: Int) -> UInt8 { load(fromByteOffset: at, as: UInt8.self) }
    @inline(__always) func word16(_ at: Int) -> UInt16 {
        UInt16(bigEndian: loadUnaligned(fromByteOffset: at, as: UInt16.self))
    }
    @inline(__always) func word32(_ at: Int) -> UInt32 {
        UInt32(bigEndian: loadUnaligned(fromByteOffset: at, as: UInt32.self))
    }
    @inline(__always) func word64(_ at: Int) -> UInt64 {
        UInt64(bigEndian: loadUnaligned(fromByteOffset: at, as: UInt64.self))
    }
}

extension UnsafeMutableRawPointer {
    @inline(__always) func put(_ value: UInt8, _ at: Int) {
        storeBytes(of: value, toByteOffset: at, as: UInt8.self)
    }
    @inline(__always) func put(_ value: UInt16, _ at: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: at, as: UInt16.self)
    }
    @inline(__always) func put(_ value: UInt32, _ at: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: at, as: UInt32.self)
    }
    @inline(__always) func put(_ value: UInt64, _ at: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: at, as: UInt64.self)
    }
}
