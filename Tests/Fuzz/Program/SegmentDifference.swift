import Measures
import Wire

// Used by the fuzz targets too, which link to this file.

/// Why two segments differ in what they mean; nil where they don't.
func difference(_ a: Segment, _ b: Segment) -> String? {
    var found: String?
    func check<T: Equatable>(_ what: String, _ x: T, _ y: T, when isMeant: Bool = true) {
        if isMeant, x != y, found == nil { found = "\(what): \(x) and \(y)" }
    }
    let x = a.options, y = b.options, p = x.present
    check("source port", a.sourcePort, b.sourcePort)
    check("destination port", a.destinationPort, b.destinationPort)
    check("sequence", a.sequence, b.sequence)
    check("flags", a.flags, b.flags)
    check("acknowledgement", a.acknowledgement, b.acknowledgement, when: a.flags.contains(.ack))
    check("window", a.window, b.window)
    check("urgent pointer", a.urgentPointer, b.urgentPointer)
    check("present", p, y.present)
    check("MSS", x.maximumSegmentSize, y.maximumSegmentSize, when: p.contains(.maximumSegmentSize))
    check("window scale", x.windowScale, y.windowScale, when: p.contains(.windowScale))
    check("timestamps", x.timestamps, y.timestamps, when: p.contains(.timestamps))
    check("SACK", x.sack, y.sack, when: p.contains(.sack))
    check("MP_CAPABLE", x.multipathCapable, y.multipathCapable, when: p.contains(.multipathCapable))
    check("MP_JOIN", x.join, y.join, when: p.contains(.join))
    check("DSS", x.dss.onTheWire, y.dss.onTheWire, when: p.contains(.dss))
    check("ADD_ADDR", x.addAddress, y.addAddress, when: p.contains(.addAddress))
    check("REMOVE_ADDR", x.removeAddress, y.removeAddress, when: p.contains(.removeAddress))
    check("MP_PRIO", x.priority, y.priority, when: p.contains(.priority))
    check("MP_FAIL", x.fail, y.fail, when: p.contains(.fail))
    check("MP_FASTCLOSE", x.fastClose, y.fastClose, when: p.contains(.fastClose))
    check("MP_TCPRST", x.reset, y.reset, when: p.contains(.reset))
    return found
}

extension DSS {
    /// In four octets only the low bits of a number mean something.
    var onTheWire: DSS {
        var d = self
        if acknowledgementWidth == .four, let a = acknowledgement {
            d.acknowledgement = DataSequence(UInt64(a.low32))
        }
        if acknowledgement == nil { d.acknowledgementWidth = .eight }
        if let m = mapping, m.width == .four {
            d.mapping?.dataSequence = DataSequence(UInt64(m.dataSequence.low32))
        }
        return d
    }
}
