import Measures
import Testing

/// RFC 8985, RFC 9937, RFC 6675, RFC 6582: acknowledgements go in, exactly these segments go out.
/// Most rows begin with ten segments in flight and their answers due; the round trip is 100 ms, so
/// that RACK waits 25 ms for reordering.
@Suite struct LossTableTests {
    private static let begin = LossTable.tenInFlight()

    @Test(arguments: reordering, InitialSequences.all)
    func reorderingRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let reordering: [Row] = [
        Row(
            "RFC 8985 6.2 step 5",
            "a segment is lost a reordering window after one sent later has arrived",
            begin + """
                < A seq=1 ack=1 sack=1001-2001
                = lost=0
                + 24
                + 1
                > data seq=1 ack=1 len=1000
                = recovery=true
                """),
        Row(
            "RFC 8985 6.2 step 5", "... and is not, where it arrives in time",
            begin + """
                < A seq=1 ack=1 sack=1001-2001
                + 24
                < A seq=1 ack=2001
                + 1
                = recovery=false lost=0 flight=8000
                """),
        Row(
            "RFC 8985 6.2 step 4",
            "the window is a quarter of the least round trip: not waited again where it passed",
            """
            < A seq=1 ack=1
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 30
            ! send 1000
            > data seq=1001 ack=1 len=1000
            + 100
            < A seq=1 ack=1 sack=1001-2001
            > data seq=1 ack=1 len=1000
            """),
        Row(
            "RFC 8985 6.2 step 4",
            "with three delivered and no reordering seen nothing is waited for",
            begin + """
                < A seq=1 ack=1 sack=1001-3001
                = lost=0 recovery=false
                < A seq=1 ack=1 sack=1001-4001
                > data seq=1 ack=1 len=1000
                = recovery=true
                """),
        Row(
            "RFC 8985 6.2 steps 3, 4", "with reordering seen the three are no reason",
            begin + """
                < A seq=1 ack=1 sack=1001-2001
                + 1
                < A seq=1 ack=2001
                < A seq=1 ack=2001 sack=3001-6001
                = recovery=false lost=0
                + 24
                + 1
                > data seq=2001 ack=1 len=1000
                """),
        Row(
            "RFC 8985 6.2 step 4", "a D-SACK widens the window by a quarter round trip",
            begin + """
                < A seq=1 ack=1 sack=1001-4001
                > data seq=1 ack=1 len=1000
                < A seq=1 ack=4001
                < A seq=1 ack=4001 sack=1-1001
                = undone=1 recovery=false
                < A seq=1 ack=4001 sack=5001-6001
                + 49
                + 1
                > data seq=4001 ack=1 len=1000
                """),
        Row(
            "RFC 8985 6.2 step 5",
            "all sent before the latest delivered are judged, none sent after",
            begin + """
                < A seq=1 ack=1 sack=3001-6001
                > data seq=1 ack=1 len=1000
                = lost=2 flight=5000
                """),
        Row(
            "RFC 8985 3.1", "a lost retransmission is found by what was sent after it",
            LossTable.tenInFlight(more: 5000) + """
                < A seq=1 ack=1 sack=1001-5001
                > data seq=1 ack=1 len=1000
                + 50
                < A seq=1 ack=1 sack=1001-10001
                \(LossTable.data(10_001..<14_001))
                + 100
                < A seq=1 ack=1 sack=1001-11001
                > data seq=1 ack=1 len=1000
                > data seq=14001 ack=1 len=1000
                = timeouts=0
                """),
        Row(
            "RFC 8985 6.2 step 2", "an ACK too soon for the retransmission is the original's",
            begin + """
                < A seq=1 ack=1 sack=2001-5001
                > data seq=1 ack=1 len=1000
                + 10
                < A seq=1 ack=1001 sack=2001-5001
                = lost=1 flight=5000
                """),
        Row(
            "RFC 8985 6.3", "a time-out holds all in flight for lost (deviation: however young)",
            """
            < A seq=1 ack=1
            ! send 2000
            > data seq=1 ack=1 len=1000
            > data seq=1001 ack=1 len=1000
            + 200
            > data seq=1001 ack=1 len=1000
            + 290
            ! send 1000
            > data seq=2001 ack=1 len=1000
            + 10
            > data seq=1 ack=1 len=1000
            = lost=2 timeouts=1
            """),
        Row(
            "RFC 5682",
            "a time-out that was none: what it held for lost arrives, and all goes on",
            begin + """
                + 100
                > data seq=9001 ack=1 len=1000
                + 300
                > data seq=1 ack=1 len=1000
                = timeouts=1 cwnd=1000
                < A seq=1 ack=2001
                = undone=1 cwnd=12000 lost=0
                """)
    ]

