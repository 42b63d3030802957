import Foundation
import Measures

@testable import Wire

// What bytes mean, in the words of docs/wire.md: the document's examples are checked word for word.

private func hex<T: FixedWidthInteger>(_ value: T) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: T.bitWidth / 4 - digits.count) + digits
}

private func number(_ n: DataSequence, _ width: DSS.Width) -> String {
    width == .eight ? hex(n.value) : hex(n.low32)
}

extension MPCapable {
    var words: String {
        var w = ["MP_CAPABLE version \(version)"]
        for (name, isSet) in [
            ("A", checksumRequired), ("B", extensible), ("C", deniesJoinToInitialAddress),
            ("H", hmacSHA256)
        ] where isSet { w.append(name) }
        if let senderKey { w.append("key \(hex(senderKey))") }
        if let receiverKey { w.append("receiver's \(hex(receiverKey))") }
        if let dataLength { w.append("length \(dataLength)") }
        if let checksum { w.append("checksum \(hex(checksum))") }
        return w.joined(separator: " ")
    }
}

extension MPJoin {
    var words: String {
        let id = "\(backup ? "B " : "")ID \(addressID.value)"
        switch form {
        case .syn(let token, let nonce):
            return "MP_JOIN \(id) token \(hex(token)) nonce \(hex(nonce))"
        case .synAck(let hmac, let nonce):
            return "MP_JOIN \(id) HMAC \(hex(hmac)) nonce \(hex(nonce))"
        case .ack(let h): return "MP_JOIN HMAC \(hex(h.a))\(hex(h.b))\(hex(h.c))"
        }
    }
}

extension DSS {
    var words: String {
        var w = ["DSS"]
        if let acknowledgement { w.append("ack \(number(acknowledgement, acknowledgementWidth))") }
        if let m = mapping {
            w.append(
                "DSN \(number(m.dataSequence, m.width)) SSN \(m.subflowSequence) length \(m.length)"
            )
            if let checksum = m.checksum { w.append("checksum \(hex(checksum))") }
        }
        if dataFin { w.append("DATA_FIN") }
        return w.joined(separator: " ")
    }
}

extension AddAddress {
    var words: String {
        var w = [isEcho ? "ADD_ADDR E" : "ADD_ADDR", "ID \(id.value) \(address)"]
        if let port { w.append("port \(port)") }
        if let hmac { w.append("HMAC \(hex(hmac))") }
        return w.joined(separator: " ")
    }
}

extension SegmentOptions {
    /// In the order of the wire.
    var words: [String] {
        var w: [String] = []
        if present.contains(.maximumSegmentSize) { w.append("MSS \(maximumSegmentSize)") }
        if present.contains(.sackPermitted) { w.append("SACK permitted") }
        if present.contains(.timestamps) {
            w.append("timestamps \(timestamps.value) \(timestamps.echo)")
        }
        if present.contains(.windowScale) { w.append("window scale \(windowScale)") }
        if present.contains(.sack) {
            let blocks = (0..<sack.count).map { "\(sack[$0].start.value)-\(sack[$0].end.value)" }
            w.append("SACK " + blocks.joined(separator: " "))
        }
        if present.contains(.multipathCapable) { w.append(multipathCapable.words) }
        if present.contains(.join) { w.append(join.words) }
        if present.contains(.dss) { w.append(dss.words) }
        if present.contains(.addAddress) { w.append(addAddress.words) }
        if present.contains(.removeAddress) {
            let ids = (0..<removeAddress.count).map { "\(removeAddress[$0].value)" }.joined(
                separator: " ")
            w.append("REMOVE_ADDR \(removeAddress.isEcho ? "E " : "")ID \(ids)")
        }
        if present.contains(.priority) { w.append(priority.backup ? "MP_PRIO B" : "MP_PRIO") }
        if present.contains(.fail) { w.append("MP_FAIL DSN \(hex(fail.dataSequence.value))") }
        if present.contains(.fastClose) {
            w.append("MP_FASTCLOSE key \(hex(fastClose.receiverKey))")
        }
        if present.contains(.reset) {
            w.append("MP_TCPRST \(reset.transient ? "T " : "")reason \(reset.reason)")
        }
        return w
    }
}

