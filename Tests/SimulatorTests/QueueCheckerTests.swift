import Measures
import Testing

@testable import Simulator

/// A queue that stands is a failure, one that leaves is none.
@Suite struct QueueCheckerTests {
    /// Looks for 15 s at a queue of `backlog` bytes after so many seconds, of which 1,000 may stand.
    private func failure(
        limit: Int? = 1_000, disturbedAt: Int? = nil, _ backlog: (Double) -> Double
    ) -> String? {
        var checker = QueueChecker()
        for bin in 1...75 {
            if bin == disturbedAt { checker.disturbed() }
            let link = QueueChecker.Link(
                name: "down 0", backlog: Int(backlog(Double(bin) / 5)), limit: limit)
            checker.look(at: .zero + .milliseconds(Int64(bin) * 200)) { [link] }
        }
        return checker.failure
    }

    @Test func aQueueThatStands() {
        #expect(failure { _ in 2_000 } == "down 0: 2000 bytes stand in a queue of which 1000 may")
        #expect(failure { 9_000 - 100 * $0 } != nil, "a tenth less in ten seconds")
    }

    @Test func whatMayBe() {
        #expect(failure { _ in 1_000 } == nil)
        #expect(failure { 9_000 - 500 * $0 } == nil, "it leaves")
        #expect(failure { $0 == 8 ? 900 : 2_000 } == nil, "it was gone once")
        #expect(failure(disturbedAt: 40) { _ in 2_000 } == nil, "another line since then")
        #expect(failure(limit: nil) { _ in 2_000 } == nil)
    }
}
