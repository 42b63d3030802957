import Measures
import Testing

/// RFC 6298: how the time-out is computed, and what its timer does. An established row begins with
/// one sample of 100 ms: SRTT 100, RTTVAR 50, RTO 300.
@Suite struct RetransmissionTimerTableTests {
    @Test(arguments: first, InitialSequences.all)
    func firstMeasurement(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let first: [Row] =
        [
            Row(
                "RFC 6298 2.1", "until a measurement RTO is 1 s", in: .synSent,
                """
                = rto=1000 sampled=false
                + 999
                + 1
                > S seq=0
                """)
        ]
        + [
            (30, "15", "200"), (60, "30", "200"), (70, "35", "210"), (100, "50", "300"),
            (400, "200", "1200"),
            (999, "499.5", "2997")
        ].map { sample, variation, timeout in
            Row(
                "RFC 6298 2.2",
                "first measurement \(sample): SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR",
                in: .synSent,
                """
                + \(sample)
                < SA seq=0 ack=1
                > A seq=1 ack=1
                = srtt=\(sample) var=\(variation) rto=\(timeout) sampled=true
                """)
        } + [
            Row(
                "RFC 6298 2.4", "the least RTO is 200 ms (deviation: not 1 s)", in: .synSent,
                """
                + 1
                < SA seq=0 ack=1
                > A seq=1 ack=1
                = srtt=1 rto=200
                """),
            Row(
                "RFC 6298 2.4",
                "... or what is configured", in: .synSent, with: { $0.minimumRTO = .seconds(1) },
                """
                + 100
                < SA seq=0 ack=1
                > A seq=1 ack=1
                = srtt=100 rto=1000
                """),
            Row(
                "RFC 6298 2.5", "the greatest is 60 s", in: .synSent,
                with: { $0.giveUpAfter = .seconds(10_000) },
                [1, 2, 4, 8, 16, 32, 60, 60, 60].map { "+ \($0)000\n> S seq=0\n" }.joined()
                    + "= rto=60000")
        ]

    struct Series: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let floor: Int64
        /// Sample, then what section 2.3 makes of it: SRTT, RTTVAR, RTO.
        let steps: [(sample: Int, srtt: String, variation: String, timeout: String)]
    }

    @Test(arguments: series, InitialSequences.all)
    func furtherMeasurements(_ series: Series, _ start: InitialSequences) {
        var sent = 1
        let lines = series.steps.map { step in
            sent += 10
            return """
                ! send 10
                > data seq=\(sent - 10) ack=1 len=10
                + \(step.sample)
                < A seq=1 ack=\(sent)
                = srtt=\(step.srtt) var=\(step.variation) rto=\(step.timeout)

                """
        }
        let floor = series.floor
        Row(
            "RFC 6298 2.3", series.testDescription, with: { $0.minimumRTO = .milliseconds(floor) },
            lines.joined()
        ).run(at: start)
    }

    /// RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'|, then SRTT = 7/8 SRTT + 1/8 R', computed with
    /// fractions.
    static let series: [Series] = [
        Series(
            testDescription: "steady", floor: 1,
            steps: [
                (100, "100", "37.5", "250"), (100, "100", "28.125", "212.5"),
                (100, "100", "21.094", "184.375"),
                (100, "100", "15.82", "163.281")
            ]),
        Series(
            testDescription: "around the mean", floor: 1,
            steps: [
                (60, "95", "47.5", "285"), (140, "100.625", "46.875", "288.125"),
                (100, "100.547", "35.313", "241.797")
            ]),
        Series(
            testDescription: "swinging", floor: 1,
            steps: [
                (190, "111.25", "60", "351.25"), (10, "98.594", "70.313", "379.844"),
                (190, "110.02", "75.586", "412.363")
            ]),
        Series(
            testDescription: "steady, with the floor", floor: 200,
            steps: [
                (100, "100", "37.5", "250"), (100, "100", "28.125", "212.5"),
                (100, "100", "21.094", "200")
            ])
    ]

    /// Without SACK, so that no tail loss probe comes before the time-out.
    private static func timer(
        _ section: String, _ text: String, in place: Place = .established,
        _ lines: String
    ) -> Row {
        Row(section, text, in: place, with: { $0.selectiveAcknowledgement = false }, lines)
    }

    @Test(arguments: rules, InitialSequences.all)
    func ruleRows(_ row: Row, _ start: InitialSequences) { row.run(at: start) }

