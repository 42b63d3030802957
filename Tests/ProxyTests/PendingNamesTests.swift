import Dialogue
import Measures
import Testing

@testable import Proxy

@Suite struct PendingNamesTests {
    private func waiting(_ name: String, from host: UInt32) -> (NameKey, PendingName.Waiting) {
        let query = DNSQuery(
            id: 1, DNSQuestion(DNSName(name)!, type: 1), flags: 0x0100, extended: nil)
        let client = NameService.Client(
            address: SocketAddress(IPAddress(v4: 0x0a00_0000 + host), port: 9),
            transport: .datagram)
        return (
            NameKey(query),
            PendingName.Waiting(client: client, query: query, limit: 512, reply: { _ in })
        )
    }

    /// How many questions it has displaced; nil where it was not taken.
    private func insert(_ name: String, from host: UInt32, into names: inout PendingNames) -> Int? {
        let (key, waiting) = waiting(name, from: host)
        return names.insert(key, waiting)?.displaced
    }

    @Test func nobodyHasMoreThanAShare() {
        var names = PendingNames()
        for i in 0..<NameLimit.questionsPerClient {
            #expect(insert("n\(i).test", from: 1, into: &names) == 0)
        }
        #expect(insert("more.test", from: 1, into: &names) == nil)
        #expect(insert("more.test", from: 2, into: &names) == 0)
        // What is taken out is nobody's share any more.
        let first = waiting("n0.test", from: 1).0
        let isThere = names.take(first) != nil, isTwice = names.take(first) != nil
        #expect(isThere && !isTwice)
        #expect(insert("again.test", from: 1, into: &names) == 0)
        #expect(names.count == NameLimit.questionsPerClient + 1)
    }

    @Test func theOldestGivesItsPlaceUp() {
        var names = PendingNames()
        for i in 0..<NameLimit.questions {
            let host = UInt32(i / NameLimit.questionsPerClient)
            #expect(insert("n\(i).test", from: host, into: &names) == 0)
        }
        // The oldest has been answered: the one behind it is the oldest now.
        names.take(waiting("n0.test", from: 0).0)
        #expect(insert("late.test", from: 90, into: &names) == 0)
        #expect(insert("later.test", from: 91, into: &names) == 1)
        #expect(names[waiting("n1.test", from: 0).0] == nil)
        #expect(names[waiting("n2.test", from: 0).0] != nil)
        #expect(names.count == NameLimit.questions)
    }

    @Test func aKeyThatIsAddedAgainIsYoung() {
        var order = AgeOrder<Int>(), current: [Int: UInt64] = [:]
        for key in [1, 2, 1, 3] {
            let number = order.add(key, count: current.count) { current[$0.key] == $0.number }
            current[key] = number
        }
        let found = (0..<4).map { _ in order.popFirst { current[$0.key] == $0.number } }
        #expect(found == [2, 1, 3, nil])
    }

    @Test func placesThatMeanNothingAreNotKept() {
        var order = AgeOrder<Int>(), last: UInt64 = 0
        for _ in 0..<20_000 { last = order.add(1, count: 1) { [last] in $0.number == last } }
        #expect(order.all.count <= 2 * 1 + 1_024 + 1)
        let found = order.popFirst { $0.number == last }
        #expect(found == 1)
    }
}
