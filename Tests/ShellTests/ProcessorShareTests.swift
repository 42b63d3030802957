import CDatagram
import Glibc
import Testing

@testable import Shell

@Suite struct ProcessorShareTests {
    /// The kernel takes the wish and keeps the rest of what was set; an older one, which knows no
    /// such wish, answers with 0.
    @Test func shortTurnsAreAskedFor() {
        let nice = getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
        let before = braid_time_slice()
        #expect(braid_set_time_slice(ProcessorShare.timeSlice) == 0)
        let after = braid_time_slice()
        #expect(after == ProcessorShare.timeSlice || before == 0 && after == 0)
        #expect(getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0) == nice)
        _ = braid_set_time_slice(before)
    }
}
