import Testing

/// RFC 9293 sections 3.6 and 3.10.7.4, the fifth and the eighth check: every path to CLOSED.
@Suite struct CloseTableTests {
    @Test(arguments: finishing, InitialSequences.all)
    func finishingRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let finishing: [Row] = [
        Row(
            "RFC 9293 3.10.7.4 eighth", "ESTABLISHED, FIN: ACK, CLOSE-WAIT",
            """
            < FA seq=1 ack=1
            > A seq=1 ack=2
            = closeWait rcv=2 finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "the FIN stands behind the segment's text",
            """
            < FA seq=1 ack=1 len=10
            > A seq=1 ack=12
            = closeWait rcv=12 text=0-10 finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "a FIN ahead of missing text waits for it",
            """
            < FA seq=11 ack=1
            > A seq=1 ack=1
            = established rcv=1
            < A seq=1 ack=1 len=10
            > A seq=1 ack=12
            = closeWait finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "a FIN beyond the window is not taken",
            """
            ! window 100
            < FA seq=1 ack=1 len=101
            > A seq=1 ack=101
            = established rcv=101 text=0-100
            < FA seq=101 ack=1 len=1
            > A seq=1 ack=103
            = closeWait finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "a FIN of unmapped text does not count (RFC 8684 3.3.1)",
            """
            < FA seq=1 ack=1 len=10 unmapped
            = established rcv=1 text=none
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "FIN-WAIT-1, our FIN acknowledged: FIN-WAIT-2",
            in: .finWait1,
            """
            < A seq=1 ack=2
            = finWait2 una=2 spans=0
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "FIN-WAIT-1, data before the FIN acknowledged only",
            """
            ! send 10
            > data seq=1 ack=1 len=10
            ! close
            > FA seq=11 ack=1
            < A seq=1 ack=11
            = finWait1 una=11
            < A seq=1 ack=12
            = finWait2
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth",
            "FIN-WAIT-1, FIN that acknowledges ours: TIME-WAIT", in: .finWait1,
            """
            < FA seq=1 ack=2
            > A seq=2 ack=2
            = timeWait finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "FIN-WAIT-1, FIN that does not: CLOSING", in: .finWait1,
            """
            < FA seq=1 ack=1
            > A seq=2 ack=2
            = closing finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "FIN-WAIT-2, FIN: TIME-WAIT", in: .finWait2,
            """
            < FA seq=1 ack=2
            > A seq=2 ack=2
            = timeWait finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "FIN-WAIT-2, text with FIN: TIME-WAIT", in: .finWait2,
            """
            < FA seq=1 ack=2 len=10
            > A seq=2 ack=12
            = timeWait text=0-10 finished
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth",
            "FIN-WAIT-1, FIN ahead of missing text, completed: TIME-WAIT",
            in: .finWait1,
            """
            < FA seq=6 ack=2 len=5
            > A seq=2 ack=1 sack=6-11
            = finWait2
            < A seq=1 ack=2 len=5
            > A seq=2 ack=12
            = timeWait text=0-5 finished
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "CLOSING, our FIN acknowledged: TIME-WAIT", in: .closing,
            """
            < A seq=2 ack=2
            = timeWait
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "CLOSING, otherwise ignored", in: .closing,
            """
            < A seq=2 ack=1
            = closing same
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "LAST-ACK, our FIN acknowledged: CLOSED", in: .lastAck,
            """
            < A seq=2 ack=2
            = closed failure=none
            < A seq=2 ack=2
            > R seq=2
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "LAST-ACK, data before the FIN acknowledged only",
            in: .closeWait,
            """
            ! send 10
            > data seq=1 ack=2 len=10
            ! close
            > FA seq=11 ack=2
            < A seq=2 ack=11
            = lastAck una=11
            < A seq=2 ack=12
            = closed failure=none
            """),
        Row(
            "RFC 9293 3.6 case 2",
            "CLOSE-WAIT: data may still be sent, then FIN: LAST-ACK", in: .closeWait,
            """
            ! send 1500
            > data seq=1 ack=2 len=1000
            > data seq=1001 ack=2 len=500
            ! close
            > FA seq=1501 ack=2
            = lastAck
            """),
        Row(
            "RFC 9293 3.6 case 1",
            "FIN-WAIT-2: half closed, for as long as the peer likes", in: .finWait2,
            """
            + 1000000
            = finWait2
            < A seq=1 ack=2 len=10
            > A seq=2 ack=11
            = finWait2 text=0-10
            """),
        Row(
            "RFC 9293 3.10.4", "CLOSE twice: one FIN", in: .finWait2,
            """
            ! close
            = finWait2 same
            """),
        Row(
            "RFC 9293 3.8.1", "a FIN is repeated, and keeps its number", in: .finWait1,
            """
            + 125
            > FA seq=1 ack=1
            + 300
            > FA seq=1 ack=1
            = finWait1 nxt=2 timeouts=1
            """),
        Row(
            "RFC 9293 3.8.1", "a FIN in LAST-ACK is repeated until the peer is given up",
            in: .lastAck,
            """
            + 225
            > FA seq=1 ack=2
            + 130000
            = closed failure=timedOut
            """)
    ]

    /// Repeated FINs in the states that follow one.
    @Test(arguments: repeated, InitialSequences.all)
    func repeatedRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let repeated: [Row] =
        [Place.closeWait, .closing, .lastAck, .timeWait].map {
            Row(
                "RFC 9293 3.10.7.4 eighth",
                "\($0.rawValue), FIN again: acknowledged again, state kept", in: $0,
                """
                < FA seq=1 ack=\($0.unacknowledged)
                > \($0.answer)
                = same refused
                """)
        } + [
            Row(
                "RFC 9293 3.10.7.4 fifth",
                "LAST-ACK, FIN again with the ACK of ours: not acceptable, so only ACKed",
                in: .lastAck,
                """
                < FA seq=1 ack=2
                > A seq=2 ack=2
                = lastAck same
                < A seq=2 ack=2
                = closed
                """),
            Row(
                "RFC 9293 3.10.7.4 eighth",
                "TIME-WAIT ends after its time (deviation: two RTOs)", in: .timeWait,
                """
                + 499
                = timeWait
                + 1
                = closed failure=none
                """),
            Row(
                "RFC 9293 3.10.7.4 eighth", "TIME-WAIT, FIN again: the time begins anew",
                in: .timeWait,
                """
                + 400
                < FA seq=1 ack=2
                > A seq=2 ack=2
                + 499
                = timeWait
                + 1
                = closed
                """),
            Row(
                "RFC 9293 3.10.7.4 fifth", "TIME-WAIT, other ACKs do not extend it", in: .timeWait,
                """
                + 400
                < A seq=2 ack=2
                + 100
                = closed
                """),
            Row(
                "RFC 5961 4.2", "TIME-WAIT, SYN: a challenge ACK, no new connection", in: .timeWait,
                """
                < S seq=5000
                > A seq=2 ack=2
                = timeWait same
                """)
        ]
}
