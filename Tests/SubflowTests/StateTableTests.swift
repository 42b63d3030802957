import Subflow
import Testing
import Wire

/// RFC 9293 section 3.10.7.4 and RFC 5961 as a table: synchronized states, and what a segment does
/// to each.
@Suite struct StateTableTests {
    static func make(_ place: Place) -> (script: Script, next: Int) {
        (place.make(), place.peerClosed ? 2 : 1)
    }

    @Test(arguments: Place.synchronized) func exactResetCloses(_ place: Place) {
        let (s, next) = Self.make(place)
        s.inject("R", seq: next)
        #expect(s.subflow.state == .closed && s.arrival.wasReset)
        #expect(s.out() == [])
    }

    @Test(arguments: Place.synchronized) func resetElsewhereInTheWindowIsChallenged(_ place: Place)
    {
        let (s, next) = Self.make(place), before = s.subflow.state
        s.inject("R", seq: next + 500)
        #expect(s.subflow.state == before && !s.arrival.wasReset)
        #expect(s.out().count == 1, "one challenge ACK (RFC 5961 section 3.2)")
    }

    @Test(arguments: Place.synchronized) func resetOutsideTheWindowIsIgnored(_ place: Place) {
        let (s, next) = Self.make(place), before = s.subflow.state
        for offset in [-5_000, 200_000] { s.inject("R", seq: next + offset) }
        #expect(s.subflow.state == before)
        #expect(s.out() == [])
    }

    @Test(arguments: Place.synchronized) func synIsChallengedWhereverItStands(_ place: Place) {
        for offset in [-5_000, 0, 500, 200_000] {
            let (s, next) = Self.make(place), before = s.subflow.state
            s.inject("S", seq: next + offset)
            #expect(s.subflow.state == before && s.arrival.isUnacceptable)
            #expect(s.out().count == 1, "one challenge ACK (RFC 5961 section 4.2)")
        }
    }

    @Test(arguments: Place.synchronized) func acknowledgementOfWhatWasNeverSentIsAnswered(
        _ place: Place
    ) {
        let (s, next) = Self.make(place), before = s.subflow.state
        s.inject("A", seq: next, ack: 50_000)
        #expect(s.subflow.state == before && s.arrival.isUnacceptable)
        #expect(s.out().count == 1)
    }

    @Test(arguments: Place.synchronized) func dataOutsideTheWindowIsAnsweredAndNotTaken(
        _ place: Place
    ) {
        for offset in [-3_000, 150_000] {
            let (s, next) = Self.make(place), before = s.subflow.state
            s.inject("A", seq: next + offset, ack: 1, length: 100)
            #expect(s.subflow.state == before && s.arrival.text.isEmpty)
            #expect(s.out().count == 1)
        }
    }
}
