import Testing

/// RFC 5681 section 4.2 and RFC 9293 section 3.8.6.3: when an ACK goes; RFC 5681 sections 3.1 and
/// 4.1 and RFC 6928: how much may go at the start and after a pause.
@Suite struct AcknowledgementTableTests {
    /// The first 16 segments are acknowledged each, so that a slow start hears of every one.
    private static let quick = stride(from: 1, to: 16_001, by: 1000)
        .map { "< A seq=\($0) ack=1 len=1000\n> A seq=1 ack=\($0 + 1000)\n" }.joined()

    @Test(arguments: due, InitialSequences.all)
    func dueRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let due: [Row] = [
        Row(
            "RFC 5681 4.2", "an ACK for at least every second full-sized segment",
            quick + """
                < A seq=16001 ack=1 len=1000
                < A seq=17001 ack=1 len=1000
                > A seq=1 ack=18001
                < A seq=18001 ack=1 len=1000
                < A seq=19001 ack=1 len=1000
                > A seq=1 ack=20001
                """),
        Row(
            "RFC 5681 4.2", "... and within 500 ms: here 25",
            quick + """
                < A seq=16001 ack=1 len=10
                + 24
                + 1
                > A seq=1 ack=16011
                + 10000
                """),
        Row(
            "RFC 9293 3.8.6.3", "data that goes takes the ACK along",
            quick + """
                < A seq=16001 ack=1 len=10
                ! send 5
                > data seq=1 ack=16011 len=5
                + 100
                """),
        Row(
            "RFC 5681 4.2", "a segment ahead of a gap is acknowledged at once",
            quick + """
                < A seq=17001 ack=1 len=10
                > A seq=1 ack=16001 sack=17001-17011
                """),
        Row(
            "RFC 5681 4.2", "... and one that fills a gap, wholly or in part",
            quick + """
                < A seq=16011 ack=1 len=10
                > A seq=1 ack=16001 sack=16011-16021
                < A seq=16001 ack=1 len=5
                > A seq=1 ack=16006 sack=16011-16021
                < A seq=16006 ack=1 len=5
                > A seq=1 ack=16021
                """),
        Row(
            "RFC 9293 3.10.7.4", "... and a duplicate",
            quick + """
                < A seq=15001 ack=1 len=1000
                > A seq=1 ack=16001 sack=15001-16001
                """),
        Row(
            "RFC 9293 3.10.7.4", "... and a FIN",
            quick + """
                < FA seq=16001 ack=1 len=10
                > A seq=1 ack=16012
                """),
        Row(
            "RFC 9293 3.10.7.4", "an ACK without text draws none",
            """
            < A seq=1 ack=1
            < A seq=1 ack=1 win=100
            = wnd=400 rcv=1
            + 1000
            """),
        Row(
            "RFC 9293 3.8.6.3", "after a pause segments are acknowledged each again",
            quick + """
                < A seq=16001 ack=1 len=10
                + 25
                > A seq=1 ack=16011
                + 201
                < A seq=16011 ack=1 len=10
                > A seq=1 ack=16021
                """),
        Row(
            "RFC 9293 3.8.6.3", "segments that arrive together are acknowledged together",
            stride(from: 1, to: 8001, by: 1000).map { "<< A seq=\($0) ack=1 len=1000\n" }.joined()
                + "! acknowledge\n> A seq=1 ack=8001")
    ]

    @Test(arguments: start, InitialSequences.all)
    func startRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let start: [Row] = [
        Row(
            "RFC 6928 2", "the initial window is ten segments",
            """
            ! send 20000
            \(LossTable.data(1..<10_001))
            = cwnd=10000
            """),
        Row(
            "RFC 5681 3.1", "... one, where the SYN was lost", in: .synSent,
            """
            + 1000
            > S seq=0
            < SA seq=0 ack=1
            > A seq=1 ack=1
            ! send 20000
            > data seq=1 ack=1 len=1000
            """),
        Row(
            "RFC 5681 3.1", "... or the SYN/ACK", in: .synReceived,
            """
            + 1000
            > SA seq=0 ack=1
            < A seq=1 ack=1
            ! send 20000
            > data seq=1 ack=1 len=1000
            """),
        Row(
            "RFC 5681 3.1", "congestion avoidance: one segment more for a window acknowledged",
            LossTable.tenInFlight(more: 20_000) + """
                < A seq=1 ack=1 sack=1001-10001
                > data seq=1 ack=1 len=1000
                \(LossTable.data(10_001..<14_001))
                + 100
                < A seq=1 ack=14001
                \(LossTable.data(14_001..<19_001))
                = cwnd=5000 recovery=false
                + 100
                < A seq=1 ack=16001
                \(LossTable.data(19_001..<21_001))
                = cwnd=5000
                < A seq=1 ack=19001
                \(LossTable.data(21_001..<25_001))
                = cwnd=6000
                """),
        Row(
            "RFC 5681 4.1, RFC 2861", "after a pause the window is the initial one again",
            """
            < A seq=1 ack=1
            ! send 20000
            \(LossTable.data(1..<10_001))
            + 100
            < A seq=1 ack=10001
            \(LossTable.data(10_001..<20_001))
            + 100
            < A seq=1 ack=20001
            = cwnd=20000
            + 5000
            ! send 20000
            \(LossTable.data(20_001..<30_001))
            = cwnd=10000
            """),
        Row(
            "RFC 7661", "a window that was not used does not grow",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 100
            < A seq=1 ack=1001
            = cwnd=10000
            """)
    ]
}