    @Test(arguments: probes, InitialSequences.all)
    func probeRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let probes: [Row] = [
        Row(
            "RFC 8985 7.2", "PTO is two round trips",
            """
            ! send 2000
            \(LossTable.data(1..<2001))
            + 199
            + 1
            > data seq=1001 ack=1 len=1000
            = probes=1
            """),
        Row(
            "RFC 8985 7.2", "... and the peer's delay of ACKs where one segment is out",
            """
            ! send 1000
            \(LossTable.data(1..<1001))
            + 224
            + 1
            > data seq=1 ack=1 len=1000
            = probes=1
            """),
        Row(
            "RFC 8985 7.2", "deviation: where the RTO comes no later there is no probe",
            in: .established,
            with: { $0.maximumRTO = .milliseconds(200) },
            """
            ! send 2000
            \(LossTable.data(1..<2001))
            + 200
            > data seq=1 ack=1 len=1000
            = probes=0 timeouts=1
            """),
        Row(
            "RFC 8985 7.2", "each ACK of new data puts it off",
            """
            ! send 3000
            \(LossTable.data(1..<3001))
            + 100
            < A seq=1 ack=1001
            + 199
            + 1
            > data seq=2001 ack=1 len=1000
            """),
        Row(
            "RFC 8985 7.2", "nothing is probed while blocks or losses speak",
            begin + """
                < A seq=1 ack=1 sack=9001-10001
                + 25
                > data seq=1 ack=1 len=1000
                + 220
                = probes=0 timeouts=0
                """),
        Row(
            "RFC 8985 7.3",
            "the probe is new data where there is some", with: { $0.initialWindowSegments = 2 },
            """
            ! send 3000
            \(LossTable.data(1..<2001))
            + 200
            > data seq=2001 ack=1 len=1000
            = probes=1 flight=3000
            """),
        Row(
            "RFC 8985 7.3", "one probe, then the RTO, counted from it",
            """
            ! send 2000
            \(LossTable.data(1..<2001))
            + 200
            > data seq=1001 ack=1 len=1000
            + 299
            + 1
            > data seq=1 ack=1 len=1000
            = probes=1 timeouts=1
            """),
        Row(
            "RFC 8985 7.3", "a FIN is probed as well", in: .finWait1,
            """
            + 125
            > FA seq=1 ack=1
            = probes=1
            """),
        Row(
            "RFC 8985 7.4", "the probe's SACK shows the loss of what stood before it",
            """
            ! send 3000
            \(LossTable.data(1..<3001))
            + 200
            > data seq=2001 ack=1 len=1000
            + 100
            < A seq=1 ack=1001 sack=2001-3001
            > data seq=1001 ack=1 len=1000
            = recovery=true cwnd=2000 timeouts=0
            """),
        Row(
            "RFC 8985 7.4.2", "the probe alone repaired a loss: the window is reduced",
            """
            ! send 1000
            \(LossTable.data(1..<1001))
            + 225
            > data seq=1 ack=1 len=1000
            + 100
            < A seq=1 ack=1001
            ! send 1000
            > data seq=1001 ack=1 len=1000
            + 100
            < A seq=1 ack=2001
            = cwnd=5000
            """),
        Row(
            "RFC 8985 7.4.2", "a D-SACK says that nothing was lost",
            """
            ! send 1000
            \(LossTable.data(1..<1001))
            + 225
            > data seq=1 ack=1 len=1000
            < A seq=1 ack=1001
            < A seq=1 ack=1001 sack=1-1001
            ! send 1000
            > data seq=1001 ack=1 len=1000
            + 100
            < A seq=1 ack=2001
            = cwnd=10000
            """),
        Row(
            "RFC 8985 7.4.2", "a second ACK without blocks says so, too",
            """
            ! send 1000
            \(LossTable.data(1..<1001))
            + 225
            > data seq=1 ack=1 len=1000
            < A seq=1 ack=1001
            < A seq=1 ack=1001
            ! send 1000
            > data seq=1001 ack=1 len=1000
            + 100
            < A seq=1 ack=2001
            = cwnd=10000
            """)
    ]