extension Segment {
    func words(payload: some Collection<UInt8>) -> String {
        var names: [String] = []
        for (name, bit) in [
            ("SYN", ControlBits.syn), ("FIN", .fin), ("RST", .rst), ("PSH", .psh),
            ("URG", .urg), ("ACK", .ack)
        ] where flags.contains(bit) { names.append(name) }
        var w = [names.isEmpty ? "no flags" : names.joined(separator: " "), "seq \(sequence.value)"]
        if flags.contains(.ack) { w.append("ack \(acknowledgement.value)") }
        w.append("window \(window)")
        if urgentPointer != 0 { w.append("urgent \(urgentPointer)") }
        w += options.words
        if !payload.isEmpty {
            let isText = payload.count <= 16 && payload.allSatisfy { 0x20...0x7e ~= $0 }
            w.append(
                isText
                    ? "\"\(String(decoding: payload, as: UTF8.self))\"" : "\(payload.count) bytes")
        }
        return w.joined(separator: ", ")
    }
}

/// The meaning of one frame that is no segment, and the bytes that frame writes; nil where it can't
/// be read.
func frameWords(_ bytes: [UInt8]) -> (words: String, written: [UInt8])? {
    func written(_ count: Int, _ body: (UnsafeMutableRawPointer) -> Void) -> [UInt8] {
        var out = [UInt8](repeating: 0xee, count: count)
        out.withUnsafeMutableBytes { body($0.baseAddress!) }
        return out
    }
    return bytes.withUnsafeBytes { all -> (String, [UInt8])? in
        guard let first = all.first else { return nil }
        if FrameType.datagrams.contains(first) {
            return DatagramFrame.read(all).map { f in
                (f.words, written(f.size) { f.write(into: $0) })
            }
        }
        guard let type = FrameType(rawValue: first) else { return nil }
        switch type {
        case .padding: return ("padding", [0])
        case .probe, .probeAnswer:
            guard let f = ProbeFrame.read(all) else { return nil }
            let what =
                f.isChallenge
                ? (f.isAnswer ? "challenge's answer" : "challenge")
                : (f.isAnswer ? "answer" : "probe")
            let value = f.isChallenge ? hex(UInt64(bitPattern: f.sentAt)) : "\(f.sentAt) ns"
            return ("\(what) \(f.identifier), \(value)", written(ProbeFrame.size, f.write))
        case .pathState, .pathStateEcho:
            guard let f = PathStateFrame.read(all) else { return nil }
            let state = [
                f.isOpen ? "open" : "closed", f.isBackup ? "backup" : nil,
                f.isSilent ? "silent" : nil
            ]
            .compactMap { $0 }.joined(separator: " ")
            return (
                "path state\(f.isEcho ? " echo" : "") \(f.path), generation \(f.generation),"
                    + " incarnation \(f.incarnation), \(state), mode \(f.mode)"
                    + (f.cost > 0 ? ", cost \(f.cost)" : ""),
                written(PathStateFrame.size, f.write)
            )
        case .rekey, .rekeyAnswer:
            guard let f = RekeyFrame.read(all) else { return nil }
            return (
                "rekey\(f.isAnswer ? " answer" : "") to epoch \(f.epoch), message of \(f.message.count)",
                written(f.size, f.write)
            )
        case .close:
            guard let f = CloseFrame.read(all) else { return nil }
            return (
                "close, \(f.reason.map { "\($0)" } ?? "unknown reason")",
                written(CloseFrame.size, f.write)
            )
        case .subflowReset:
            guard let f = SubflowResetFrame.read(all) else { return nil }
            return (
                "subflow reset \(f.number), reason \(f.reason)",
                written(SubflowResetFrame.size, f.write)
            )
        case .addressState, .addressStateEcho:
            guard let f = AddressStateFrame.read(all) else { return nil }
            return (
                "address state\(f.isEcho ? " echo" : "") \(f.id), generation \(f.generation),"
                    + " \(f.isThere ? "there" : "gone"), \(f.address)", written(f.size, f.write)
            )
        case .joinRequest:
            guard let f = JoinRequestFrame.read(all) else { return nil }
            return ("join request, token \(hex(f.token))", written(JoinRequestFrame.size, f.write))
        case .flowAcknowledged, .flowClosed, .flowUnknown:
            guard let f = FlowFrame.read(all) else { return nil }
            return ("flow \(f.flow) \(f.statement)", written(FlowFrame.size, f.write))
        case .programVersion:
            guard let f = bytes.withUnsafeBytes({ ProgramVersionFrame.read($0) }) else {
                return nil
            }
            return ("version \(f.text)", written(f.size, f.write))
        case .goAway, .goAwayAnswer:
            guard let f = GoAwayFrame.read(all) else { return nil }
            switch f {
            case .announcement(let seconds):
                return ("go away within \(seconds) s", written(f.size, f.write))
            case .answer: return ("has gone", written(f.size, f.write))
            }
        case .datagramReport:
            guard let f = DatagramReportFrame.read(all) else { return nil }
            return (
                "datagrams up to packet \(f.newest), \(f.bytes) bytes, held \(f.held)",
                written(DatagramReportFrame.size, f.write)
            )
        }
    }
}

