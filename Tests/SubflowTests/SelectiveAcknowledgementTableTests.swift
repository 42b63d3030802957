import Testing

/// RFC 2018 and RFC 2883: the blocks we send, and what we make of the peer's.
@Suite struct SelectiveAcknowledgementTableTests {
    @Test(arguments: reports, InitialSequences.all)
    func reportRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// Segments of 500 bytes, as in the examples of both documents, where 5000 is 1 here.
    static let reports: [Row] = [
        Row(
            "RFC 2018 4 case 1", "the first four arrive, the last four are lost: no blocks",
            [1, 501, 1001, 1501].map { "< A seq=\($0) ack=1 len=500\n> A seq=1 ack=\($0 + 500)\n" }
                .joined()),
        Row(
            "RFC 2018 4 case 2", "the first is lost, the others arrive",
            stride(from: 501, to: 4001, by: 500).map {
                "< A seq=\($0) ack=1 len=500\n> A seq=1 ack=1 sack=501-\($0 + 500)\n"
            }.joined()),
        Row(
            "RFC 2018 4 case 3",
            "the second, fourth, sixth and eighth are lost; the fourth, then the second come",
            """
            < A seq=1 ack=1 len=500
            > A seq=1 ack=501
            < A seq=1001 ack=1 len=500
            > A seq=1 ack=501 sack=1001-1501
            < A seq=2001 ack=1 len=500
            > A seq=1 ack=501 sack=2001-2501,1001-1501
            < A seq=3001 ack=1 len=500
            > A seq=1 ack=501 sack=3001-3501,2001-2501,1001-1501
            < A seq=1501 ack=1 len=500
            > A seq=1 ack=501 sack=1001-2501,3001-3501
            < A seq=501 ack=1 len=500
            > A seq=1 ack=2501 sack=3001-3501
            """),
        Row(
            "RFC 2018 4", "the first block has the segment that caused the ACK, four at most",
            """
            << A seq=101 ack=1 len=10
            << A seq=201 ack=1 len=10
            << A seq=301 ack=1 len=10
            << A seq=401 ack=1 len=10
            < A seq=501 ack=1 len=10
            > A seq=1 ack=1 sack=501-511,401-411,301-311,201-211
            < A seq=211 ack=1 len=10
            > A seq=1 ack=1 sack=201-221,501-511,401-411,301-311
            < A seq=111 ack=1 len=10
            > A seq=1 ack=1 sack=101-121,201-221,501-511,401-411
            """),
        Row(
            "RFC 2018 4", "blocks are repeated in each ACK, also on data",
            """
            < A seq=101 ack=1 len=10
            > A seq=1 ack=1 sack=101-111
            ! acknowledge
            > A seq=1 ack=1 sack=101-111
            ! send 5
            > data seq=1 ack=1 len=5 sack=101-111
            """),
        Row(
            "RFC 2883 4.1.1", "a duplicate segment",
            """
            < A seq=1 ack=1 len=500
            > A seq=1 ack=501
            < A seq=501 ack=1 len=500
            > A seq=1 ack=1001
            < A seq=1 ack=1 len=500
            > A seq=1 ack=1001 sack=1-501
            """),
        Row(
            "RFC 2883 4", "it is reported once",
            """
            < A seq=1 ack=1 len=500
            > A seq=1 ack=501
            < A seq=1 ack=1 len=500
            > A seq=1 ack=501 sack=1-501
            ! acknowledge
            > A seq=1 ack=501
            """),
        Row(
            "RFC 2883 4.1.2", "an out-of-order segment and a duplicate one",
            """
            << A seq=1 ack=1 len=500
            < A seq=501 ack=1 len=500
            > A seq=1 ack=1001
            < A seq=1501 ack=1 len=500
            > A seq=1 ack=1001 sack=1501-2001
            < A seq=1 ack=1 len=500
            > A seq=1 ack=1001 sack=1-501,1501-2001
            """),
        Row(
            "RFC 2883 4.1.3", "a duplicate of an out-of-order segment: its block is the second",
            """
            << A seq=501 ack=1 len=500
            < A seq=1001 ack=1 len=500
            > A seq=1 ack=1 sack=501-1501
            < A seq=1001 ack=1 len=500
            > A seq=1 ack=1 sack=1001-1501,501-1501
            """),
        Row(
            "RFC 2883 4 (3)", "... also where another block grew later",
            """
            << A seq=501 ack=1 len=500
            < A seq=2001 ack=1 len=500
            > A seq=1 ack=1 sack=2001-2501,501-1001
            < A seq=501 ack=1 len=500
            > A seq=1 ack=1 sack=501-1001,501-1001,2001-2501
            """),
        Row(
            "RFC 2883 4.2", "deviation: a duplicate part of a segment is not reported",
            """
            < A seq=1 ack=1 len=500
            > A seq=1 ack=501
            < A seq=1 ack=1 len=1000
            > A seq=1 ack=1001
            = text=500-1000
            """)
    ]

