import Testing

/// RFC 9293 sections 3.10.7.1 to 3.10.7.3, and SYN-RECEIVED, row by row.
@Suite struct OpeningTableTests {
    @Test(arguments: closed, InitialSequences.all)
    func closedRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let closed = [
        Row(
            "RFC 9293 3.10.7.1", "an incoming segment containing a RST is discarded", in: .closed,
            """
            < R seq=1
            = closed same refused
            < RA seq=1 ack=2
            = closed same
            """),
        Row(
            "RFC 9293 3.10.7.1", "ACK off: RST with SEQ=0, ACK=SEG.SEQ+SEG.LEN", in: .closed,
            """
            < - seq=1 len=3
            > RA seq=zero ack=4
            = closed same
            """),
        Row(
            "RFC 9293 3.10.7.1", "... where SYN and FIN count in SEG.LEN", in: .closed,
            """
            < S seq=5
            > RA seq=zero ack=6
            < F seq=7 len=10
            > RA seq=zero ack=18
            < SF seq=7 len=10
            > RA seq=zero ack=19
            """),
        Row(
            "RFC 9293 3.10.7.1", "ACK on: RST with SEQ=SEG.ACK and no ACK", in: .closed,
            """
            < A seq=1 ack=77 len=3
            > R seq=77
            < SA seq=0 ack=1
            > R seq=1
            < FA seq=9 ack=-5
            > R seq=-5
            """),
        Row(
            "RFC 5961 7", "a flood of them draws ten a second", in: .closed,
            (0..<12).map { "< A seq=1 ack=\($0)\n" + ($0 < 10 ? "> R seq=\($0)\n" : "") }.joined()
                + "+ 1000\n< A seq=1 ack=5\n> R seq=5")
    ]

    /// The owner chose to listen and approved the SYN; the row begins when the SYN/ACK was sent.
    @Test(arguments: listen, InitialSequences.all)
    func listenRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let listen = [
        Row(
            "RFC 9293 3.10.7.2", "third: RCV.NXT is SEG.SEQ+1, SND.UNA is ISS, SND.NXT is ISS+1",
            in: .synReceived, "= synReceived rcv=1 una=0 nxt=1 wnd=65535 mss=1000"),
        Row(
            "RFC 9293 3.10.7.2", "the SYN/ACK is repeated with the same options", in: .synReceived,
            """
            + 1000
            > SA seq=0 ack=1 win=65535 mss=1000 scale=7 sackok -ts
            = timeouts=1
            """),
        Row(
            "RFC 9293 3.10.7.2", "then ESTABLISHED", in: .synReceived,
            """
            < A seq=1 ack=1
            = established una=1 nxt=1 rcv=1 taken
            """)
    ]

    @Test(arguments: synSent, InitialSequences.all)
    func synSentRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let synSent = [
        Row(
            "RFC 9293 3.10.7.3 first", "SEG.ACK =< ISS: RST with SEQ=SEG.ACK, drop", in: .synSent,
            """
            < A seq=0 ack=0
            > R seq=0
            = synSent same refused
            < SA seq=0 ack=-300
            > R seq=-300
            = synSent same refused
            """),
        Row(
            "RFC 9293 3.10.7.3 first", "SEG.ACK > SND.NXT: RST with SEQ=SEG.ACK, drop",
            in: .synSent,
            """
            < SA seq=0 ack=2
            > R seq=2
            = synSent same refused
            < A seq=90 ack=5000 len=5
            > R seq=5000
            = synSent same refused
            """),
        Row(
            "RFC 9293 3.10.7.3 first", "... unless the RST bit is set: drop and return",
            in: .synSent,
            """
            < RA seq=0 ack=0
            = synSent same refused
            < RA seq=0 ack=2
            = synSent same refused
            """),
        Row(
            "RFC 9293 3.10.7.3 second",
            "RST with an acceptable ACK: connection reset, CLOSED", in: .synSent,
            """
            < RA seq=7 ack=1
            = closed failure=reset
            """),
        Row(
            "RFC 9293 3.10.7.3 second", "RST without ACK: drop", in: .synSent,
            """
            < R seq=0
            = synSent same refused
            """),
        Row(
            "RFC 9293 3.10.7.3 fourth", "SYN/ACK: ESTABLISHED, and an ACK", in: .synSent,
            """
            < SA seq=0 ack=1 win=500
            > A seq=1 ack=1
            = established una=1 nxt=1 rcv=1 wnd=500 taken
            """),
        Row(
            "RFC 9293 3.10.7.3 fourth",
            "... where our SYN is acknowledged it is not repeated", in: .synSent,
            """
            < SA seq=0 ack=1
            > A seq=1 ack=1
            + 10000
            = established timeouts=0 spans=0
            """),
        Row(
            "RFC 9293 3.10.7.3 fourth",
            "text on a SYN/ACK is not taken and comes again (deviation)",
            in: .synSent,
            """
            < SA seq=0 ack=1 len=10
            > A seq=1 ack=1
            = established rcv=1 text=none
            < A seq=1 ack=1 len=10
            > A seq=1 ack=11
            = text=0-10
            """),
        Row(
            "RFC 9293 3.10.7.3 fourth", "text on a SYN/ACK is taken where early data is agreed on",
            in: .synSent, with: { $0.earlyData = true },
            """
            < SA seq=0 ack=1 len=10
            > A seq=1 ack=11
            = established text=0-10
            """),
        Row(
            "RFC 9293 3.5 figure 8", "SYN alone, a simultaneous open: SYN-RECEIVED, and a SYN/ACK",
            in: .synSent,
            """
            < S seq=0
            > SA seq=0 ack=1
            = synReceived una=0 nxt=1 rcv=1
            < SA seq=0 ack=1
            = established una=1 nxt=1 rcv=1
            """),
        Row(
            "RFC 9293 3.10.7.3 fifth", "neither SYN nor RST: drop", in: .synSent,
            """
            < A seq=1 ack=1
            = synSent same refused
            < A seq=1 ack=1 len=100
            = synSent same refused
            < FA seq=1 ack=1
            = synSent same refused
            < - seq=1 len=3
            = synSent same refused
            """),
        Row(
            "RFC 9293 3.10.4",
            "CLOSE before the handshake waits for it (deviation), ABORT does not",
            in: .synSent,
            """
            ! close
            = synSent
            < SA seq=0 ack=1
            > FA seq=1 ack=1
            = finWait1
            """),
        Row(
            "RFC 9293 3.10.5", "ABORT in SYN-SENT", in: .synSent,
            """
            ! abort
            > R seq=1
            = closed failure=aborted
            """)
    ]

