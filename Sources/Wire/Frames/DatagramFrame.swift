import Measures

/// One datagram of an application's flow, or a piece of one. Never repeated, never acknowledged;
/// copies on several paths have the same sequence number.
///
/// ```
/// byte 0      0x40, and: bit 0 the flow's opening follows, bit 1 a piece, bit 2 in order
/// bytes 1-    length of the rest, one byte or two (`FrameType.withLength`)
/// 2 bytes     flow, its highest bit: opened by the concentrator
/// 3 bytes     sequence, one more with every datagram of the flow in this direction, modulo 2^24
/// opening:
/// 2 bytes     association
/// 7 to 259    the other end: at the concentrator where it goes to or comes from (RFC 1928's form)
/// piece:
/// 1 byte      high 4 bits: which one; low 4 bits: the last one
/// the rest    payload
/// ```
public struct DatagramFrame {
    /// What a flow is, said until the other side has acknowledged its number.
    public struct Opening: Hashable, Sendable {
        /// Which of the user's associations the flow is of.
        public var association: UInt16
        /// The other end: at the concentrator where it goes to or comes from.
        public var target: Target
        /// An opening with these fields.
        public init(association: UInt16, target: Target) {
            self.association = association; self.target = target
        }
    }

    /// Which part of its datagram the payload is; all but the last one are equally long.
    public struct Piece: Hashable, Sendable {
        /// Which piece, 0 to `last`.
        public var index: UInt8
        /// 1 to 15.
        public var last: UInt8
        /// A piece with this place.
        public init(index: UInt8, last: UInt8) { self.index = index; self.last = last }
    }

    /// Pieces a datagram may have.
    public static let maximumPieces = 16
    /// Sequence numbers are counted modulo this.
    public static let sequences: UInt32 = 1 << 24
    /// Type, length, flow and sequence of a frame whose rest takes two bytes of length.
    public static let maximumHead = 8
    /// The bit of a flow's number that says that the concentrator opened it.
    public static let listenerFlow: UInt16 = 0x8000

    /// The flow's number, with `listenerFlow` where the concentrator opened it.
    public var flow: UInt16
    /// 24 bits.
    public var sequence: UInt32
    /// To be handed over in the order of the sequence numbers, as far as a short wait allows.
    public var isOrdered: Bool
    /// Nil once the other side has acknowledged the flow's number.
    public var opening: Opening?
    /// Nil where the payload is the whole datagram.
    public var piece: Piece?
    /// Lies elsewhere; valid as long as that is.
    public var payload: UnsafeRawBufferPointer

    /// A frame with these fields; of `sequence` 24 bits count.
    public init(
        flow: UInt16, sequence: UInt32, isOrdered: Bool = false, opening: Opening? = nil,
        piece: Piece? = nil, payload: UnsafeRawBufferPointer
    ) {
        self.flow = flow; self.sequence = sequence & (Self.sequences - 1)
        self.isOrdered = isOrdered
        self.opening = opening; self.piece = piece; self.payload = payload
    }

    /// Bytes of `opening`.
    public static func size(of opening: Opening?) -> Int { opening.map { 2 + $0.target.size } ?? 0 }

    /// Of the whole frame.
    public var size: Int {
        let rest = 5 + Self.size(of: opening) + (piece == nil ? 0 : 1) + payload.count
        return (rest < 0x80 ? 2 : 3) + rest
    }

    /// Nil for a frame that is malformed: cut short, a target that is none, a piece out of range.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> DatagramFrame? {
        guard let type = bytes.first, FrameType.datagrams.contains(type),
            let body = FrameType.body(bytes), body.count >= 5
        else { return nil }
        var frame = DatagramFrame(
            flow: body.bigEndian(0, as: UInt16.self), sequence: body.low24(2),
            isOrdered: type & 4 != 0, payload: body)
        var at = 5
        if type & 1 != 0 {
            guard body.count >= at + 2,
                case .target(let target, let length) = Target.read(
                    UnsafeRawBufferPointer(rebasing: body[(at + 2)...]))
            else { return nil }
            frame.opening = Opening(
                association: body.bigEndian(at, as: UInt16.self), target: target)
            at += 2 + length
        }
        if type & 2 != 0 {
            guard body.count > at else { return nil }
            let piece = Piece(index: body[at] >> 4, last: body[at] & 15)
            guard piece.last > 0, piece.index <= piece.last else { return nil }
            frame.piece = piece
            at += 1
        }
        frame.payload = UnsafeRawBufferPointer(rebasing: body[at...])
        return frame
    }

    /// Writes all of it; the bytes written.
    @discardableResult public func write(into out: UnsafeMutableRawPointer) -> Int {
        let whole = size
        let type: UInt8 =
            FrameType.datagrams.lowerBound | (opening == nil ? 0 : 1) | (piece == nil ? 0 : 2)
            | (isOrdered ? 4 : 0)
        var at = FrameType.writeHead(type, rest: whole - (whole < 0x82 ? 2 : 3), into: out)
        out.store(bigEndian: flow, at: at)
        out.store(low24: sequence, at: at + 2)
        at += 5
        if let opening {
            out.store(bigEndian: opening.association, at: at)
            at += 2
            var target: [UInt8] = []
            target.reserveCapacity(Target.maximumEncoding)
            opening.target.write(into: &target)
            target.withUnsafeBytes {
                (out + at).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
            }
            at += target.count
        }
        if let piece {
            out.storeBytes(of: piece.index << 4 | piece.last, toByteOffset: at, as: UInt8.self)
            at += 1
        }
        if let from = payload.baseAddress {
            (out + at).copyMemory(from: from, byteCount: payload.count)
        }
        return at + payload.count
    }
}

extension Target {
    /// Bytes of its encoding.
    public var size: Int {
        switch host {
        case .address(let address): address.isIPv4 ? 7 : 19
        case .name(let name): 4 + name.utf8.count
        }
    }
}
