import Lab
import Measures
import Testing

@Suite struct ControlLineTests {
    @Test(
        arguments: [
            ("status", .status), ("wifi silent on", .silent(uplink: "wifi", true)),
            ("wifi  silent\toff", .silent(uplink: "wifi", false)),
            ("wifi link down", .link(uplink: "wifi", isUp: false)),
            ("cellular link up", .link(uplink: "cellular", isUp: true)),
            (
                "cellular radio 5s/2s",
                .radio(uplink: "cellular", idle: .seconds(5), wake: .seconds(2))
            ),
            ("cellular radio off", .radioOff(uplink: "cellular")),
            ("wifi rate 2M", .change(uplink: "wifi", nil, .rate(.megabitsPerSecond(2)))),
            (
                "wifi down-rate 250k",
                .change(uplink: "wifi", .down, .rate(Rate(bytesPerSecond: 31_250)))
            ),
            ("wifi up-delay 15ms", .change(uplink: "wifi", .up, .delay(.milliseconds(15)))),
            ("wifi queue 2s", .change(uplink: "wifi", nil, .queueTime(.seconds(2)))),
            ("wifi queue 64k", .change(uplink: "wifi", nil, .queueBytes(65_536))),
            ("wifi queue 0", .change(uplink: "wifi", nil, .queueBytes(0))),
            ("wifi down-loss 1%", .change(uplink: "wifi", .down, .loss(0.01))),
            ("wifi loss 0.5", .change(uplink: "wifi", nil, .loss(0.5))),
            ("wifi rate 0", .change(uplink: "wifi", nil, .rate(.zero)))
        ] as [(String, ControlLine)]) func read(_ line: String, _ order: ControlLine)
    { #expect(ControlLine(line) == order) }

    @Test(arguments: [
        "", "status now", "wifi", "wifi silent", "wifi silent maybe", "wifi link sideways",
        "wifi rate", "wifi rate fast", "wifi rate -1",
        "wifi delay 15", "wifi delay -5ms", "wifi up-down-rate 1M", "wifi loss 101%", "wifi loss 2",
        "wifi radio 5s", "wifi radio /",
        "wifi queue 64q", "wifi rate 2M now", "wifi mtu 1500"
    ])
    func refused(_ line: String) { #expect(ControlLine(line) == nil) }
}
