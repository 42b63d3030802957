import Testing

@testable import History

@Suite struct MetricTests {
    @Test func familiesAreWrittenOnceWithHelpAndType() {
        var text = MetricText(prefix: "braid_")
        text.add("a_total", .counter, "What it\nis \\.", [.init(["user": "x\"\\\ny"], 5), .init(2)])
        text.add("a_total", .counter, "Again.", [.init(1)])
        text.add("none", .gauge, "Nothing.", [])
        text.add("ratio", .gauge, "A share.", [.init(0.25), .init(.nan), .init(3.0)])
        text.add("written", .gauge, "As it is.", [.init(written: "reason=\"denied\"", 7)])
        #expect(
            text.text == """
                # HELP braid_a_total What it\\nis \\\\.
                # TYPE braid_a_total counter
                braid_a_total{user="x\\"\\\\\\ny"} 5
                braid_a_total 2
                # HELP braid_ratio A share.
                # TYPE braid_ratio gauge
                braid_ratio 0.25
                braid_ratio NaN
                braid_ratio 3
                # HELP braid_written As it is.
                # TYPE braid_written gauge
                braid_written{reason="denied"} 7

                """)
    }

    @Test func oddLabelsStayInsideOfTheirQuotes() {
        for odd in [
            "a\r\nb 1", "q\"\u{301}} 1", "b\\\u{308}", "\u{1f469}\u{200d}\u{1f4bb}\n\u{301}"
        ] {
            var text = MetricText(prefix: "")
            text.add("up", .gauge, odd, [.init(["user": odd], 1)])
            let lines = text.text.utf8.split(separator: 10, omittingEmptySubsequences: false)
            #expect(lines.count == 4, "\(text.text)")
            // Every quote and backslash of the value has a backslash in front.
            var isEscaped = false, open = 0
            for byte in lines[2] {
                if isEscaped {
                    isEscaped = false
                } else if byte == 0x5c {
                    isEscaped = true
                } else if byte == 0x22 {
                    open += 1
                }
            }
            #expect(open == 2 && !isEscaped)
        }
    }

    @Test func histogramsAreCumulative() {
        var histogram = Histogram(bounds: [0.1, 1])
        for value in [0.05, 0.1, 0.5, 7] { histogram.add(value) }
        var text = MetricText(prefix: "")
        text.add("p_seconds", "Pauses.", [(labels: ["uplink": "w"], histogram: histogram)])
        #expect(
            text.text == """
                # HELP p_seconds Pauses.
                # TYPE p_seconds histogram
                p_seconds_bucket{uplink="w",le="0.1"} 2
                p_seconds_bucket{uplink="w",le="1"} 3
                p_seconds_bucket{uplink="w",le="+Inf"} 4
                p_seconds_sum{uplink="w"} 7.65
                p_seconds_count{uplink="w"} 4

                """)
    }
}
