import Crypto
import Measures
import Wire

/// Watches the segments of one connection, as they are sent, and says when its one sender of data
/// breaks a rule of RFC 8684: beyond the window (section 3.3.1), or a mapping that changes (section
/// 3.3).
///
/// `granted` holds what the receiver has *sent*, which is never less than what the sender can know.
struct WindowChecker {
    private let initial: DataSequence
    /// The greatest right edge the receiver has offered.
    private var granted: DataSequence
    /// The greatest DATA_ACK it has sent.
    private var acknowledged: DataSequence
    // by subflow port, from the receiver's SYN; never iterated
    private var scales: [UInt16: UInt8] = [:]
    private(set) var failure: String?

    /// `senderKey`: the MPTCP key of the side whose data is watched. `allowance`: bytes that may be
    /// sent before any window is known (early data).
    init(senderKey: UInt64, allowance: Int) {
        initial = DataSequence(MultipathHash.initialDataSequence(of: senderKey)) + 1
        acknowledged = initial
        granted = initial + allowance
    }

    /// Offset in the sender's stream of the first byte of a mapping.
    func streamOffset(of mapping: DSS.Mapping) -> Int {
        initial.distance(to: widen(mapping.dataSequence, mapping.width))
    }

    private func widen(_ value: DataSequence, _ width: DSS.Width) -> DataSequence {
        width == .eight ? value : acknowledged.nearest(low: value.low32)
    }

    /// A segment from the receiver of the data.
    mutating func receiverSent(_ segment: borrowing Segment, subflow: UInt16) {
        if segment.flags.contains(.syn), segment.options.present.contains(.windowScale) {
            scales[subflow] = segment.options.windowScale
        }
        if segment.options.present.contains(.dss), let ack = segment.options.dss.acknowledgement {
            let wide = widen(ack, segment.options.dss.acknowledgementWidth)
            if acknowledged.distance(to: wide) > 0 { acknowledged = wide }
        }
        guard !segment.flags.contains(.rst) else { return }
        let shift = segment.flags.contains(.syn) ? 0 : Int(scales[subflow] ?? 0)
        let edge = acknowledged + Int(segment.window) << shift
        if granted.distance(to: edge) > 0 { granted = edge }
    }

    /// A segment from the sender of the data, with `payloadLength` bytes.
    mutating func senderSent(_ segment: borrowing Segment, payloadLength: Int, subflow: UInt16) {
        guard segment.options.present.contains(.dss),
            let mapping = segment.options.dss.mapping
        else { return }
        let start = widen(mapping.dataSequence, mapping.width)
        var length = Int(mapping.length)
        if segment.options.dss.dataFin, length > 0 { length -= 1 }
        if payloadLength > 0, length > 0, granted.distance(to: start + length) > 0, failure == nil {
            failure =
                "\(granted.distance(to: start + length)) bytes beyond the window"
                + " on subflow \(subflow): offset \(initial.distance(to: start)), \(length) bytes,"
                + " acknowledged \(initial.distance(to: acknowledged))"
        }
    }
}
