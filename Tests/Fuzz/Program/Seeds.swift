import Buffers
import Foundation
import Glibc
import Measures

@testable import Wire

/// First inputs for every target, made from real values: the fuzzer goes on from there.
enum Seeds {
    static func write(to folder: String) {
        mkdir(folder, 0o755)
        for (target, inputs) in all {
            mkdir("\(folder)/\(target)", 0o755)
            for (i, bytes) in inputs.enumerated() {
                let path = "\(folder)/\(target)/seed-\(i)"
                let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
                guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else {
                    fail("can't write \(path)")
                }
                close(file)
            }
        }
    }

    /// A question with EDNS; an answer with an alias, an address and EDNS; one of no such name.
    private static var names: [[UInt8]] {
        let question: [UInt8] = [1, 0x61, 4, 0x74, 0x65, 0x73, 0x74, 0, 0, 1, 0, 1]
        let option: [UInt8] = [0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]
        let alias: [UInt8] = [0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 44, 0, 4, 1, 0x62, 0xc0, 14]
        let address: [UInt8] = [0xc0, 36, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]
        let zone: [UInt8] =
            [0xc0, 14, 0, 6, 0, 1, 0, 0, 0, 60, 0, 24, 0xc0, 14, 0xc0, 14]
            + [UInt8](repeating: 1, count: 20)
        let yes: [UInt8] = [0, 9, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 1]
        let no: [UInt8] = [0, 9, 0x81, 0x83, 0, 1, 0, 0, 0, 1, 0, 0]
        return [
            [0, 0, 0, 0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1] + question + option,
            [1, 255, 1] + yes + question + alias + address + option,
            [3, 4, 1] + yes + question + alias + address + option,
            [1, 255, 0] + no + question + zone
        ]
    }

    /// SYNs of either family, the latter with extension headers; a held packet; an interface, an
    /// address and a route of rtnetlink's.
    private static var kernel: [[UInt8]] {
        let ports: [UInt8] = [0xc0, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]
        let four: [UInt8] =
            [0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7] + ports
        let six: [UInt8] =
            [0x60, 0, 0, 0, 0, 36, 0, 64] + [UInt8](repeating: 0x20, count: 32)
            + [60, 0, 0, 0, 0, 0, 0, 0] + [6, 0, 0, 0, 0, 0, 0, 0] + ports
        let queued: [UInt8] =
            [2, 0, 33, 150, 11, 0, 1, 0, 0, 0, 0, 9, 8, 0, 1, 0]
            + [8, 0, 3, 0, 0, 0, 0, 5, UInt8(four.count + 4), 0, 10, 0] + four
        let link: [UInt8] =
            [0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0, 1, 0, 0, 0, 0, 0]
            + [9, 0, 3, 0, 0x65, 0x74, 0x68, 0x30, 0, 0, 0, 0, 8, 0, 4, 0, 0xdc, 5, 0, 0]
        let address: [UInt8] = [2, 24, 0, 0, 2, 0, 0, 0, 8, 0, 2, 0, 192, 0, 2, 1]
        let route: [UInt8] =
            [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 4, 0, 2, 0, 0, 0]
            + [12, 0, 9, 0, 8, 0, 0, 0, 3, 0, 0, 0]
        let message = { (form: UInt8, payload: [UInt8]) in [form, UInt8(payload.count)] + payload }
        return [
            [1] + four, [1] + six, [0] + message(5, queued),
            [0] + message(0, link) + message(1, address) + message(2, route)
        ]
    }

    /// A browser's requests, and one by a token.
    private static var page: [[UInt8]] {
        let get = "GET /connections?sort=up&filter=a%20b HTTP/1.1\r\nHost: localhost:80\r\n"
        let post = "POST /mode HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 9\r\n"
        let fetch = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n"
        return [
            [0] + Array((get + fetch).utf8),
            [0] + Array((post + "Origin: http://127.0.0.1:80\r\n" + fetch).utf8),
            [1] + Array((post + "Authorization: Bearer 0123456789abcdef\r\n").utf8)
        ]
    }

