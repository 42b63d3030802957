import Testing

/// RFC 9293 sections 3.4 and 3.10.7.4: which part of a segment is new, whatever it overlaps with.
@Suite struct OverlapTableTests {
    @Test(arguments: acceptability, InitialSequences.all)
    func acceptabilityRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// The four cases of the table in section 3.4, here with RCV.WND 0 and 100.
    static let acceptability: [Row] = [
        Row(
            "RFC 9293 3.4 case 1", "length 0, window 0: SEG.SEQ = RCV.NXT",
            """
            ! window 0
            < A seq=1 ack=1
            = taken
            < A seq=2 ack=1
            > A seq=1 ack=1
            = refused
            < A seq=0 ack=1
            > A seq=1 ack=1
            = refused
            """),
        Row(
            "RFC 9293 3.4 case 2", "length 0, window > 0: in the window (deviation: or at its end)",
            """
            ! window 100
            < A seq=1 ack=1
            = taken
            < A seq=100 ack=1
            = taken
            < A seq=101 ack=1
            = taken
            < A seq=102 ack=1
            > A seq=1 ack=1
            = refused
            < A seq=0 ack=1
            > A seq=1 ack=1
            = refused
            """),
        Row(
            "RFC 9293 3.4 case 2",
            "deviation: an ACK behind RCV.NXT but not behind the last ACK sent counts",
            """
            << A seq=1 ack=1 len=50
            << A seq=21 ack=1 win=77
            > A seq=1 ack=51
            = taken
            < A seq=21 ack=1
            > A seq=1 ack=51
            = refused
            """),
        Row(
            "RFC 9293 3.4 case 3", "length > 0, window 0: no text is taken, an ACK",
            """
            ! window 0
            < A seq=1 ack=1 len=10
            > A seq=1 ack=1
            = rcv=1 text=none
            < A seq=2 ack=1 len=10
            > A seq=1 ack=1
            = rcv=1 text=none refused
            """),
        Row(
            "RFC 9293 3.4 case 3", "... but valid ACKs and RSTs are",
            """
            ! send 10
            > data seq=1 ack=1 len=10
            ! window 0
            < A seq=1 ack=11 len=10
            > A seq=11 ack=1
            = una=11 text=none rcv=1
            < R seq=1
            = closed
            """),
        Row(
            "RFC 9293 3.4 case 3", "a FIN alone takes no room (deviation)",
            """
            ! window 0
            < FA seq=1 ack=1
            > A seq=1 ack=2
            = closeWait
            """),
        Row(
            "RFC 9293 3.4 case 3", "a FIN behind text that has no room is not taken",
            """
            ! window 0
            < FA seq=1 ack=1 len=1
            > A seq=1 ack=1
            = established rcv=1
            """),
        Row(
            "RFC 9293 3.4 case 4", "length > 0, window > 0: its start or its end in the window",
            """
            ! window 100
            < A seq=-9 ack=1 len=10
            > A seq=1 ack=1 sack=-9-1
            = refused
            < A seq=101 ack=1 len=10
            > A seq=1 ack=1
            = refused
            < A seq=-9 ack=1 len=11
            > A seq=1 ack=2
            = taken text=10-11 rcv=2
            < A seq=101 ack=1 len=10
            > A seq=1 ack=2 sack=101-102
            = taken text=0-1
            """),
        Row(
            "RFC 9293 3.10.7.4", "longer than the window on both sides: trimmed to it",
            """
            ! window 100
            < A seq=-49 ack=1 len=1000
            > A seq=1 ack=101
            = text=50-150 rcv=101
            """),
        Row(
            "RFC 9293 3.8.6",
            "a receiver's window that shrinks below what it has keeps what it has",
            """
            ! window 100
            < A seq=51 ack=1 len=50
            > A seq=1 ack=1 sack=51-101
            ! window 20
            < A seq=1 ack=1 len=50
            > A seq=1 ack=21 sack=51-101
            = text=0-20 rcv=21
            ! window 100
            < A seq=21 ack=1 len=30
            > A seq=1 ack=101
            = rcv=101
            """)
    ]

