import CDatagram
import Crypto

/// The kernel's randomness, which the engine gets as an argument.
public enum SystemRandom {
    /// 32 unpredictable bytes from the kernel.
    public static func key() -> Key32 {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { bytes in
            precondition(
                braid_random(bytes.baseAddress, 32) == 0, "the kernel gives no random bytes")
            return Key32(UnsafeRawBufferPointer(bytes))
        }
    }
}