    /// A ClientHello in two records, and an HTTP request.
    private static var firstBytes: [[UInt8]] {
        let name: [UInt8] = [0, 0, 0, 11, 0, 9, 0, 0, 6] + Array("a.test".utf8)
        let body: [UInt8] =
            [3, 3] + [UInt8](repeating: 7, count: 32) + [0, 0, 2, 0x13, 1, 1, 0, 0, 21]
            + [0, 43, 0, 2, 3, 4] + name
        let hello = [1, 0, 0, UInt8(body.count)] + body
        let rest = UInt8(hello.count - 9)
        return [
            [22, 3, 1, 0, 9] + hello[..<9] + [22, 3, 1, 0, rest] + hello[9...],
            Array("GET / HTTP/1.1\r\nHost: a.test:80\r\n\r\n".utf8)
        ]
    }

    /// Lines that are asked, in one piece and in several, and one without an end.
    private static var control: [[UInt8]] {
        let lines = [
            "status", "rule tcp example.org:443 from=127.0.0.1", "rule udp [::1]:53 user=0",
            "events 0 -3", "mode auto steady"
        ]
        var all: [[UInt8]] = lines.map { line in
            let bytes = Array(line.utf8)
            return [0, UInt8(64 | (bytes.count - 1))] + bytes + [0] as [UInt8]
        }
        let status = Array("status".utf8)
        all.append([1, 5] + status)
        all.append([2, 2] + Array("mod".utf8))
        var inPieces: [UInt8] = [0, 2]
        inPieces += status[..<3] + [66] + status[3...] + [0]
        all.append(inPieces)
        all.append([1, 128, 97, 128, 97])
        return all
    }

    private static var invitations: [[UInt8]] {
        let key = String(repeating: "AQEB", count: 10) + "AQE"
        let short = "braid://192.0.2.1:443/\(key)/\(key)"
        let long = " braid://a.example,[2001:db8::1]:5/\(key)/\(key)?psk=\(key)\n"
        var all: [[UInt8]] = [[0] + Array(short.utf8), [0] + Array(long.utf8)]
        all.append([1, 9, 0, 40, 47])
        all.append([2, 1] + [UInt8](repeating: 9, count: 32))
        all.append([3, 0, 3] + Array("ann".utf8))
        all.append([3, 1, 0])
        return all
    }

