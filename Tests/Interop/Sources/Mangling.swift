import Measures
import Wire

/// What a bad line or a middlebox does to segments, between the engine and the devices.
struct ManglingRule {
    enum What: String { case drop, strip, flip, token, hmac, key, fastclose }
    enum Kind: String {
        case any, syn, synack, third, data, ack, fin, join, capable, add, remove, handshake
    }
    let isOutgoing: Bool
    let what: What
    var kind = Kind.any
    var nth = 1...Int.max
    var probability = 1.0
    var path: Int?
    var port: UInt16?
    private(set) var seen = 0
    private(set) var done = 0

    init(_ text: String) throws {
        var words = text.split(separator: " ").map(String.init)[...]
        guard let way = words.popFirst(), ["in", "out"].contains(way), let name = words.popFirst(),
            let what = What(rawValue: name)
        else {
            throw Complaint(
                "--mangle '\(text)' does not begin with in or out and what to do: drop, strip, flip, token, "
                    + "hmac, key or fastclose")
        }
        isOutgoing = way == "out"
        self.what = what
        if what == .flip { kind = .data }
        for word in words {
            if let kind = Kind(rawValue: word) { self.kind = kind; continue }
            let (name, value) = try pair(word, "--mangle")
            switch name {
            case "nth":
                let ends = try value.split(separator: "-").map {
                    try parse(String($0), "--mangle", "a number") { Int($0) }
                }
                guard let first = ends.first, ends.last! >= first else {
                    throw Complaint(
                        "--mangle '\(text)': nth=\(value) is neither a number nor a range such as 2-5"
                    )
                }
                nth = first...ends.last!
            case "p":
                probability = try parse(value, "--mangle: p", "0 to 1") {
                    Double($0).flatMap { (0...1).contains($0) ? $0 : nil }
                }
            case "path": path = try parse(value, "--mangle: path", "a number") { Int($0) }
            case "port": port = try parse(value, "--mangle: port", "a port") { UInt16($0) }
            default: throw Complaint("--mangle '\(text)': \(word) means nothing")
            }
        }
    }

    /// Whether the rule applies to this segment; counts it.
    mutating func applies(
        to segment: borrowing Segment, payload: Int, path: Int, random: inout SeededRandom
    ) -> Bool {
        guard self.path == nil || self.path == path, matches(segment, payload) else { return false }
        if let port, segment.sourcePort != port, segment.destinationPort != port { return false }
        seen += 1
        guard nth.contains(seen), random.next() % 10_000 < UInt64(probability * 10_000) else {
            return false
        }
        done += 1
        return true
    }

    private func matches(_ segment: borrowing Segment, _ payload: Int) -> Bool {
        let flags = segment.flags, options = segment.options.present
        switch kind {
        case .any: return true
        case .syn: return flags.contains(.syn) && !flags.contains(.ack)
        case .synack: return flags.isSuperset(of: [.syn, .ack])
        case .third:
            return !flags.contains(.syn) && !options.isDisjoint(with: [.multipathCapable, .join])
        case .handshake:
            return flags.contains(.syn) || !options.isDisjoint(with: [.multipathCapable, .join])
        case .data: return payload > 0
        case .ack: return payload == 0 && flags.isDisjoint(with: [.syn, .fin, .rst])
        case .fin: return flags.contains(.fin)
        case .join: return options.contains(.join)
        case .capable: return options.contains(.multipathCapable)
        case .add: return options.contains(.addAddress)
        case .remove: return options.contains(.removeAddress)
        }
    }

    /// Changes the segment; false where it is dropped.
    func change(_ segment: inout Segment, payload: UnsafeMutableRawBufferPointer) -> Bool {
        switch what {
        case .drop: return false
        case .strip: segment.options.present.subtract(SegmentOptions.multipath)
        case .flip: if payload.count > 0 { payload[payload.count / 2] ^= 0x10 }
        case .token:
            if case .syn(let token, let nonce) = segment.options.join.form {
                segment.options.join.form = .syn(token: token ^ 1, nonce: nonce)
            }
        case .hmac:
            switch segment.options.join.form {
            case .ack(let h): segment.options.join.form = .ack(.init(h.a ^ 1, h.b, h.c))
            case .synAck(let h, let nonce):
                segment.options.join.form = .synAck(hmac: h ^ 1, nonce: nonce)
            case .syn: break
            }
            if let h = segment.options.addAddress.hmac { segment.options.addAddress.hmac = h ^ 1 }
        case .key: segment.options.fastClose.receiverKey ^= 1
        case .fastclose:
            segment.options.present.remove(.dss)
            segment.options.fastClose.receiverKey = 0x1234_5678_9abc_def0
            segment.options.present.insert(.fastClose)
        }
        return true
    }
}
