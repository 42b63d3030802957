import Measures

@testable import Wire

extension SeededRandom {
    mutating func below(_ n: Int) -> Int { Int(truncatingIfNeeded: next() % UInt64(n)) }
    mutating func word<T: FixedWidthInteger & UnsignedInteger>(_: T.Type = T.self) -> T {
        // Numbers close to their limits are where codecs err.
        switch below(8) {
        case 0: 0
        case 1: .max
        case 2: T.max / 2 &+ T(truncatingIfNeeded: below(3))
        default: T(truncatingIfNeeded: next())
        }
    }

    /// Any legal segment; `most`: how many options at most.
    mutating func segment(maximumOptions most: Int) -> Segment {
        var s = Segment()
        s.sourcePort = word()
        s.destinationPort = word()
        s.sequence = SubflowSequence(word())
        s.acknowledgement = SubflowSequence(word())
        s.flags = ControlBits(rawValue: word())
        if chance(0.5) { s.flags = [.ack] }
        s.window = word()
        if chance(0.2) { s.urgentPointer = word() }
        for _ in 0..<below(most + 1) { addOption(to: &s) }
        return s
    }

    private mutating func addOption(to s: inout Segment) {
        let isSYN = s.flags.contains(.syn), isACK = s.flags.contains(.ack)
        switch below(14) {
        case 0:
            s.options.maximumSegmentSize = word()
            s.options.present.insert(.maximumSegmentSize)
        case 1:
            s.options.windowScale = UInt8(below(15))
            s.options.present.insert(.windowScale)
        case 2:
            s.options.present.insert(.sackPermitted)
        case 3:
            s.options.timestamps = Timestamps(value: word(), echo: word())
            s.options.present.insert(.timestamps)
        case 4:
            s.options.sack = sackBlocks()
            s.options.present.insert(.sack)
        case 5:
            s.options.multipathCapable = capable(isSYN: isSYN, isACK: isACK)
            s.options.present.insert(.multipathCapable)
        case 6 where isSYN || isACK:
            s.options.join = join(isSYN: isSYN, isACK: isACK)
            s.options.present.insert(.join)
        case 7, 8:
            s.options.dss = dss()
            s.options.present.insert(.dss)
        case 9:
            s.options.addAddress = addAddress()
            s.options.present.insert(.addAddress)
        case 10:
            var option = RemoveAddress()
            option.isEcho = chance(0.5)
            for _ in 0...below(8) { option.append(AddressID(word())) }
            s.options.removeAddress = option
            s.options.present.insert(.removeAddress)
        case 11:
            s.options.priority.backup = chance(0.5)
            s.options.present.insert(.priority)
        case 12:
            s.options.fail.dataSequence = DataSequence(word())
            s.options.present.insert(.fail)
        default:
            s.options.fastClose.receiverKey = word()
            s.options.present.insert(.fastClose)
            guard s.flags.contains(.rst) else { return }
            s.options.reset.transient = chance(0.5)
            s.options.reset.reason = UInt8(below(7))
            s.options.present.insert(.reset)
        }
    }

    mutating func sackBlocks() -> SACKBlocks {
        var blocks = SACKBlocks()
        for _ in 0...below(4) {
            let start = SubflowSequence(word())
            blocks.append(SACKBlocks.Block(start: start, end: start + 1 + below(100_000)))
        }
        return blocks
    }

    private mutating func capable(isSYN: Bool, isACK: Bool) -> MPCapable {
        var option = MPCapable()
        option.checksumRequired = chance(0.5)
        option.extensible = chance(0.1)
        option.deniesJoinToInitialAddress = chance(0.5)
        option.hmacSHA256 = chance(0.9)
        if isSYN && !isACK { return option }
        option.senderKey = word()
        if isSYN { return option }
        option.receiverKey = word()
        if chance(0.5) { option.dataLength = word() }
        if option.dataLength != nil, chance(0.5) { option.checksum = word() }
        return option
    }

    private mutating func join(isSYN: Bool, isACK: Bool) -> MPJoin {
        var option = MPJoin()
        if isSYN {
            option.backup = chance(0.5)
            option.addressID = AddressID(word())
            option.form =
                isACK ? .synAck(hmac: word(), nonce: word()) : .syn(token: word(), nonce: word())
        } else {
            option.form = .ack(MPJoin.HMAC160(word(), word(), word()))
        }
        return option
    }

    mutating func dss() -> DSS {
        var option = DSS()
        option.dataFin = chance(0.2)
        if chance(0.7) {
            option.acknowledgement = DataSequence(word())
            option.acknowledgementWidth = chance(0.5) ? .four : .eight
        }
        if chance(0.7) {
            var mapping = DSS.Mapping()
            mapping.dataSequence = DataSequence(word())
            mapping.width = chance(0.5) ? .four : .eight
            mapping.subflowSequence = word()
            mapping.length = word()
            if chance(0.3) { mapping.checksum = word() }
            option.mapping = mapping
        }
        return option
    }

    private mutating func addAddress() -> AddAddress {
        var option = AddAddress()
        option.id = AddressID(word())
        option.address =
            chance(0.5) ? IPAddress(v4: word()) : IPAddress(v6High: word(), low: word())
        if chance(0.5) { option.port = word() }
        option.isEcho = chance(0.5)
        if !option.isEcho { option.hmac = word() }
        return option
    }

    mutating func bytes(_ n: Int) -> [UInt8] { (0..<n).map { _ in word() } }
}
