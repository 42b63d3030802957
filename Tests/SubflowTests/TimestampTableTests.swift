import Testing

/// RFC 7323: window scale, timestamps, PAWS. The peer's clock stands at 100 when a row begins.
@Suite struct TimestampTableTests {
    @Test(arguments: scaling, InitialSequences.all)
    func scalingRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let scaling: [Row] =
        [
            Row(
                "RFC 7323 2.2", "the window of a SYN is never scaled, theirs", in: .synSent,
                """
                < SA seq=0 ack=1 win=500 scale=7
                > A seq=1 ack=1
                = wnd=500
                < A seq=1 ack=1 win=500
                = wnd=64000
                """),
            Row(
                "RFC 7323 2.2", "the window of a SYN is never scaled, ours", in: .synSent,
                """
                ! window 9000
                + 1000
                > S seq=0 win=9000 scale=7
                < SA seq=0 ack=1
                > A seq=1 ack=1 win=70
                """),
            Row(
                "RFC 7323 2.2", "the window of a SYN/ACK neither", in: .synReceived,
                """
                ! window 9000
                + 1000
                > SA seq=0 ack=1 win=9000 scale=7
                """),
            Row(
                "RFC 7323 1.3", "no scale in the SYN/ACK: none either way", in: .synSent,
                """
                < SA seq=0 ack=1 win=500 noscale
                > A seq=1 ack=1 win=65535
                < A seq=1 ack=1 win=300
                = wnd=300
                """),
            Row(
                "RFC 7323 1.3", "no scale in the SYN: none in the SYN/ACK", in: .synSent,
                """
                < S seq=0 noscale
                > SA seq=0 ack=1 -scale mss=1000 sackok
                """),
            Row(
                "RFC 2018 2",
                "SACK not permitted in the SYN: not in the SYN/ACK, and no blocks", in: .synSent,
                """
                < S seq=0 nosack
                > SA seq=0 ack=1 -sackok scale=7
                < A seq=1 ack=1
                < A seq=101 ack=1 len=10
                > A seq=1 ack=1
                """),
            Row(
                "RFC 9293 3.7.1", "no MSS in the SYN: 536", in: .synSent,
                """
                < SA seq=0 ack=1 bare
                > A seq=1 ack=1
                = mss=536
                """),
            Row(
                "RFC 9293 3.7.1", "the smaller of both MSS is sent", in: .synSent,
                """
                < SA seq=0 ack=1 mss=700
                > A seq=1 ack=1
                = mss=700
                ! send 1000
                > data seq=1 ack=1 len=700
                > data seq=701 ack=1 len=300
                """),
            Row(
                "RFC 7323 2.2", "a scale on anything but a SYN is ignored",
                """
                < A seq=1 ack=1 win=100 scale=9
                = wnd=400
                """)
        ]
        + [0, 1, 14, 15, 255].map { shift in
            Row(
                "RFC 7323 2.3", "shift \(shift) counts as \(min(14, shift))", in: .synSent,
                """
                < SA seq=0 ack=1 scale=\(shift)
                > A seq=1 ack=1
                < A seq=1 ack=1 win=3
                = wnd=\(3 << min(14, shift))
                """)
        }

    @Test(arguments: echo, InitialSequences.all)
    func echoRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    private static func stamped(
        _ section: String, _ text: String, in place: Place = .established,
        _ lines: String
    ) -> Row {
        Row(section, text, in: place, with: { $0.timestamps = true }, lines)
    }

