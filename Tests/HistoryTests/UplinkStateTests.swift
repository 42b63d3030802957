import Testing

@testable import History

@Suite struct UplinkStateTests {
    @Test func anUplinkIsSilentWhenItsLastPathIs() {
        var states = UplinkStates()
        #expect(states.appeared("wlan0")?.kind == .uplinkAppeared)
        #expect(states.appeared("wlan0") == nil)
        #expect(
            states.path(0, session: 0, of: "wlan0", is: .usable, at: 10)
                == .init(kind: .uplinkCarries))
        #expect(states.path(1, session: 0, of: "wlan0", is: .usable, at: 11) == nil)
        #expect(states.path(0, session: 0, of: "wlan0", is: .suspect, at: 20) == nil)
        #expect(
            states.path(1, session: 0, of: "wlan0", is: .suspect, at: 30)
                == .init(kind: .uplinkSilent))
        #expect(
            states.path(0, session: 0, of: "wlan0", is: .lost, at: 40) == .init(kind: .uplinkLost))
        #expect(states.path(1, session: 0, of: "wlan0", is: .lost, at: 41) == nil)
        #expect(
            states.path(1, session: 0, of: "wlan0", is: .usable, at: 1_030)
                == .init(kind: .uplinkCarries, silence: 1_000))
    }

    @Test func goneIsSaidOnce() {
        var states = UplinkStates()
        _ = states.appeared("wlan0")
        _ = states.path(0, session: 0, of: "wlan0", is: .usable, at: 10)
        #expect(states.vanished("wlan0", at: 20)?.kind == .uplinkVanished)
        #expect(states.vanished("wlan0", at: 21) == nil)
        #expect(states.path(0, session: 0, of: "wlan0", is: .lost, at: 22) == nil)
        #expect(states.appeared("wlan0")?.kind == .uplinkAppeared)
        #expect(
            states.path(0, session: 0, of: "wlan0", is: .usable, at: 120)
                == .init(kind: .uplinkCarries, silence: 100))
        #expect(states.vanished("eth9", at: 1) == nil)
    }

    @Test func aRefusalToSendIsNoRest() {
        var states = UplinkStates()
        _ = states.appeared("wlan0")
        _ = states.path(0, session: 0, of: "wlan0", is: .usable, at: 10)
        states.failed("wlan0", at: 20)
        #expect(states.path(0, session: 0, of: "wlan0", is: .lost, at: 21) == nil)
        #expect(states.vanished("wlan0", at: 22)?.kind == .uplinkVanished)
        _ = states.appeared("wlan0")
        #expect(
            states.path(0, session: 0, of: "wlan0", is: .usable, at: 120)
                == .init(kind: .uplinkCarries, silence: 100))
        states.failed("eth9", at: 1)
        #expect(states.appeared("eth9")?.kind == .uplinkAppeared)
    }

    @Test func closedInOrderIsNoSilence() {
        var states = UplinkStates()
        _ = states.path(0, session: 0, of: "wwan0", is: .usable, at: 10)
        #expect(
            states.path(0, session: 0, of: "wwan0", is: .lost, at: 20) == .init(kind: .uplinkRests))
        #expect(
            states.path(0, session: 0, of: "wwan0", is: .usable, at: 30)
                == .init(kind: .uplinkCarries))
        states.sessionClosed(0)
        #expect(states.path(0, session: 0, of: "wwan0", is: .suspect, at: 40) == nil)
        #expect(
            states.path(0, session: 1, of: "wwan0", is: .usable, at: 50)
                == .init(kind: .uplinkCarries))
    }

    @Test func clockSetBackAndTooManyNames() {
        var states = UplinkStates()
        _ = states.path(0, session: 0, of: "a", is: .usable, at: 1_000)
        _ = states.path(0, session: 0, of: "a", is: .suspect, at: 1_000)
        #expect(states.path(0, session: 0, of: "a", is: .usable, at: 5)?.silence == 0)
        for number in 0..<1_000 { _ = states.appeared("u\(number)") }
        #expect(states.appeared("one more") == nil)
        #expect(states.path(0, session: 0, of: "one more", is: .usable, at: 1) == nil)
    }
}
