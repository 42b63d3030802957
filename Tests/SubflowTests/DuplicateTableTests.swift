import Testing

/// RFC 5681 and RFC 6582: what is left where the peer does not speak SACK. Rows begin as in
/// `LossTableTests`.
@Suite struct DuplicateTableTests {
    private static let begin = LossTable.tenInFlight()

    @Test(arguments: withoutSACK, InitialSequences.all)
    func withoutSACKRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    private static func plain(_ section: String, _ text: String, _ lines: String) -> Row {
        Row(section, text, with: { $0.selectiveAcknowledgement = false }, lines)
    }

    private static func repeats(_ n: Int) -> String {
        String(repeating: "< A seq=1 ack=1\n", count: n)
    }

    static let withoutSACK: [Row] = [
        plain(
            "RFC 5681 3.2", "the third duplicate ACK: fast retransmit",
            begin + repeats(2) + """
                = recovery=false
                < A seq=1 ack=1
                > data seq=1 ack=1 len=1000
                = recovery=true
                """),
        plain(
            "RFC 5681 2",
            "an ACK with text, another window or FIN is no duplicate",
            begin + repeats(2) + """
                < A seq=1 ack=1 win=15000
                = recovery=false
                < A seq=1 ack=1 len=10 win=15000
                > A seq=10001 ack=11
                = recovery=false
                < FA seq=11 ack=1 win=15000
                > A seq=10001 ack=12
                = recovery=false
                """),
        plain(
            "RFC 6582 3.2 step 3", "a partial ACK: the next hole goes at once",
            begin + repeats(3) + """
                > data seq=1 ack=1 len=1000
                + 100
                < A seq=1 ack=3001
                > data seq=3001 ack=1 len=1000
                + 100
                < A seq=1 ack=6001
                > data seq=6001 ack=1 len=1000
                = recovery=true timeouts=0
                + 100
                < A seq=1 ack=10001
                = recovery=false cwnd=5000
                """),
        plain(
            "RFC 6582 3.2 step 3", "a full ACK ends it",
            begin + repeats(3) + """
                > data seq=1 ack=1 len=1000
                + 100
                < A seq=1 ack=10001
                = recovery=false cwnd=5000 spans=0
                """),
        plain(
            "RFC 5681 3.2",
            "duplicates after the third keep new data going",
            LossTable.tenInFlight(more: 5000)
                + repeats(3) + "> data seq=1 ack=1 len=1000\n" + repeats(2) + """
                    < A seq=1 ack=1
                    > data seq=10001 ack=1 len=1000
                    < A seq=1 ack=1
                    > data seq=11001 ack=1 len=1000
                    """)
    ]
}
