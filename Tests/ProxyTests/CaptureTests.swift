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
        let later = Instant.zero + IPv6Reachability.presence
        for _ in 0..<IPv6Reachability.maximumUnreachable {
            found.note(.networkUnreachable, at: later)
            #expect(!found.isAbsent(at: later))
        }
        found.note(.networkUnreachable, at: later)
        #expect(found.isAbsent(at: later))
    }

    /// One client that tries networks without end does not take IPv6 from those who use it.
    @Test func whoReachesSomethingSpeaksForIt() {
        var found = IPv6Reachability()
        for second in 0..<60 {
            let now = Instant.zero + .seconds(Int64(second))
            if second % 5 == 0 { found.note(.connected, at: now) }
            for _ in 0..<100 { found.note(.networkUnreachable, at: now) }
            #expect(!found.isAbsent(at: now))
        }
    }

    /// Who tries every port has a burst and then a pace; another source's is its own, and all of
    /// them together have one.
    @Test func associationsBeginAtAPace() {
        var pace = AssociationPace()
        func begun(_ sources: [String], at now: Instant) -> Int {
            (0..<5_000).count {
                pace.take(IPAddress(sources[$0 % sources.count])!, isProgram: false, at: now)
            }
        }
        #expect(begun(["192.0.2.1"], at: .zero) == 480)
        #expect(begun(["192.0.2.2"], at: .zero) == 480)
        #expect(begun(["192.0.2.3"], at: .zero) == 0, "all have had what they may")
        let isBegun = pace.take(IPAddress("192.0.2.4")!, isProgram: true, at: .zero)
        #expect(isBegun, "this machine's programs have their own")
        #expect(begun(["192.0.2.1"], at: .zero + .seconds(1)) == 200)
        pace.forgetRested(at: .zero + .seconds(60))
        #expect(begun((1...250).map { "192.0.2.\($0)" }, at: .zero + .seconds(60)) == 960)
    }

    @Test func everyFailureHasAnAnswer() {
        for status in DialStatus.allCases where status != .connected {
            if case .accept = CapturedDial.verdict(status) {
                Issue.record("\(status) is let go on")
            }
        }
    }
}