extension DatagramFrame {
    /// As the document says it.
    var words: String {
        var words = ["flow \(flow)", "sequence \(sequence)"]
        if let opening { words.append("association \(opening.association) to \(opening.target)") }
        if let piece { words.append("piece \(piece.index) of 0 to \(piece.last)") }
        if isOrdered { words.append("in order") }
        return words.joined(separator: ", ") + ": \(payload.count) bytes"
    }
}

/// The meaning of what stands in clear or in a handshake, by the name of the example.
func datagramWords(_ name: String, _ bytes: [UInt8]) -> (words: String, written: [UInt8])? {
    switch name {
    case "header":
        guard let h = bytes.withUnsafeBytes({ DatagramHeader($0) }) else { return nil }
        var out = [UInt8](repeating: 0, count: DatagramHeader.size)
        out.withUnsafeMutableBytes { h.write(into: $0.baseAddress!) }
        let session = String(h.session, radix: 16)
        return (
            "\(h.kind), epoch \(h.epoch), path \(h.path), session \(session), number \(h.number)",
            out
        )
    case "hello":
        guard let p = HelloPayload(bytes) else { return nil }
        let wishes = (p.hasHardwareAES ? "AES in hardware, " : "") + (p.wantsFresh ? "fresh, " : "")
        let challenge =
            p.challenge == .zero
            ? "" : ", challenge \(hex(withUnsafeBytes(of: p.challenge) { Array($0) }))"
        let index = String(p.index, radix: 16)
        return (
            wishes + "index \(index), instance \(hex(p.instance)), time \(p.timestamp)" + challenge,
            p.bytes
        )
    case "welcome":
        guard let p = WelcomePayload(bytes) else { return nil }
        let index = String(p.index, radix: 16)
        let challenge =
            p.challenge == .zero ? "" : " \(hex(withUnsafeBytes(of: p.challenge) { Array($0) }))"
        return (
            "\(p.outcome)\(challenge), cipher \(p.cipher), index \(index)\(p.forbidsFirst ? ", C" : "")"
                + (p.program.isEmpty ? "" : ", version \(p.program)"),
            p.bytes
        )
    case "target":
        guard case .target(let t, let length) = bytes.withUnsafeBytes({ Target.read($0) }),
            length == bytes.count
        else { return nil }
        var out: [UInt8] = []
        t.write(into: &out)
        return ("\(t)", out)
    case "status":
        guard bytes.count == 1, let s = DialStatus(rawValue: bytes[0]) else { return nil }
        return ("\(s)", [s.rawValue])
    default: return nil
    }
}