    /// Rows of usage and of events, a view in a table's place, bytes written over, small files.
    private static var histories: [[UInt8]] {
        let hour: [UInt8] = [1, 0], day: [UInt8] = [2, 7]
        func text(_ s: String) -> [UInt8] { [7, UInt8(s.utf8.count)] + Array(s.utf8) }
        func number(_ n: UInt8) -> [UInt8] { [0, 0, 0, 0, 0, 0, 0, 0, n] }
        var rows: [UInt8] = [0, 0]
        rows += hour + day + text("") + text("eth0")
        rows += number(5) + number(6) + [1]
        rows += day + text("") + text("a") + number(1) + number(2)
        var event: [UInt8] = [0, 2]
        event += number(1) + number(1) + number(1) + text("note") + [3, 3]
        event += text(#"{"kind":"note","numbers":{},"time":1,"detail":"so"}"#) + text("so")
        let view = "DROP TABLE usage; CREATE VIEW usage AS SELECT 1 AS hour"
        var wrong: [UInt8] = [0, 0, 6, 1, 65]
        wrong += day + text("") + text("b") + number(1) + [4] + number(1).dropFirst()
        let file = #"[{"day":20260101,"uplink":"eth0","sent":5,"received":6}]"#
        let allowances = "wlan0 5 20000 80\n  before 7 19969"
        var all: [[UInt8]] = [rows, event]
        all.append([1, UInt8(view.utf8.count)] + Array(view.utf8))
        all.append(wrong)
        all.append([2, 0, 40, 1, 0, 100, 9])
        all.append([3] + Array(file.utf8))
        all.append([7, 1, 0, 0, 1, 0] + Array(allowances.utf8))
        return all
    }

    static var all: [(String, [[UInt8]])] {
        [
            (
                "raw-segment",
                segments.flatMap {
                    [[0] + packet($0, isIPv4: true), [1] + packet($0, isIPv4: false)]
                }
            ),
            ("sealed-segment", segments.map { [1, 0, 0, 3, 232, 255, 255, 255, 0] + sealed($0) }),
            ("sealed-channel", [channel, general]),
            ("options", segments.map { [$0.flags.rawValue] + optionBytes($0) }),
            ("frames", frames), ("tunnel", programs + sessions), ("hostile", attacks),
            ("connection", programs + transfers),
            ("socks", socks), ("http", http), ("names", names), ("first-bytes", firstBytes),
            ("kernel", kernel), ("page", page), ("control", control),
            ("invitation", invitations), ("history", histories),
            ("configuration", configurations), ("reload", reloads),
            ("reassembly", numbers), ("byte-ring", numbers), ("ranges", numbers),
            ("mappings", numbers), ("replay", numbers),
            ("scoreboard", numbers)
        ]
    }

    // MARK: Attacks

    /// What was found in the field, in the form of `HostileBench.step`: side, form, rules, then
    /// steps.
    static let attacks: [[UInt8]] = {
        let user: [UInt8] = [0, 0, 0], concentrator: [UInt8] = [1, 0, 0]
        /// Steps that leave about a megabyte unacknowledged.
        let window: [UInt8] = [0, 8, 11, 0, 9, 8, 11, 0, 9, 8, 11, 0, 9, 8, 11, 1, 1]
        var all: [[UInt8]] = []
        for side in [user, concentrator] {
            // Three ACKs, two with blocks of the other half of sequence space: they chained for
            // ever.
            all.append(
                side + [8, 11, 1, 20, 1, 20]
                    + [
                        3, 0, 0, 2, 0, 0, 0, 1, 4, 0xec, 0x78, 5, 0x4e, 0x20, 2, 0x03, 0xe8, 5, 0,
                        1, 0, 0
                    ]
                    + [3, 0, 0, 16, 0, 0, 0, 2, 0, 0, 1, 20, 1, 20]
                    + [3, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0x27, 0x10, 0, 0])
            // Every other segment, then all of it, again and again.
            all.append(
                side + window + [3, 0, 0, 2, 24, 40, 0, 0, 0x02, 0x18, 0, 0x04, 0x30, 0x0b, 0xb8]
                    + [3, 0, 0, 2, 90, 40, 0, 1, 0, 1, 2, 0, 0, 1, 0, 2, 0, 0])
            // One-byte ranges; one-byte mappings; a flood of each other frame.
            all.append(
                side + [0, 3, 0, 0, 12, 90, 40, 0, 1, 0, 0, 1, 3, 0, 0, 12, 90, 40, 0, 3, 0, 0, 2])
            all.append(side + [0, 3, 0, 0, 77, 90, 40, 1, 1, 0, 16, 0, 2])
            for kind in [0, 1, 2, 10, 3, 11, 4, 5, 13, 6, 7, 15, 64, 128] as [UInt8] {
                all.append(
                    side + [0, 7, 7, 0, 7, 7, 0, 7, 7, 0, 7, 7, 0, 0, 5, kind, 255, 23, 1, 1])
            }
            for form in [0, 1, 2, 3] as [UInt8] {
                all.append(side + [0, 6, form, 31, 15, 6, form, 31, 15])
            }
        }
        return all
    }()

    // MARK: Segments

    /// One with each option, and some with what occurs together.
    static let segments: [Segment] = {
        func make(_ flags: ControlBits, _ set: (inout SegmentOptions) -> Void) -> Segment {
            var s = Segment()
            (s.sourcePort, s.destinationPort) = (49_152, 443)
            s.sequence = SubflowSequence(1_001)
            s.acknowledgement = SubflowSequence(4_294_967_001)
            s.window = 500
            s.flags = flags
            set(&s.options)
            return s
        }
        func dss(_ o: inout SegmentOptions, _ change: (inout DSS) -> Void) {
            o.dss = DSS()
            o.present.insert(.dss)
            change(&o.dss)
        }
        var mapping = DSS.Mapping()
        mapping.dataSequence = DataSequence(0xe3db_22c6_785a_0d46)
        mapping.subflowSequence = 1
        mapping.length = 5
        return [
            make(.syn) {
                $0.present = [
                    .maximumSegmentSize, .windowScale, .sackPermitted, .timestamps,
                    .multipathCapable
                ]
                $0.maximumSegmentSize = 1460; $0.windowScale = 9
            },
            make([.syn, .ack]) {
                $0.present = .multipathCapable;
                $0.multipathCapable.senderKey = 0xa0a1_a2a3_a4a5_a6a7
            },
            make(.ack) {
                $0.present = .multipathCapable;
                $0.multipathCapable.senderKey = 0x0001_0203_0405_0607
                $0.multipathCapable.receiverKey = 0xa0a1_a2a3_a4a5_a6a7;
                $0.multipathCapable.dataLength = 5
            },
            make(.syn) {
                $0.present = .join; $0.join.form = .syn(token: 0x8a85_1ff8, nonce: 0x1122_3344)
            },
            make([.syn, .ack]) {
                $0.present = .join;
                $0.join.form = .synAck(hmac: 0xe584_b0ec_47b5_ad3a, nonce: 0x5566_7788)
            },
            make(.ack) {
                $0.present = .join; $0.join.form = .ack(MPJoin.HMAC160(1, 2, 3))
            },
            make(.ack) {
                dss(&$0) {
                    $0.acknowledgement = DataSequence(7); $0.acknowledgementWidth = .four;
                    $0.mapping = mapping
                    $0.mapping?.width = .four
                }
            },
            make([.ack, .psh]) {
                dss(&$0) {
                    $0.acknowledgement = DataSequence(7); $0.acknowledgementWidth = .eight;
                    $0.mapping = mapping
                    $0.mapping?.checksum = 0x2fe5
                }
            },
            make(.ack) {
                dss(&$0) {
                    $0.acknowledgement = DataSequence(7); $0.acknowledgementWidth = .four
                }
                $0.present.insert(.sack)
                for i in 0..<3 {
                    $0.sack.append(
                        .init(
                            start: SubflowSequence(4_000 * UInt32(i + 1)),
                            end: SubflowSequence(4_000 * UInt32(i + 1) + 1_400)))
                }
            },
            make([.ack, .fin]) {
                dss(&$0) {
                    $0.dataFin = true; $0.mapping = mapping
                }
            },
            make(.ack) {
                $0.present = .addAddress; $0.addAddress.id = AddressID(5);
                $0.addAddress.address = IPAddress(v4: 0xc000_0205)
                $0.addAddress.port = 4430; $0.addAddress.hmac = 0x7cd9_4624_4b24_bf98
            },
            make(.ack) {
                $0.present = .addAddress; $0.addAddress.isEcho = true;
                $0.addAddress.address = IPAddress(v6High: 0x2001_0db8 << 32, low: 9)
            },
            make(.ack) {
                $0.present = [.removeAddress, .priority]; $0.removeAddress.append(AddressID(3));
                $0.priority.backup = true
            },
            make([.rst, .ack]) {
                $0.present = [.fail, .reset]; $0.reset.reason = 6
            },
            make(.ack) {
                $0.present = .fastClose; $0.fastClose.receiverKey = 0xa0a1_a2a3_a4a5_a6a7
            }
        ]
    }()

    static func packet(_ s: Segment, isIPv4: Bool) -> [UInt8] {
        let from = isIPv4 ? IPAddress(v4: 0x0a00_0001) : IPAddress(v6High: 0xfd00 << 48, low: 1)
        let to = isIPv4 ? IPAddress(v4: 0x0a00_0002) : IPAddress(v6High: 0xfd00 << 48, low: 2)
        var out = [UInt8](repeating: 0, count: 200)
        let n = out.withUnsafeMutableBytes { room in
            Array("hello".utf8).withUnsafeBytes {
                RawSegment.write(
                    s, payload: Pieces(first: $0, second: Pieces.empty.second), from: from, to: to,
                    into: room.baseAddress!, capacity: room.count)
            }
        }
        return Array(out[..<(n ?? 0)])
    }

    static func sealed(_ s: Segment) -> [UInt8] {
        var contexts = SealedSegmentTarget.Contexts(1_000, 4_294_967_000)
        return contexts.write(s, Array("hello".utf8), toEnd: true, fromInitiator: true)
    }

    static func optionBytes(_ s: Segment) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 256)
        let n = out.withUnsafeMutableBytes { s.options.write(to: $0.baseAddress!, padded: true) }
        return Array(out[..<n])
    }

    static let channel: [UInt8] = [
        0, 0, 3, 232, 255, 255, 255, 0, 2, 40, 2, 40, 0x8e, 0, 0x8d, 0x84, 0x8e, 0, 14, 0, 2, 40, 2,
        40, 14, 0, 1, 9, 2, 20
    ]

    /// A window is said and arrives, another one is said and lost, the bytes come again in the
    /// general form.
    static let general: [UInt8] = [
        0, 0, 3, 232, 255, 255, 255, 0, 0, 0, 9, 2, 39, 14, 0, 0, 0, 10, 2, 39, 30, 0, 26, 40, 39,
        14, 0,
        0x85, 0x84, 0x8e, 0, 2, 39, 14, 0
    ]

    static let frames: [[UInt8]] = [
        [9, 3, 0, 1, 1, 1, 187, 192, 0, 2, 1],
        [10, 3, 0, 1, 3, 1, 187] + [UInt8](repeating: 5, count: 16),
        [0x40, 1, 0, 0, 7, 0, 0, 9], [1, 0, 7, 0, 0, 0, 0, 0, 0, 1, 0],
        [2, 0, 7, 0, 0, 0, 0, 0, 0, 1, 0],
        [3, 1, 0, 2, 1, 1], [4, 1, 0, 2, 1, 3], [5, 1, 4, 1, 2, 3, 4], [7, 0], [8, 192, 0, 1],
        [1, 3, 0, 0, 9] + [UInt8](repeating: 8, count: 16), [1, 0, 2, 0, 0, 9],
        [3, 11] + Array("example.org".utf8) + [1, 187], [1, 192, 0, 2, 1, 0, 80],
        [4] + [UInt8](repeating: 1, count: 18)
    ]

    // MARK: Programs

    /// Behind the first byte, the form, stand the rules: anything goes, or nothing is forged and
    /// nobody gives up.
    static var programs: [[UInt8]] {
        (bare + forgeries).flatMap { bytes in [0, 3].map { [bytes[0], $0] + bytes.dropFirst() } }
    }
    private static let bare: [[UInt8]] = [
        [0, 1, 0, 0x80, 10, 0, 0, 16, 0, 1, 0x8a, 0, 0, 8, 0, 1, 10, 0, 4, 1, 0x8a, 0, 4, 1],
        [0, 9, 16, 0, 5, 0, 2, 9, 1, 14, 2, 1, 0x85, 0, 1, 12, 3, 1, 0x72, 200],
        [
            1, 6, 0, 11, 1, 0, 7, 0, 0, 0, 0, 0, 0, 1, 0, 6, 0, 6, 3, 1, 0, 2, 1, 1, 0x86, 0, 4, 8,
            192, 0, 1, 1
        ],
        [
            0, 11, 0, 1, 0x1b, 3, 1, 0x2e, 1, 13, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 10, 1, 1, 2, 3,
            0x72, 255, 0x72, 255
        ],
        [
            16, 12, 21, 1, 3, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x8c, 6,
            1, 0, 2, 0, 0, 9, 1
        ],
        [8, 2, 255, 0x72, 255, 1, 1, 9, 1, 0, 1, 0x72, 255, 1]
    ]
    /// Both sides of a connection write and read for a while on two paths, of which one loses,
    /// falls silent and goes.
    private static let transfers: [[UInt8]] = ([0, 1, 2, 8, 16, 33] as [UInt8]).map { form in
        let round: [UInt8] = [
            8, 31, 64, 0x88, 16, 0, 3, 0, 3, 2, 5, 1, 0, 100, 0, 9, 1, 0, 0x54, 200, 0, 0x89, 78, 0,
            9, 78, 0
        ]
        let silence: [UInt8] = [12, 1], loss: [UInt8] = [0x1c, 2],
            end: [UInt8] = [10, 0, 0x8a, 0, 0]
        return [[form, 3, 11, 1, 0], round, round, silence, round, loss, round, end].flatMap { $0 }
    }
    /// Keys are renewed while answers are late; streams end, the first one first; a path's states
    /// arrive in the wrong order; many small writes.
    private static let episodes: [[UInt8]] = {
        let renewal: [UInt8] = [
            10, 0, 0, 1, 0, 0x32, 200, 0x42, 100, 0x42, 100, 0, 0x80, 0, 0x80, 10, 0, 0, 1, 0, 1,
            0x8a, 0, 2, 1
        ]
        let ends: [UInt8] = [
            10, 0, 4, 0x8a, 0, 4, 1, 0x62, 10, 1, 10, 2, 4, 0x8a, 2, 4, 1, 0x62, 20, 1, 10, 1, 4,
            0x8a, 1, 4, 1
        ]
        let small: [UInt8] = [10, 0, 0, 1, 244, 1, 0x8a, 0, 2, 0x8a, 0, 0, 2, 0, 1, 10, 0, 2, 1]
        return [
            [[8, 3, 1], renewal, renewal, renewal].flatMap { $0 },
            [0, 3, 9, 1, 0, 9, 0, 50, 1] + ends,
            [0, 3, 1, 0x1b, 0, 0x1b, 3, 0x10, 0x80, 1, 1],
            [0, 3, 1] + (0..<12).flatMap { _ in small }
        ]
    }()
    /// Streams of a session write and read for a while; an uplink goes and comes back.
    private static let sessions: [[UInt8]] =
        episodes
        + ([0, 1, 2, 8] as [UInt8]).map { form in
            let round: [UInt8] = [
                10, 0, 0, 31, 64, 0, 0x8a, 0, 2, 0x8a, 0, 0, 16, 0, 1, 10, 0, 2, 3, 0, 0x32, 40, 1
            ]
            let goes: [UInt8] = [11, 0], comes: [UInt8] = [11, 3],
                end: [UInt8] = [10, 0, 4, 0x8a, 0, 4, 1]
            return [[form, 3, 9, 4, 0, 1], round, round, goes, round, round, comes, round, end]
                .flatMap { $0 }
        }
    private static let forgeries: [[UInt8]] = segments.map { s in
        let block = optionBytes(s)
        return [0, 0, 8, 4, 0, 0, 0x86, 0, s.flags.rawValue, 0, 0, 0, 0, 1, 244, UInt8(block.count)]
            + block + [0, 5, 0, 11, 1, 0]
    }

    static let numbers: [[UInt8]] = [
        Array(0..<120), (0..<200).map { UInt8(truncatingIfNeeded: $0 &* 37 ^ $0 >> 3) },
        [0, 16, 0, 0, 200, 1, 0, 4, 9, 2, 0, 9, 0, 0, 200, 3, 4, 0, 200, 5, 0, 1, 1, 255, 255]
    ]

    // MARK: Texts

    static let socks: [[UInt8]] = [
        [0, 0, 4, 1, 0, 80, 192, 0, 2, 1, 117, 0, 1],
        [0, 3, 4, 1, 0, 80, 0, 0, 0, 1, 117, 0] + Array("example.org".utf8) + [0, 9],
        [0, 0, 5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 1, 187, 22],
        [0, 1, 5, 2, 0, 2, 5, 1, 0, 3, 11] + Array("example.org".utf8) + [1, 187],
        [1, 2, 5, 1, 2, 1, 4, 117, 115, 101, 114, 6, 115, 101, 99, 114, 101, 116, 5, 1, 0, 4]
            + [UInt8](repeating: 1, count: 18),
        [0, 5, 4, 1, 0, 80, 0, 0, 1, 0, 0, 9],
        [0, 6, 4, 1, 0, 80, 0, 0, 0, 255, 117, 0] + Array("a.b".utf8) + [0],
        [
            1, 1, 5, 3, 0, 1, 2, 1, 4, 117, 115, 101, 114, 6, 115, 101, 99, 114, 101, 116, 5, 1, 0,
            3, 3, 97, 46, 98, 0, 80, 9
        ],
        [2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 53, 1, 2], [2, 0, 0, 0, 0, 3, 3, 97, 46, 98, 0, 53, 7],
        [0, 0, 5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]
    ]
    static let http: [[UInt8]] = [
        [0, 3] + Array("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n".utf8),
        [0, 3]
            + Array(
                "GET http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\nConnection: close, x\r\nX: y\r\n\r\n"
                    .utf8),
        [3, 5]
            + Array(
                "POST http://[2001:db8::1]:8080/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                    .utf8),
        [16, 1]
            + Array(
                "PUT http://e.org HTTP/1.0\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\nContent-Length: 3\r\n\r\nabc"
                    .utf8),
        [0, 2]
            + Array(
                "GET http://e.org/ HTTP/1.1\r\nHost: e.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                    .utf8),
        [1, 4]
            + Array(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello".utf8),
        [1, 4]
            + Array(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"
                    .utf8),
        [129, 4]
            + Array(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: upgrade\r\n\r\n"
                    .utf8),
        [1, 4] + Array("HTTP/1.0 200\nTransfer-Encoding: gzip, chunked\n\n".utf8),
        [0, 6]
            + Array(
                ("POST http://e.org/ HTTP/1.1\r\nHost: e.org\r\nConnection: content-length, close, content-type\r\n"
                    + "Content-Type: text/plain\r\nContent-Length: 999999999999999999\r\n\r\nx")
                    .utf8),
        [0, 6]
            + Array(
                "POST http://e.org/ HTTP/1.1\r\nHost: e.org\r\nContent-Length: 999999999999999999999\r\n\r\nx"
                    .utf8),
        [0, 1] + Array("\r\n\r\n\r\nGET http://e.org/ HTTP/1.1\r\nHost: e.org\r\n\r\n".utf8),
        [0, 1]
            + Array(
                "\r\n\r\nGET http://e.org/ HTTP/1.1\r\nHost: e.org\r\nA: \u{fc}\tb\r\nConnection: host\r\n\r\n"
                    .utf8),
        [20, 1]
            + Array("1f\r\n0123456789abcdef0123456789abcde\r\n00;x\r\nA: b\r\nC: d\r\n\r\nGET".utf8),
        [20, 2] + Array("5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nrest".utf8),
        [2, 2] + Array("123456789".utf8)
    ]
    /// One text, then another: of either kind, little different or much.
    static let reloads: [[UInt8]] = {
        func changed(_ text: String) -> String {
            text.replacingOccurrences(of: "443", with: "444")
                .replacingOccurrences(of: "1080", with: "1081")
        }
        func both(_ kind: UInt8, _ a: String, _ b: String) -> [UInt8] {
            [kind] + Array((a + "\n=\n" + b).utf8)
        }
        return [
            both(0, proxy, changed(proxy)), both(1, concentrator, changed(concentrator)),
            both(
                0, proxy,
                proxy.replacingOccurrences(of: "mode: backup", with: "mode: single")
                    .replacingOccurrences(of: "log_level: debug", with: "log_format: json")),
            both(1, concentrator, concentrator + "\nlog_level: trace\n"), both(0, proxy, proxy)
        ]
    }()

    static let configurations: [[UInt8]] = [
        [0] + Array(proxy.utf8), [1] + Array(concentrator.utf8), [2] + Array(concentrator.utf8),
        [2] + Array(proxy.utf8),
        [0]
            + Array(
                "concentrator: { address: 203.0.113.7, public_key: x }\nlimits: { connections: 1e3 }\nlisten: [\"mixed://u:p@0.0.0.0:1\"]\n"
                    .utf8),
        [3] + Array("192.0.2.1:443".utf8), [3] + Array("[2001:db8::1]:443".utf8),
        [3] + Array("name.example:80".utf8),
        [0]
            + Array(
                "limits: { send_buffer: 9999999999999999 MiB, drain: 9999999999999999m, connections: 9_999_999_999_999_999_999 }\n"
                    .utf8),
        [2] + Array("a: &x [1, 2]\nb: *x\n? c\n: !!str d\n--- \n...\n".utf8)
    ]
    private static let key = "rNIYAzKCJjsuRxwr5GOZLClHYmxbBGJYSi9O83QAtXg="
    private static let proxy = """
        concentrator: { address: ["203.0.113.7:443", "[2001:db8::7]:8443"], public_key: "\(key)" }
        private_key_file: own.key
        listen: ["mixed://127.0.0.1:1080", "mixed://bob:s%40c@127.0.0.1:8080/"]
        mode: backup
        open: checked
        uplinks: [ { interface: wlan0 }, { address: 192.168.7.0/24, role: backup } ]
        status: 127.0.0.1:9090
        log_level: debug
        congestion: newreno
        limits: { connections: 1_000, send_buffer: 4 MiB, drain: 500ms }

        """
    private static let concentrator = """
        listen: "0.0.0.0:443"
        private_key_file: own.key
        users: [ { name: alice, public_key: "\(key)" } ]
        egress: { deny: [private, 192.0.2.0/24] }
        status: 127.0.0.1:9091

        """
}
