import Testing

/// RFC 9293 section 3.10.7.4, check by check, in every synchronized state.
@Suite struct SynchronizedTableTests {
    @Test(arguments: everywhere, InitialSequences.all)
    func inEveryState(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// Rows that read alike in all seven states. The receive window is 100,000.
    static let everywhere = Place.synchronized.flatMap { place -> [Row] in
        let n = place.next, una = place.unacknowledged, nxt = place.sendNext, answer = place.answer
        let old = [-60_000, -1000, -1]
        return [
            Row(
                "RFC 9293 3.10.7.4 first", "SEG.SEQ left of the window, no text: ACK and drop",
                in: place,
                old.map { "< A seq=\(n + $0) ack=\(una)\n> \(answer)\n= same refused\n" }.joined()),
            Row(
                "RFC 9293 3.10.7.4 first",
                "SEG.SEQ right of the window, no text: ACK and drop", in: place,
                """
                < A seq=\(n + 100_001) ack=\(una)
                > \(answer)
                = same refused
                < A seq=\(n + 2_000_000_000) ack=\(una)
                > \(answer)
                = same refused
                """),
            Row(
                "RFC 9293 3.10.7.4 first",
                "text wholly left of the window: ACK (D-SACK) and drop", in: place,
                """
                < A seq=\(n - 50) ack=\(una) len=50
                > \(answer) sack=\(n - 50)-\(n)
                = same refused
                """),
            Row(
                "RFC 9293 3.10.7.4 first", "text right of the window: ACK and drop", in: place,
                """
                < A seq=\(n + 100_000) ack=\(una) len=1
                > \(answer)
                = same refused
                """),
            Row(
                "RFC 9293 3.10.7.4 first",
                "an unacceptable segment's ACK and window are not processed",
                in: place,
                """
                < A seq=\(n + 100_000) ack=\(nxt) len=1 win=1
                > \(answer)
                = same refused
                """),
            Row(
                "RFC 9293 3.10.7.4 first", "an unacceptable RST draws no ACK", in: place,
                """
                < R seq=\(n - 1)
                = same refused
                < RA seq=\(n + 100_001) ack=\(una)
                = same refused
                """),
            Row(
                "RFC 9293 3.10.7.4 second", "RST at RCV.NXT: CLOSED", in: place,
                """
                < R seq=\(n)
                = closed failure=\([.closing, .lastAck, .timeWait].contains(place) ? "none" : "reset")
                """),
            Row(
                "RFC 9293 3.10.7.4 second", "... whatever its ACK says", in: place,
                """
                < RA seq=\(n) ack=777777
                = closed
                """),
            Row(
                "RFC 9293 3.10.7.4 fifth", "ACK off: drop", in: place,
                """
                < - seq=\(n) len=10
                = same refused
                < F seq=\(n)
                = same refused
                """),
            Row(
                "RFC 9293 3.10.7.4 fifth", "SEG.ACK > SND.NXT: ACK and drop", in: place,
                """
                < A seq=\(n) ack=\(nxt + 1) len=10
                > \(answer)
                = same refused
                < FA seq=\(n) ack=\(nxt + 1_000_000)
                > \(answer)
                = same refused
                """),
            Row(
                "RFC 9293 3.10.7.4 fifth", "SEG.ACK < SND.UNA is a duplicate and is ignored",
                in: place,
                """
                < A seq=\(n) ack=0
                = same taken
                """),
            Row(
                "RFC 9293 3.10.5", "ABORT: \(place == .timeWait ? "no RST" : "RST"), CLOSED",
                in: place,
                place == .timeWait
                    ? "! abort\n= closed failure=aborted"
                    : "! abort\n> RA seq=\(nxt) ack=\(n)\n= closed failure=aborted")
        ]
    }

    @Test(arguments: text, InitialSequences.all)
    func textRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let text: [Row] =
        [
            Row(
                "RFC 9293 3.10.7.4 seventh", "ESTABLISHED: text is taken, an ACK piggybacked",
                """
                << A seq=1 ack=1 len=10
                ! send 7
                > data seq=1 ack=11 len=7
                = rcv=11 text=0-10
                """)
        ]
        + [Place.finWait1, .finWait2].map {
            Row(
                "RFC 9293 3.10.7.4 seventh", "\($0.rawValue): text is taken", in: $0,
                """
                < A seq=1 ack=\($0.unacknowledged) len=10
                > A seq=2 ack=11
                = \($0.rawValue) rcv=11 text=0-10
                """)
        }
        + [Place.closeWait, .closing, .lastAck, .timeWait].map {
            Row(
                "RFC 9293 3.10.7.4 seventh", "\($0.rawValue): text after a FIN is ignored", in: $0,
                """
                < A seq=2 ack=\($0.unacknowledged) len=10
                = same text=none
                """)
        }

    @Test(arguments: window, InitialSequences.all)
    func windowRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// Our side has sent 5 segments, the peer's scale is 2.
    static let window: [Row] = [
        Row(
            "RFC 9293 3.10.7.4 fifth", "SND.WL1 < SEG.SEQ: the window is taken",
            """
            < A seq=1 ack=1 win=250
            = wnd=1000
            < A seq=1 ack=1 len=1 win=300
            > A seq=1 ack=2
            = wnd=1200
            < A seq=2 ack=1 win=50
            = wnd=200
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "SND.WL1 > SEG.SEQ: an old segment's window is not",
            """
            ! send 100
            > data seq=1 ack=1 len=100
            < A seq=11 ack=1 len=10 win=250
            > A seq=101 ack=1 sack=11-21
            = wnd=1000
            < A seq=1 ack=101 len=10 win=9000
            > A seq=101 ack=21
            = wnd=1000 una=101 text=0-10
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK: it is taken",
            """
            ! send 100
            > data seq=1 ack=1 len=100
            < A seq=1 ack=51 win=250
            = wnd=1000 una=51
            < A seq=1 ack=51 win=200
            = wnd=800
            < A seq=1 ack=101 win=150
            = wnd=600
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "SND.WL1 = SEG.SEQ and SND.WL2 > SEG.ACK: it is not",
            """
            ! send 100
            > data seq=1 ack=1 len=100
            < A seq=1 ack=101 win=250
            = wnd=1000
            < A seq=1 ack=51 win=9000
            = wnd=1000 una=101
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "SEG.ACK < SND.UNA updates no window, even on newer text",
            """
            ! send 100
            > data seq=1 ack=1 len=100
            < A seq=1 ack=101 win=250
            = wnd=1000
            < A seq=1 ack=51 len=10 win=9000
            > A seq=101 ack=11
            = wnd=1000 text=0-10
            < A seq=11 ack=51 len=10 win=0
            > A seq=101 ack=21
            = wnd=1000 text=0-10
            """),
        Row(
            "RFC 8684 3.3.1",
            "the counterpart: a connection's window is judged by its DATA_ACK, above",
            with: { $0.windowScope = .connection },
            """
            ! send 100
            > data seq=1 ack=1 len=100
            < A seq=1 ack=101 win=250
            < A seq=1 ack=51 win=300
            = wnd=1200
            """),
        Row(
            "RFC 9293 3.8.6.2.1", "silly window: no small segment behind unacknowledged data",
            """
            < A seq=1 ack=1 win=300
            ! send 3000
            > data seq=1 ack=1 len=1000
            = wnd=1200
            < A seq=1 ack=1001 win=300
            > data seq=1001 ack=1 len=1000
            """),
        Row(
            "RFC 9293 3.8.6", "a window that shrinks below what was sent stops new data only",
            """
            ! send 3000
            > data seq=1 ack=1 len=1000
            > data seq=1001 ack=1 len=1000
            > data seq=2001 ack=1 len=1000
            < A seq=1 ack=1001 win=100
            = una=1001 wnd=400 flight=2000
            ! send 1000
            < A seq=1 ack=2001 win=100
            = una=2001
            < A seq=1 ack=3001 win=250
            > data seq=3001 ack=1 len=1000
            """),
        Row(
            "RFC 9293 3.8.6", "... and what was sent is repeated nevertheless",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            < A seq=1 ack=1 win=0
            + 225
            > data seq=1 ack=1 len=1000
            """),
        Row(
            "RFC 9293 3.8.6.1", "a closed window is probed after an RTO, then at growing intervals",
            """
            < A seq=1 ack=1 win=0
            ! send 100
            + 299
            + 1
            > A seq=0 ack=1
            < A seq=1 ack=1 win=0
            + 600
            > A seq=0 ack=1
            + 1199
            + 1
            > A seq=0 ack=1
            < A seq=1 ack=1 win=25
            > data seq=1 ack=1 len=100
            """),
        Row(
            "RFC 9293 3.8.6.1", "the connection stays open while probes are answered",
            """
            < A seq=1 ack=1 win=0
            ! send 100

            """
                + (1...200).map { _ in "+ 60000\n> A seq=0 ack=1\n< A seq=1 ack=1 win=0\n" }
                .joined()
                + "= established"),
        Row(
            "RFC 9293 3.8.6.1", "... also where the window was closed upon data under way",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 225
            > data seq=1 ack=1 len=1000
            < A seq=1 ack=1 win=0

            """
                + [300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 60_000, 60_000, 60_000].map {
                    "+ \($0)\n> data seq=1 ack=1 len=1000\n< A seq=1 ack=1 win=0\n"
                }.joined() + "= established"),
        Row(
            "RFC 9293 3.10.4", "CLOSE waits for what the window holds back",
            """
            < A seq=1 ack=1 win=0
            ! close
            > FA seq=1 ack=1
            """)
    ]
}