    @Test(arguments: scoreboard, InitialSequences.all)
    func scoreboardRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let scoreboard: [Row] = [
        Row(
            "RFC 2018 5",
            "what was acknowledged selectively is not repeated, the holes are, in order",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=1001-2001,4001-6001,7001-10001
                > data seq=1 ack=1 len=1000
                > data seq=2001 ack=1 len=1000
                > data seq=3001 ack=1 len=1000
                > data seq=6001 ack=1 len=1000
                = delivered=6000
                """),
        Row(
            "RFC 2018 8", "it is kept until acknowledged cumulatively",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=1001-10001
                > data seq=1 ack=1 len=1000
                = spans=10 una=1 flight=1000
                < A seq=1 ack=10001
                = spans=0 flight=0
                """),
        Row(
            "RFC 2018 8",
            "reneging: after a time-out what the peer dropped goes again",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=1001-10001
                > data seq=1 ack=1 len=1000
                < A seq=1 ack=1001
                = spans=9 flight=0
                + 300
                > data seq=1001 ack=1 len=1000
                = timeouts=1 spans=9
                < A seq=1 ack=2001
                \(LossTable.data(2001..<4001))
                """),
        Row(
            "RFC 2018 5.1",
            "after a time-out without that sign, blocks still count",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=2001-10001
                > data seq=1 ack=1 len=1000
                > data seq=1001 ack=1 len=1000
                + 300
                > data seq=1 ack=1 len=1000
                < A seq=1 ack=1001
                > data seq=1001 ack=1 len=1000
                < A seq=1 ack=10001
                = spans=0 flight=0
                """),
        Row(
            "RFC 2018 5",
            "blocks beyond SND.NXT, empty and reversed ones say nothing",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=10001-11001,5001-5001,3001-2001
                = delivered=0 flight=10000 recovery=false
                < A seq=1 ack=1 sack=9001-10002
                = delivered=0 flight=10000
                """),
        Row(
            "RFC 2018 5",
            "a block that covers part of a segment delivers none of it",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=1501-2501
                = delivered=0 flight=10000
                < A seq=1 ack=1 sack=1501-3001
                = delivered=1000 flight=9000
                < A seq=1 ack=1 sack=1001-3001
                = delivered=1000 flight=8000
                """),
        Row(
            "RFC 2018 5", "a cumulative ACK within a segment leaves its rest",
            """
            ! send 2000
            > data seq=1 ack=1 len=1000
            > data seq=1001 ack=1 len=1000
            < A seq=1 ack=501
            = una=501 flight=1500 spans=2
            < A seq=1 ack=1501
            = una=1501 flight=500 spans=1
            < A seq=1 ack=2001
            = flight=0 spans=0
            """),
        Row(
            "RFC 2883 5", "a D-SACK below the ACK delivers nothing",
            LossTable.tenInFlight() + """
                < A seq=1 ack=3001
                = delivered=3000
                < A seq=1 ack=3001 sack=1-1001
                = delivered=0 flight=7000 recovery=false
                """),
        Row(
            "RFC 2883 5",
            "... nor one above it, which stands within the second block",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=1001-2001
                = delivered=1000
                < A seq=1 ack=1 sack=1001-2001,1001-2001
                = delivered=0 flight=9000
                """),
        Row(
            "RFC 3708, RFC 2883 5", "D-SACKs for all that was repeated: nothing had been lost",
            LossTable.tenInFlight() + """
                < A seq=1 ack=1 sack=2001-10001
                > data seq=1 ack=1 len=1000
                > data seq=1001 ack=1 len=1000
                = recovery=true
                < A seq=1 ack=10001
                = recovery=false cwnd=5000
                < A seq=1 ack=10001 sack=1-1001
                = undone=0
                < A seq=1 ack=10001 sack=1001-2001
                = undone=1 cwnd=10000
                """)
    ]
}