    static let echo: [Row] = [
        stamped(
            "RFC 7323 3.2", "TSecr is 0 where there is no ACK", in: .synSent,
            """
            + 1000
            > S seq=0 ts=1000 echo=0
            """),
        stamped(
            "RFC 7323 3.2", "the SYN/ACK echoes the SYN", in: .synReceived,
            """
            + 1000
            > SA seq=0 ack=1 ts=1000 echo=100
            """),
        stamped(
            "RFC 7323 3.2", "no timestamps in the SYN/ACK: none from then on", in: .synSent,
            """
            < SA seq=0 ack=1 nots
            > A seq=1 ack=1 -ts
            < A seq=1 ack=1 len=10 nots
            > A seq=1 ack=11 -ts
            = taken mss=1000
            """),
        stamped(
            "RFC 7323 3.2", "no timestamps in the SYN: none in the SYN/ACK", in: .synSent,
            """
            < S seq=0 nots
            > SA seq=0 ack=1 -ts
            """),
        stamped(
            "RFC 6691 2", "the option's 12 bytes come off the segment",
            """
            = mss=988
            ! send 1000
            > data seq=1 ack=1 len=988 ts=100 echo=100
            > data seq=989 ack=1 len=12 ts=100 echo=100
            """),
        stamped(
            "RFC 7323 3.2", "once agreed on, a segment without is silently dropped",
            """
            < A seq=1 ack=1 len=10 nots
            = same refused
            < FA seq=1 ack=1 nots
            = same refused
            < A seq=-10 ack=1 len=10 nots
            = same refused
            """),
        stamped(
            "RFC 7323 3.2", "... but a RST",
            """
            < R seq=1 nots
            = closed failure=reset
            """),
        stamped(
            "RFC 7323 4.3", "the example of the section: a lost segment, then a reordered one",
            """
            < A seq=1 ack=1 len=10 ts=101
            > A seq=1 ack=11 echo=101
            < A seq=21 ack=1 len=10 ts=103
            > A seq=1 ack=11 sack=21-31 echo=101
            < A seq=11 ack=1 len=10 ts=102
            > A seq=1 ack=31 echo=102
            < A seq=41 ack=1 len=10 ts=105
            > A seq=1 ack=31 sack=41-51 echo=102
            < A seq=31 ack=1 len=10 ts=104
            > A seq=1 ack=51 echo=104
            """),
        stamped(
            "RFC 7323 4.3 (A)", "an ACK for several segments echoes the earliest",
            """
            << A seq=1 ack=1 len=10 ts=101
            << A seq=11 ack=1 len=10 ts=102
            < A seq=21 ack=1 len=10 ts=103
            > A seq=1 ack=31 echo=101
            """),
        stamped(
            "RFC 7323 4.3", "an ACK without text at Last.ACK.sent updates TS.Recent",
            """
            < A seq=1 ack=1 ts=150
            ! acknowledge
            > A seq=1 ack=1 echo=150
            """),
        stamped(
            "RFC 7323 5.3 R2, R3", "a segment outside the window does not, however new",
            """
            < A seq=-50000 ack=1 len=10 ts=1000000
            > A seq=1 ack=1 sack=-50000--49990 echo=100
            < A seq=1 ack=1 len=10 ts=101
            > A seq=1 ack=11 echo=101
            = taken text=0-10
            """),
        stamped(
            "RFC 7323 5.3 R2, R3", "... nor an old ACK of a blind sender",
            """
            < A seq=1 ack=-20000 ts=1000000
            > A seq=1 ack=1 echo=100
            < A seq=1 ack=1 len=10 ts=101
            > A seq=1 ack=11 echo=101
            """),
        stamped(
            "RFC 5961 4.2", "... nor a SYN",
            """
            < S seq=0 ts=1000000
            > A seq=1 ack=1 echo=100
            < A seq=1 ack=1 len=10 ts=101
            > A seq=1 ack=11 echo=101
            """),
        stamped(
            "RFC 7323 5.3", "... nor a RST that resets nothing",
            """
            < R seq=0 ts=1000000
            < A seq=1 ack=1 len=10 ts=101
            > A seq=1 ack=11 echo=101
            """),
        stamped(
            "RFC 7323 5.4", "the clock ticks once a millisecond",
            """
            ! acknowledge
            > A seq=1 ack=1 ts=100
            + 7
            ! acknowledge
            > A seq=1 ack=1 ts=107
            """),
        stamped(
            "RFC 2018 3", "three blocks fit beside timestamps",
            [5, 3, 7, 1].map { n in
                "<< A seq=\(n * 100) ack=1 len=10\n"
            }.joined() + "! acknowledge\n> A seq=1 ack=1 sack=100-110,700-710,300-310 ts=100")
    ]

    @Test(arguments: paws, InitialSequences.all)
    func pawsRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let paws: [Row] = [
        stamped(
            "RFC 7323 5.3 R1", "SEG.TSval < TS.Recent: an ACK, drop",
            """
            < A seq=1 ack=1 len=10 ts=99
            > A seq=1 ack=1 echo=100
            = same refused
            < FA seq=1 ack=1 ts=-2000000000
            > A seq=1 ack=1 echo=100
            = same refused
            """),
        stamped(
            "RFC 7323 5.3 R1", "an old duplicate that fits the window after a wrap is dropped",
            """
            < A seq=1 ack=1 len=10 ts=200
            > A seq=1 ack=11
            < A seq=11 ack=1 len=10 ts=150
            > A seq=1 ack=11 echo=200
            = same refused
            """),
        stamped(
            "RFC 7323 5.3 R1", "SEG.TSval = TS.Recent is acceptable",
            """
            < A seq=1 ack=1 len=10 ts=100
            > A seq=1 ack=11 echo=100
            = taken
            """),
        stamped(
            "RFC 7323 5.3 R1", "RST is exempt",
            """
            < R seq=1 ts=99
            = closed failure=reset
            """),
        stamped(
            "RFC 7323 5.2", "timestamps wrap: s < t where 0 < t - s < 2^31", in: .synSent,
            """
            < SA seq=0 ack=1 ts=4294967290
            > A seq=1 ack=1 echo=4294967290
            < A seq=1 ack=1 len=10 ts=5
            > A seq=1 ack=11 echo=5
            = taken
            < A seq=11 ack=1 len=10 ts=4294967295
            > A seq=1 ack=11 echo=5
            = same refused
            < A seq=11 ack=1 len=10 ts=2147483652
            > A seq=1 ack=21 echo=2147483652
            = taken
            """),
        stamped(
            "RFC 7323 5.3 R1", "reordered within TS.Recent's rules is no reason to drop",
            """
            << A seq=11 ack=1 len=10 ts=102
            < A seq=1 ack=1 len=10 ts=101
            > A seq=1 ack=21 echo=101
            = taken
            """),
        stamped(
            "RFC 7323 5.5", "TS.Recent is outdated after 24 days of silence",
            """
            + 23d
            < A seq=1 ack=1 len=10 ts=50
            > A seq=1 ack=1 echo=100
            = same refused
            + 1d
            < A seq=1 ack=1 len=10 ts=50
            > A seq=1 ack=11 echo=50
            = taken text=0-10
            """),
        stamped(
            "RFC 7323 5.3 R1", "in TIME-WAIT an old FIN neither counts nor restarts the time",
            in: .timeWait,
            """
            + 400
            < FA seq=1 ack=2 ts=50
            > A seq=2 ack=2 echo=100
            + 100
            = closed
            """)
    ]
}