    @Test(arguments: rates, InitialSequences.all)
    func rateRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    /// cwnd 10, so ssthresh 5; what goes out is CEIL(prr_delivered * 5 / 10) - prr_out, rounded up
    /// to a segment.
    static let rates: [Row] = [
        Row(
            "RFC 9937 6.2",
            "above ssthresh one segment for two delivered",
            LossTable.tenInFlight(more: 20_000) + """
                < A seq=1 ack=1 sack=1001-4001
                > data seq=1 ack=1 len=1000
                > data seq=10001 ack=1 len=1000
                < A seq=1 ack=1 sack=1001-5001
                < A seq=1 ack=1 sack=1001-6001
                > data seq=11001 ack=1 len=1000
                < A seq=1 ack=1 sack=1001-7001
                = flight=6000
                """),
        Row(
            "RFC 9937 6.2",
            "... until ssthresh is reached, then one for one",
            LossTable.tenInFlight(more: 20_000) + """
                < A seq=1 ack=1 sack=1001-7001
                > data seq=1 ack=1 len=1000
                > data seq=10001 ack=1 len=1000
                = flight=5000
                < A seq=1 ack=1 sack=1001-8001
                > data seq=11001 ack=1 len=1000
                < A seq=1 ack=1 sack=1001-9001
                > data seq=12001 ack=1 len=1000
                < A seq=1 ack=1 sack=1001-10001
                > data seq=13001 ack=1 len=1000
                = flight=5000 cwnd=5000
                """),
        Row(
            "RFC 9937 6.2", "at the end the window is ssthresh",
            LossTable.tenInFlight(more: 20_000) + """
                < A seq=1 ack=1 sack=1001-10001
                > data seq=1 ack=1 len=1000
                \(LossTable.data(10_001..<14_001))
                = flight=5000
                + 100
                < A seq=1 ack=10001
                > data seq=14001 ack=1 len=1000
                = recovery=false cwnd=5000
                """),
        Row(
            "RFC 9937 6.2", "much lost: no more goes than arrived (conservative reduction bound)",
            begin + """
                < A seq=1 ack=1 sack=7001-10001
                \(LossTable.data(1..<3001))
                = flight=3000 lost=4
                + 100
                < A seq=1 ack=1 sack=1001-2001,7001-10001
                > data seq=1 ack=1 len=1000
                = flight=2000 lost=4
                """),
        Row(
            "RFC 9937 6.2", "... and one more where the ACK is safe (slow start reduction bound)",
            begin + """
                < A seq=1 ack=1 sack=7001-10001
                \(LossTable.data(1..<3001))
                + 100
                < A seq=1 ack=1001 sack=7001-10001
                > data seq=3001 ack=1 len=1000
                > data seq=4001 ack=1 len=1000
                = flight=4000 lost=2
                """),
        Row(
            "RFC 6675 5, step 4", "one reduction for all losses of a window",
            begin + """
                < A seq=1 ack=1 sack=1001-2001,3001-5001
                > data seq=1 ack=1 len=1000
                = cwnd=6000 lost=1
                + 50
                < A seq=1 ack=1 sack=1001-2001,3001-5001,6001-9001
                > data seq=2001 ack=1 len=1000
                > data seq=5001 ack=1 len=1000
                + 50
                < A seq=1 ack=10001
                = cwnd=5000 recovery=false
                """),
        Row(
            "RFC 5681 3.1",
            "deviation: the threshold is half of the window, not of what is in flight",
            """
            < A seq=1 ack=1
            ! send 4000
            \(LossTable.data(1..<4001))
            + 100
            < A seq=1 ack=1 sack=1001-4001
            > data seq=1 ack=1 len=1000
            + 100
            < A seq=1 ack=4001
            = cwnd=5000
            """),
        Row(
            "RFC 6675 4",
            "NextSeg: losses before new data, the lowest first",
            LossTable.tenInFlight(more: 3000) + """
                < A seq=1 ack=1 sack=2001-10001
                > data seq=1 ack=1 len=1000
                > data seq=1001 ack=1 len=1000
                \(LossTable.data(10_001..<13_001))
                """),
        Row(
            "RFC 3042",
            "limited transmit: new data for what left the network (deviation: and as much more)",
            LossTable.tenInFlight(more: 3000) + """
                < A seq=1 ack=1 sack=1001-2001
                \(LossTable.data(10_001..<12_001))
                = cwnd=11000 flight=11000 recovery=false
                """),
        Row(
            "RFC 5681 3.1",
            "slow start: a segment more for each acknowledged, none where the window was not used",
            """
            < A seq=1 ack=1
            ! send 12000
            \(LossTable.data(1..<10_001))
            + 100
            < A seq=1 ack=2001
            \(LossTable.data(10_001..<12_001))
            = cwnd=12000
            < A seq=1 ack=12001
            = cwnd=22000
            ! send 1000
            > data seq=12001 ack=1 len=1000
            + 100
            < A seq=1 ack=13001
            = cwnd=22000
            """)
    ]
}