    @Test(arguments: synReceived, InitialSequences.all)
    func synReceivedRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let synReceived = [
        Row(
            "RFC 9293 3.10.7.4 first",
            "not acceptable: an ACK of what is expected, drop", in: .synReceived,
            """
            < A seq=200000 ack=1
            > A seq=1 ack=1
            = synReceived same refused
            < A seq=-100 ack=1 len=50
            > A seq=1 ack=1 sack=-100--50
            = synReceived same refused
            """),
        Row(
            "RFC 9293 3.10.7.4 second", "RST at RCV.NXT: the attempt is over", in: .synReceived,
            """
            < R seq=1
            = closed failure=reset
            """),
        Row(
            "RFC 9293 3.10.7.4 second", "... also after a simultaneous open",
            in: .activeSynReceived,
            """
            < R seq=1
            = closed failure=reset
            """),
        Row(
            "RFC 5961 3.2", "RST elsewhere in the window: a challenge ACK", in: .synReceived,
            """
            < R seq=2
            > A seq=1 ack=1
            = synReceived same refused
            """),
        Row(
            "RFC 5961 3.2", "RST outside the window: nothing", in: .synReceived,
            """
            < R seq=0
            = synReceived same refused
            < R seq=200000
            = synReceived same refused
            """),
        Row(
            "RFC 9293 3.10.7.4 fourth",
            "the SYN again: the SYN/ACK again (deviation: no return to LISTEN)",
            in: .synReceived,
            """
            < S seq=0
            > SA seq=0 ack=1
            = synReceived same
            """),
        Row(
            "RFC 5961 4.2", "another SYN: a challenge ACK", in: .synReceived,
            """
            < S seq=1
            > A seq=1 ack=1
            = synReceived same refused
            < SA seq=70 ack=1
            > A seq=1 ack=1
            = synReceived same refused
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "ACK off: drop", in: .synReceived,
            """
            < - seq=1 len=10
            = synReceived same refused
            < F seq=1
            = synReceived same refused
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth",
            "SND.UNA < SEG.ACK =< SND.NXT: ESTABLISHED with SND.WND, WL1, WL2",
            in: .synReceived,
            """
            < A seq=1 ack=1 win=100
            = established una=1 wnd=400
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "any other ACK: RST with SEQ=SEG.ACK", in: .synReceived,
            """
            < A seq=1 ack=0
            > R seq=0
            = synReceived same refused
            < A seq=1 ack=2
            > R seq=2
            = synReceived same refused
            """),
        Row(
            "RFC 9293 3.10.7.4 fifth", "... also after a simultaneous open", in: .activeSynReceived,
            """
            < A seq=1 ack=2
            > R seq=2
            = synReceived same refused
            < A seq=1 ack=1
            = established
            """),
        Row(
            "RFC 9293 3.10.7.4 seventh",
            "text with the ACK that completes the handshake", in: .synReceived,
            """
            < A seq=1 ack=1 len=10
            > A seq=1 ack=11
            = established rcv=11 text=0-10
            """),
        Row(
            "RFC 9293 3.10.7.4 seventh", "text ahead of it is acknowledged with it",
            in: .synReceived,
            """
            < A seq=11 ack=1 len=10
            > A seq=1 ack=1 sack=11-21
            = established rcv=1 text=0-10
            """),
        Row(
            "RFC 9293 3.10.7.4 eighth", "FIN with that ACK: CLOSE-WAIT", in: .synReceived,
            """
            < FA seq=1 ack=1
            > A seq=1 ack=2
            = closeWait rcv=2 finished
            """),
        Row(
            "RFC 9293 3.10.4", "CLOSE in SYN-RECEIVED: FIN, once ESTABLISHED", in: .synReceived,
            """
            ! close
            = synReceived
            < A seq=1 ack=1
            > FA seq=1 ack=1
            = finWait1
            """),
        Row(
            "RFC 9293 3.10.5", "ABORT in SYN-RECEIVED: RST", in: .synReceived,
            """
            ! abort
            > RA seq=1 ack=1
            = closed failure=aborted
            """),
        Row(
            "RFC 9293 3.8.3", "the SYN is given up after R2 (deviation: two minutes)",
            in: .synReceived,
            [1, 2, 4, 8, 16, 32].map { "+ \($0)000\n> SA seq=0 ack=1\n" }.joined()
                + "+ 56999\n= synReceived\n+ 1\n= closed failure=timedOut")
    ]
}
