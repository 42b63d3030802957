import Measures
import Testing

@testable import Simulator

/// Downloads whose WiFi goes silent, in sessions with a past: what cellular carries arrives. Each
/// seed is one that did not do so once; `simulate silences` runs thousands.
@Suite struct SilentLossTests {
    /// Single mode: cellular is joined before WiFi is known to be silent. It takes 163 ms else.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func theOtherPathIsJoinedInTime(_ seed: UInt64) {
        let record = HandoverTrial(.download, .single, .silent, seed: seed).run()
        #expect(record.failure == nil)
        #expect(
            record.longestGap <= .milliseconds(161),
            "\(record.longestGap.nanoseconds / 1_000) us")
    }

    /// 170: the question to a path that was opened for the handover was lost, and not repeated for
    /// as long as a round trip measured in an outage; until it is answered, three times what comes
    /// from there may go there. 310: only the way down went silent; seconds later the download
    /// passed for a connection that nobody uses. 704: a question was under way when full
    /// datagrams were suspected; its answer passed for that of the short probe beside them, and
    /// everything under way went again in shorter ones. 785: the answers were late by turns.
    @Test(arguments: [170, 310, 704, 785] as [UInt64]) func theOtherPathCarriesWhatItCan(
        _ seed: UInt64
    ) {
        let outcome = SilentLossTrial(seed: seed).run()
        #expect(outcome.failure == nil)
        #expect(
            outcome.minimumShare >= 0.75,
            "\(outcome.minimumShare) at \(outcome.minimumAt.nanoseconds / 1_000_000) ms")
    }
}
