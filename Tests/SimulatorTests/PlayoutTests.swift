import Measures
import Simulator
import Testing

@Suite struct PlayoutTests {
    private func samples(_ delays: [Int64]) -> [ReceptionLog.Sample] {
        delays.enumerated().map { i, delay in
            .init(at: .zero + .milliseconds(20) * Int64(i), delay: .milliseconds(delay))
        }
    }

    @Test func whatComesWithinTheBufferIsNotHeard() {
        #expect(Playout(buffer: .milliseconds(60)).silence(samples([15, 70, 75, 15])) == .zero)
    }

    /// A late block is awaited; those behind it are played as much later, so that they are in time.
    @Test func aLateBlockIsAwaitedOnce() {
        let playout = Playout(buffer: .milliseconds(60))
        #expect(playout.silence(samples([15, 175, 155, 135, 115])) == .milliseconds(100))
        #expect(playout.silence(samples([15, 95, 115, 15])) == .milliseconds(40))
        #expect(playout.silence([]) == .zero)
    }

    @Test func silenceBeforeTheLossDoesNotCount() {
        let playout = Playout(buffer: .milliseconds(60))
        #expect(playout.silence(samples([15, 175, 15]), from: .zero + .seconds(1)) == .zero)
    }
}