    @Test(arguments: overlap, InitialSequences.all)
    func overlapRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// 1..<101 and 201..<301 have arrived.
    static let overlap: [Row] = [
        ("repeats the start", 1, 50, "1-51", "none", 101),
        ("repeats all", 1, 100, "1-101", "none", 101),
        ("begins old, ends new", 51, 100, "", "50-100", 151),
        ("new, touching", 101, 50, "", "0-50", 151),
        ("old start to the second range", 51, 150, "", "50-150", 301),
        ("fills the gap exactly", 101, 100, "", "0-100", 301),
        ("fills the gap, repeats part of the second", 101, 150, "", "0-100", 301),
        ("covers gap and second range", 101, 300, "", "0-300", 401),
        ("covers everything", -49, 500, "", "150-500", 451),
        ("new within the gap", 141, 20, "141-161,201-301", "0-20", 101),
        ("new, touching the second range from below", 181, 20, "181-301", "0-20", 101),
        ("new, overlapping its start", 181, 50, "181-301", "0-20", 101),
        ("repeats the second range", 201, 100, "201-301,201-301", "none", 101),
        ("lies within it", 221, 10, "221-231,201-301", "none", 101),
        ("overlaps its end", 251, 100, "201-351", "50-100", 101),
        ("touches its end", 301, 50, "201-351", "0-50", 101),
        ("covers it on both sides", 191, 120, "191-311", "0-120", 101),
        ("lies beyond", 401, 50, "401-451,201-301", "0-50", 101)
    ].map { (text: String, seq: Int, length: Int, sack: String, new: String, next: Int) in
        let blocks = sack.isEmpty ? next < 201 ? " sack=201-301" : "" : " sack=" + sack
        let all = next == 101 && sack.hasPrefix("1-") ? blocks + ",201-301" : blocks
        return Row(
            "RFC 9293 3.10.7.4 first", text,
            """
            < A seq=1 ack=1 len=100
            > A seq=1 ack=101
            < A seq=201 ack=1 len=100
            > A seq=1 ack=101 sack=201-301
            < A seq=\(seq) ack=1 len=\(length)
            > A seq=1 ack=\(next)\(all)
            = text=\(new) rcv=\(next)
            """)
    }

    /// Six cells of ten bytes behind RCV.NXT, any of them received already; a segment from any cell
    /// to any other, three of them old; any window. The ledger beside is a plain set of cells.
    @Test(arguments: InitialSequences.all) func everyArrangement(_ start: InitialSequences) {
        for mask in 0..<64 {
            for first in -3..<6 {
                for end in (first + 1)...7 {
                    let window = 2 + (mask ^ first ^ end) & 7
                    arrange(mask: mask, segment: first..<end, window: window, at: start)
                }
            }
        }
    }

    private func arrange(mask: Int, segment: Range<Int>, window: Int, at start: InitialSequences) {
        let s = Place.established.make(ours: .init(start.ours), theirs: .init(start.theirs))
        var has = Set<Int>()
        for cell in 0..<6 where mask >> cell & 1 == 1 {
            s.inject("A", seq: 1 + cell * 10, ack: 1, length: 10)
            has.insert(cell)
        }
        var next = 0
        while has.contains(next) { next += 1 }
        _ = s.out()
        s.window = window * 10
        s.inject("A", seq: 1 + segment.lowerBound * 10, ack: 1, length: segment.count * 10)
        let fresh = segment.filter { $0 >= next && $0 < next + window && !has.contains($0) }
        has.formUnion(fresh)
        let row = "mask \(mask), cells \(segment), window \(window), \(start.testDescription)"
        let text = s.arrival.text
        if let low = fresh.first, let high = fresh.last {
            let first = segment.lowerBound
            #expect(text == (low - first) * 10..<(high + 1 - first) * 10, "\(row)")
        } else {
            #expect(text.isEmpty, "\(row)")
        }
        while has.contains(next) { next += 1 }
        #expect(s.theirs.distance(to: s.subflow.receiveNext) == 1 + next * 10, "\(row)")
        #expect(s.subflow.hasReceiveGap == has.contains { $0 > next }, "\(row)")
        let acknowledgement = s.out()
        #expect(
            acknowledgement.count == 1
                && acknowledgement[0].hasPrefix("A seq=1 ack=\(1 + next * 10)"),
            "\(row): \(acknowledgement)")
        for cell in has where cell > next {
            #expect(s.last.options.sack.count == 0 || isReported(cell, s), "\(row): cell \(cell)")
        }
    }

    /// Whether the last segment reports the cell (at most four ranges fit, and six cells make no
    /// more).
    private func isReported(_ cell: Int, _ s: Script) -> Bool {
        let sack = s.last.options.sack
        for i in 0..<sack.count {
            let low = s.theirs.distance(to: sack[i].start),
                high = s.theirs.distance(to: sack[i].end)
            if low <= 1 + cell * 10, 11 + cell * 10 <= high { return true }
        }
        return sack.count == 4
    }
}
