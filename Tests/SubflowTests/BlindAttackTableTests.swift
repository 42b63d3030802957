import Testing

/// RFC 5961: segments of somebody who knows the ports and guesses the numbers.
@Suite struct BlindAttackTableTests {
    @Test(arguments: everywhere, InitialSequences.all)
    func inEveryState(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let everywhere = Place.synchronized.flatMap { place -> [Row] in
        let n = place.next, una = place.unacknowledged, answer = place.answer
        return [
            Row(
                "RFC 5961 3.2", "RST outside the window: silently discarded", in: place,
                [-2_000_000_000, -100_000, -1, 100_000, 100_001, 2_000_000_000]
                    .map { "< R seq=\(n + $0)\n= same refused\n" }.joined()),
            Row(
                "RFC 5961 3.2", "RST in the window, not at RCV.NXT: a challenge ACK", in: place,
                [1, 2, 50_000, 99_999].map { "< R seq=\(n + $0)\n> \(answer)\n= same refused\n" }
                    .joined()),
            Row(
                "RFC 5961 3.2",
                "the peer that really reset answers the challenge with the exact RST",
                in: place,
                """
                < R seq=\(n + 700)
                > \(answer)
                < R seq=\(n)
                = closed
                """),
            Row(
                "RFC 5961 4.2", "SYN, whatever its number: a challenge ACK", in: place,
                [-2_000_000_000, -1, 0, 1, 99_999, 100_000, 2_000_000_000]
                    .map { "< S seq=\(n + $0)\n> \(answer)\n= same refused\n" }.joined()),
            Row(
                "RFC 5961 4.2", "... with an ACK, text or FIN, too", in: place,
                """
                < SA seq=0 ack=1
                > \(answer)
                = same refused
                < SA seq=\(n) ack=\(una) len=100
                > \(answer)
                = same refused
                < SFA seq=\(n) ack=\(una)
                > \(answer)
                = same refused
                """)
        ]
    }

    @Test(arguments: injection, InitialSequences.all)
    func injectionRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// MAX.SND.WND is 16,000 (the SYN/ACK's window) where nothing else is said.
    static let injection: [Row] = [
        Row(
            "RFC 5961 5.2", "SND.UNA - MAX.SND.WND =< SEG.ACK: the text is taken",
            """
            < A seq=1 ack=-15999 len=10
            > A seq=1 ack=11
            = taken text=0-10
            """),
        Row(
            "RFC 5961 5.2", "SEG.ACK below it: discarded, an ACK",
            """
            < A seq=1 ack=-16000 len=10
            > A seq=1 ack=1
            = same refused
            < FA seq=1 ack=-2000000000 len=10
            > A seq=1 ack=1
            = same refused
            """),
        Row(
            "RFC 5961 5.2", "SEG.ACK > SND.NXT: discarded, an ACK",
            """
            < A seq=1 ack=2 len=10
            > A seq=1 ack=1
            = same refused
            < A seq=1 ack=2000000000 len=10
            > A seq=1 ack=1
            = same refused
            """),
        Row(
            "RFC 5961 5.2", "SEG.ACK = SND.NXT is in range",
            """
            ! send 10
            > data seq=1 ack=1 len=10
            < A seq=1 ack=11 len=10
            > A seq=11 ack=11
            = taken una=11 text=0-10
            """),
        Row(
            "RFC 5961 5.2", "MAX.SND.WND is the largest window ever, scaled",
            """
            < A seq=1 ack=1 win=10000
            < A seq=1 ack=1 win=10
            < A seq=1 ack=-39999 len=10
            > A seq=1 ack=11
            = taken text=0-10
            < A seq=11 ack=-40000 len=10
            > A seq=1 ack=11
            = same refused
            """),
        Row(
            "RFC 5961 5.2", "text ahead of a gap is judged alike",
            """
            < A seq=5001 ack=-16000 len=10
            > A seq=1 ack=1
            = same refused
            """),
        Row(
            "RFC 5961 5.2", "what a refused segment acknowledges selectively is not believed",
            """
            ! send 2000
            > data seq=1 ack=1 len=1000
            > data seq=1001 ack=1 len=1000
            < A seq=1 ack=3000 sack=1001-2001
            > A seq=2001 ack=1
            = same refused
            """)
    ]

    @Test(arguments: limit, InitialSequences.all)
    func limitRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// Ten challenges a second, of all kinds together.
    static let limit: [Row] =
        [
            ("RST", "R seq=500"), ("SYN", "S seq=500"), ("old ACK", "A seq=1 ack=-20000 len=3"),
            ("ACK of the future", "A seq=1 ack=900 len=3")
        ].map { name, segment in
            Row(
                "RFC 5961 7", "\(name): challenge ACKs are throttled",
                String(repeating: "< \(segment)\n> A seq=1 ack=1\n", count: 10)
                    + String(repeating: "< \(segment)\n= same refused\n", count: 5)
                    + "+ 999\n< \(segment)\n+ 1\n< \(segment)\n> A seq=1 ack=1")
        } + [
            Row(
                "RFC 5961 7", "one limit for all kinds",
                """
                < R seq=500
                > A seq=1 ack=1
                < S seq=500
                > A seq=1 ack=1
                < A seq=1 ack=-20000
                > A seq=1 ack=1
                < A seq=1 ack=900
                > A seq=1 ack=1

                """ + String(repeating: "< R seq=500\n> A seq=1 ack=1\n", count: 6)
                    + "< R seq=500\n< S seq=500\n< A seq=1 ack=-20000\n< A seq=1 ack=900\n= same"),
            Row(
                "RFC 5961 7", "ordinary ACKs are not throttled",
                String(repeating: "< R seq=500\n> A seq=1 ack=1\n", count: 10) + """
                    < R seq=500
                    < A seq=1 ack=1 len=10
                    > A seq=1 ack=11
                    < A seq=1 ack=1 len=10
                    > A seq=1 ack=11 sack=1-11
                    < A seq=0 ack=1
                    > A seq=1 ack=11
                    """)
        ]
}
