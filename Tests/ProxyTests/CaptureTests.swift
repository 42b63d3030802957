import Measures
import Testing
import Wire

@testable import Proxy

/// What a capture knows by itself; the rest is the kernel's, and Tests/System asks that.
@Suite struct CaptureTests {
    @Test func ipv6IsRefusedOnceItIsAbsent() {
        var found = IPv6Reachability()
        #expect(!found.isAbsent(at: .zero))
        found.note(.networkUnreachable, at: .zero)
        #expect(found.isAbsent(at: .zero + .seconds(29)))
        #expect(!found.isAbsent(at: .zero + .seconds(30)))
    }

    /// One network that can't be reached says nothing of the others, many do.
    @Test(arguments: [DialStatus.connected, .connectionRefused])
    func ipv6ThatWorkedIsNotGivenUpAtOnce(_ status: DialStatus) {
        var found = IPv6Reachability()
        found.note(status, at: .zero)
        for _ in 0..<IPv6Reachability.maximumUnreachable {
            found.note(.networkUnreachable, at: .zero)
            #expect(!found.isAbsent(at: .zero))
        }
        found.note(.networkUnreachable, at: .zero)
        #expect(found.isAbsent(at: .zero))
    }

    @Test func everyFailureHasAnAnswer() {
        for status in DialStatus.allCases where status != .connected {
            if case .accept = CapturedDial.verdict(status) {
                Issue.record("\(status) is let go on")
            }
        }
    }
}