    static let rules: [Row] = [
        timer(
            "RFC 6298 5.1", "sending starts the timer",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 299
            + 1
            > data seq=1 ack=1 len=1000
            """),
        timer(
            "RFC 6298 5.1", "sending more while it runs does not start it anew",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 200
            ! send 1000
            > data seq=1001 ack=1 len=1000
            + 99
            + 1
            > data seq=1 ack=1 len=1000
            """),
        timer(
            "RFC 6298 5.1", "a FIN starts it, too",
            """
            ! close
            > FA seq=1 ack=1
            + 299
            + 1
            > FA seq=1 ack=1
            """),
        timer(
            "RFC 6298 5.1", "an ACK, a RST or a probe does not",
            """
            ! acknowledge
            > A seq=1 ack=1
            ! probe
            > A seq=0 ack=1
            + 100000
            = timeouts=0
            """),
        timer(
            "RFC 6298 5.2", "all acknowledged: the timer is off",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 100
            < A seq=1 ack=1001
            + 100000
            = timeouts=0
            """),
        timer(
            "RFC 6298 5.3", "an ACK of new data restarts it, with the new RTO",
            """
            ! send 2000
            > data seq=1 ack=1 len=1000
            > data seq=1001 ack=1 len=1000
            + 200
            < A seq=1 ack=1001
            = rto=362.5
            + 362
            + 1
            > data seq=1001 ack=1 len=1000
            """),
        timer(
            "RFC 6298 5.3", "... also of part of a segment",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 200
            < A seq=1 ack=301
            = una=301 flight=700 rto=300
            + 299
            + 1
            > data seq=301 ack=1 len=700
            """),
        timer(
            "RFC 6298 5.3", "an ACK of nothing new does not",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 200
            < A seq=1 ack=1
            + 99
            + 1
            > data seq=1 ack=1 len=1000
            """),
        timer(
            "RFC 6298 5.4",
            "the earliest segment is repeated, and that one only (RFC 5681 4.3: LW)",
            """
            ! send 4000
            > data seq=1 ack=1 len=1000
            > data seq=1001 ack=1 len=1000
            > data seq=2001 ack=1 len=1000
            > data seq=3001 ack=1 len=1000
            + 300
            > data seq=1 ack=1 len=1000
            = cwnd=1000 timeouts=1 flight=1000 lost=3
            """),
        timer(
            "RFC 6298 5.5, 5.6", "each expiry doubles the RTO and starts the timer with it",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000

            """
                + [300, 600, 1200, 2400, 4800].map {
                    "+ \($0 - 1)\n+ 1\n> data seq=1 ack=1 len=1000\n= rto=\(2 * $0)\n"
                }.joined()),
        timer(
            "RFC 6298 5.7", "after a lost SYN the RTO is 3 s when data begins", in: .synSent,
            """
            + 1000
            > S seq=0
            < SA seq=0 ack=1
            > A seq=1 ack=1
            = rto=3000 sampled=false
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 2999
            + 1
            > data seq=1 ack=1 len=1000
            """),
        timer(
            "RFC 6298 5.7", "after a lost SYN/ACK as well", in: .synReceived,
            """
            + 1000
            > SA seq=0 ack=1
            < A seq=1 ack=1
            = rto=3000 sampled=false
            """),
        timer(
            "RFC 6298 5.7", "the first measurement ends that", in: .synSent,
            """
            + 1000
            > S seq=0
            < SA seq=0 ack=1
            > A seq=1 ack=1
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 80
            < A seq=1 ack=1001
            = srtt=80 var=40 rto=240
            """),
        timer(
            "RFC 6298 3", "Karn: what was sent twice gives no sample",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 300
            > data seq=1 ack=1 len=1000
            + 50
            < A seq=1 ack=1001
            = srtt=100 var=50
            """),
        timer(
            "RFC 6298 3", "... nor what was held up behind it, without SACK",
            """
            ! send 2000
            > data seq=1 ack=1 len=1000
            > data seq=1001 ack=1 len=1000
            + 300
            > data seq=1 ack=1 len=1000
            + 100
            < A seq=1 ack=2001
            = srtt=100 var=50
            """),
        timer(
            "RFC 6298 5.7",
            "the doubled RTO ends with a round trip measured, not with data acknowledged",
            """
            ! send 1000
            > data seq=1 ack=1 len=1000
            + 300
            > data seq=1 ack=1 len=1000
            = backoffs=1 rto=600
            < A seq=1 ack=1001
            = backoffs=0 rto=600
            ! send 1000
            > data seq=1001 ack=1 len=1000
            + 100
            < A seq=1 ack=2001
            = backoffs=0 rto=250
            """),
        timer(
            "RFC 5681 3.1",
            "a time-out: the threshold is half, the window one segment, then slow start",
            """
            < A seq=1 ack=1
            ! send 10000
            \(LossTable.data(1..<10_001))
            + 300
            > data seq=1 ack=1 len=1000
            = cwnd=1000
            < A seq=1 ack=1001
            \(LossTable.data(1001..<3001))
            = cwnd=2000
            < A seq=1 ack=3001
            \(LossTable.data(3001..<7001))
            = cwnd=4000
            < A seq=1 ack=7001
            \(LossTable.data(7001..<10_001))
            = cwnd=5000 lost=0
            """)
    ]
}

/// Words for tables of many segments.
enum LossTable {
    /// The lines that expect these bytes, in segments of 1000.
    static func data(_ bytes: Range<Int>) -> String {
        stride(from: bytes.lowerBound, to: bytes.upperBound, by: 1000)
            .map { "> data seq=\($0) ack=1 len=\(min(1000, bytes.upperBound - $0))" }.joined(
                separator: "\n")
    }

    /// Ten segments in flight, the window as large as that, their first answers due; the
    /// application has
    /// `more` to send.
    static func tenInFlight(more: Int = 0) -> String {
        "< A seq=1 ack=1\n! send \(10_000 + more)\n\(data(1..<10_001))\n+ 100\n"
    }
}
