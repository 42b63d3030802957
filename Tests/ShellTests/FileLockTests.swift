import Glibc
import Testing

@testable import Shell

@Suite struct FileLockTests {
    private func file() -> Int32 {
        open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
    }

    @Test func whoeverHoldsItForGoodHoldsNobodyUp() {
        let first = file(), second = file()
        defer {
            close(first)
            close(second)
        }
        #expect(FileLock.take(first))
        #expect(!FileLock.take(second) && errno == EWOULDBLOCK)
        FileLock.release(first)
        #expect(FileLock.take(second))
    }
}
