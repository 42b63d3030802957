import Measures
import Subflow
import Testing
import Wire

@testable import Multipath

/// The path of an upload has ended, and nobody can say what of the last round trip arrived.
@Suite struct UncertainLossTests {
    /// Two paths, the first in use and full of data; the last round trip of it arrives or not. It
    /// ends, and the second is joined.
    private func ended(arrives: Bool) throws -> (pair: Pair, boundary: UInt64, first: Int) {
        let pair = Pair(framing: .sealed, delays: [.milliseconds(15), .milliseconds(50)])
        pair.open()
        pair.run(for: .milliseconds(100))
        var written = 0, read = 0
        for _ in 0..<10 {
            written = pair.write(pair.initiator, from: written, upTo: 20_000_000)
            pair.run(for: .milliseconds(10))
            read = try #require(pair.read(pair.listener, from: read))
        }
        // The acknowledgements of the last round trip are lost with the path.
        pair.filter = { !($0.path == 0 && (!$0.toListener || !arrives)) }
        written = pair.write(pair.initiator, from: written, upTo: 20_000_000)
        pair.run(for: .milliseconds(arrives ? 15 : 30))
        read = try #require(pair.read(pair.listener, from: read))
        // whatever the ring took is not all under way
        written = pair.write(pair.initiator, from: written, upTo: 20_000_000)
        let boundary = pair.initiator.sender.next, first = pair.log.count
        let backlog = pair.initiator.sender.backlog
        let underWay = boundary - pair.initiator.sender.acknowledged
        try #require(backlog > 100_000 && underWay > 50_000)
        pair.initiator.setHealth(.lost, path: 0, at: pair.now)
        #expect(pair.join(path: 1))
        return (pair, boundary, first)
    }

    /// Of the data that left on the second path since, in order: whether it was new.
    private func sent(_ pair: Pair, since first: Int, boundary: UInt64) -> [Bool] {
        pair.log[first...].filter { $0.toListener && $0.path == 1 && !$0.payload.isEmpty }.map {
            let next = pair.initiator.sender.sequence(at: boundary)
            let number = $0.segment.options.dss.mapping!.dataSequence
            return next.distance(to: next.nearest(low: number.low32)) >= 0
        }
    }

    @Test func newDataGoesAmongWhatMayHaveArrived() throws {
        let (pair, boundary, first) = try ended(arrives: true)
        pair.run(for: .milliseconds(51))
        let flight = sent(pair, since: first, boundary: boundary)
        try #require(flight.count >= 12)
        let five = [false, false, false, false, false], newest = [false, false, false, false]
        #expect(
            Array(flight.prefix(16))
                == Array((five + newest + [true] + five + [true]).prefix(flight.count)))
        // The receiver has something new half a round trip after the loss.
        let heard = pair.listener.receiver.next
        #expect(heard > boundary)
    }

    /// Its interface closes before anybody hears of it: what left last may lack though all before
    /// it has arrived.
    @Test func whatLeftLastGoesAheadOfNewData() throws {
        let (pair, boundary, first) = try ended(arrives: true)
        pair.run(for: .milliseconds(51))
        let next = pair.initiator.sender.sequence(at: boundary)
        let ends = pair.log[first...].filter {
            $0.toListener && $0.path == 1 && !$0.payload.isEmpty
        }.map {
            let number = $0.segment.options.dss.mapping!.dataSequence
            return next.distance(to: next.nearest(low: number.low32)) + $0.payload.count
        }
        // The sixth to the ninth are the last four before the boundary.
        try #require(ends.count > 9)
        #expect(ends[8] == 0 && ends[5...8].allSatisfy { $0 > -6_000 && $0 <= 0 })
        #expect(Array(ends[5...8]) == ends[5...8].sorted() && ends[4] < -6_000)
    }

    @Test func whatArrivedIsNotRepeatedOnceThatIsKnown() throws {
        let (pair, boundary, first) = try ended(arrives: true)
        pair.run(for: .milliseconds(101))
        let known = pair.log.count
        let isLeft = pair.initiator.sender.hasReinjections
        #expect(!isLeft)
        pair.run(for: .milliseconds(100))
        let later = sent(pair, since: known, boundary: boundary)
        #expect(later.count > 8 && !later.contains(false))
        #expect(sent(pair, since: first, boundary: boundary).contains(false))
    }

    @Test func whatIsKnownToLackGoesAheadOfNewData() throws {
        let (pair, boundary, first) = try ended(arrives: false)
        pair.run(for: .milliseconds(101))
        let known = pair.log.count
        // What lacks first went first: it is here, and what lies behind it.
        #expect(sent(pair, since: first, boundary: boundary).prefix(5).allSatisfy { !$0 })
        pair.run(for: .milliseconds(300))
        let later = sent(pair, since: known, boundary: boundary)
        let repeated = later.prefix { !$0 }.count
        #expect(repeated > 8 && !later[repeated...].contains(false))
        let heard = pair.listener.receiver.next
        #expect(heard > boundary)
    }
}
