import Foundation
import Testing

@testable import History

/// The journal keeps the latest, tells its listeners whatever these do meanwhile, and its sentences
/// are what a person reads.
@Suite struct JournalTests {
    private func event(_ text: String) -> Event { Event(time: 1, .note, detail: text) }

    @Test func keepsTheLatest() {
        let journal = EventJournal(capacity: 3)
        for number in 1...5 { journal.append(event("\(number)")) }
        #expect(journal.entries().map(\.event.detail) == ["3", "4", "5"])
        #expect(journal.entries().map(\.sequence) == [3, 4, 5])
        #expect(journal.entries(after: 4).map(\.event.detail) == ["5"])
        #expect(journal.entries(limit: 1).map(\.event.detail) == ["5"])
    }

    @Test func earlierOnesComeFirst() {
        let journal = EventJournal(capacity: 3, earlier: (1...5).map { event("\($0)") })
        #expect(journal.restored == 3 && journal.revision == 3)
        #expect(journal.append(event("6")) == 4)
        #expect(journal.entries().map(\.event.detail) == ["4", "5", "6"])
        #expect(journal.entries().map(\.sequence) == [2, 3, 4])
        #expect(journal.entries(after: 3).map(\.event.detail) == ["6"])
    }

    @Test func amendedOnesAreToldAgain() {
        let journal = EventJournal(capacity: 3)
        var heard: [EventJournal.Entry] = []
        let subscription = journal.subscribe { heard.append($0) }
        let number = journal.append(Event(time: 1, .uplinkSilent, uplink: "wlan0"))
        journal.append(event("b"))
        #expect(journal.amend(number) { $0.numbers.connections = 3 })
        #expect(journal.amend(number) { $0.numbers.connections = 3 })
        #expect(heard.map(\.sequence) == [1, 2, 1])
        #expect(heard.map(\.revision) == [1, 2, 3])
        #expect(journal.entries(after: 2).map(\.event.numbers.connections) == [3])
        #expect(journal.entries().map(\.sequence) == [1, 2])
        for _ in 1...3 { journal.append(event("c")) }
        #expect(!journal.amend(number) { $0.numbers.connections = 4 })
        #expect(!journal.amend(99) { $0.numbers.connections = 4 })
        #expect(!journal.amend(0) { $0.numbers.connections = 4 })
        subscription.cancel()
    }

    @Test func listenersMayComeGoAndAppendWhileTheyHear() {
        let journal = EventJournal()
        var heard: [String] = []
        var first: EventJournal.Subscription?
        var second: EventJournal.Subscription?
        var third: EventJournal.Subscription?
        first = journal.subscribe { entry in
            heard.append("first \(entry.sequence)")
            if entry.sequence == 1 {
                journal.append(self.event("by the first"))
                second?.cancel()
                second = nil
                third = journal.subscribe { heard.append("third \($0.sequence)") }
                first?.cancel()
            }
        }
        second = journal.subscribe { heard.append("second \($0.sequence)") }
        journal.append(event("a"))
        #expect(heard == ["first 1", "third 2"])
        #expect(third != nil)
        third = nil
        journal.append(event("b"))
        #expect(heard == ["first 1", "third 2"])
    }

    @Test func sentences() {
        var event = Event(time: 0, .uplinkSilent, uplink: "wlan0")
        #expect(event.sentence == "wlan0 fell silent")
        event.numbers.connections = 3
        event.numbers.calls = 1
        #expect(event.sentence == "wlan0 fell silent; 3 connections and 1 call wait")
        event.other = "wwan0"
        event.numbers.longestPause = 84
        #expect(
            event.sentence
                == "wlan0 fell silent; 3 connections and 1 call went on over wwan0, longest pause 84 ms"
        )
        event.numbers.connections = 0
        event.numbers.longestPause = nil
        #expect(event.sentence == "wlan0 fell silent; 1 call went on over wwan0")
        var back = Event(time: 0, .uplinkCarries, uplink: "wlan0")
        #expect(back.sentence == "wlan0 carries")
        back.numbers.silence = 84_000
        #expect(back.sentence == "wlan0 carries again, after 84 s")
        var path = Event(time: 0, .uplinkSilent, user: "alice")
        path.numbers.path = 1
        #expect(path.sentence == "alice's path 1 fell silent")
        #expect(Event(time: 0, .sessionOpened, user: "alice").sentence == "alice connected")
        for kind in Event.Kind.allCases where kind != .note {
            #expect(!Event(time: 0, kind).sentence.isEmpty, "\(kind)")
        }
    }

    @Test func jsonKeepsAllAndTakesWhatItDoesNotKnow() throws {
        var event = Event(
            time: 1_700_000_000_123, .uplinkSilent, uplink: "wlan0", user: "a\"\n", other: "wwan0",
            detail: "d")
        event.numbers.longestPause = 84
        let data = try JSONEncoder().encode(event)
        #expect(try JSONDecoder().decode(Event.self, from: data) == event)
        let later = #"{"time":5,"kind":"uplink_grew_wings","uplink":"u","sentence":"u flies"}"#
        let read = try JSONDecoder().decode(Event.self, from: Data(later.utf8))
        #expect(read.kind == .note && read.sentence == "u flies" && read.time == 5)
    }
}
