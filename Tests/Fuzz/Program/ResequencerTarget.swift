import Measures

@testable import Tunnel

/// The resequencer and the window of copies against a list that is searched: each number once, none
/// held for longer than the wait, in order where nothing was given up, and nothing kept.
enum ResequencerTarget {
    static func run(_ input: inout Input) {
        var window = SequenceWindow(), resequencer = Resequencer()
        let store = DatagramStore()
        var model = NaiveResequencer()
        var now = Instant.zero, out: [UInt32] = []
        let first = input.word(UInt32.self) & 0xff_ffff
        var steps = 0
        while !input.isEmpty, steps < 2_000 {
            steps += 1
            let form = input.byte()
            if form & 3 == 0 {
                now = now + .milliseconds(Int64(form >> 2))
                resequencer.advance(to: now, store) {
                    out.append($0.loadUnaligned(as: UInt32.self))
                }
                model.advance(to: now)
            } else {
                let n = (first &+ UInt32(input.byte())) & 0xff_ffff
                check(window.isFresh(n) == model.isFresh(n), "fresh or not: \(n)")
                guard window.accept(n) else { continue }
                withUnsafeBytes(of: n) {
                    resequencer.receive(
                        $0, sequence: n, isOrdered: form & 4 == 0, store, at: now
                    ) { out.append($0.loadUnaligned(as: UInt32.self)) }
                }
                model.receive(n, isOrdered: form & 4 == 0, at: now)
            }
            check(out == model.out, "handed over \(out.suffix(9)), not \(model.out.suffix(9))")
            check(resequencer.count == model.held.count, "another count is held")
        }
        resequencer.advance(to: now + .seconds(1), store) {
            out.append($0.loadUnaligned(as: UInt32.self))
        }
        model.advance(to: now + .seconds(1))
        check(out == model.out && store.used == 0, "something is kept")
    }
}

/// The same by looking at everything again each time. Numbers are few, so none goes round.
private struct NaiveResequencer {
    var out: [UInt32] = []
    var held: [(n: UInt32, until: Instant)] = []
    private var seen: Set<UInt32> = []
    private var next: UInt32?

    private func ahead(_ n: UInt32) -> Int { next.map { distance($0, n) } ?? 0 }
    private func distance(_ a: UInt32, _ b: UInt32) -> Int {
        let d = Int((b &- a) & 0xff_ffff)
        return d < 1 << 23 ? d : d - 1 << 24
    }
    func isFresh(_ n: UInt32) -> Bool { !seen.contains(n) }

    mutating func receive(_ n: UInt32, isOrdered: Bool, at now: Instant) {
        seen.insert(n)
        if ahead(n) < 0 { out.append(n); return }
        if ahead(n) > 0, isOrdered {
            held.append((n, now + .milliseconds(30)))
            return
        }
        for item in held.map(\.n).sorted(by: { distance($0, $1) > 0 }) where distance(item, n) > 0 {
            handOver(item)
        }
        handOver(n)
        goOn()
    }

    mutating func advance(to now: Instant) {
        while held.contains(where: { $0.until <= now }) {
            let first = held.map(\.n).min { distance($0, $1) > 0 }!
            handOver(first)
            goOn()
        }
    }

    private mutating func goOn() {
        while let n = next, held.contains(where: { $0.n == n }) { handOver(n) }
    }
    private mutating func handOver(_ n: UInt32) {
        out.append(n)
        held.removeAll { $0.n == n }
        next = (n &+ 1) & 0xff_ffff
    }
}
