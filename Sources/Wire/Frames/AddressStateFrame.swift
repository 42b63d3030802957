import Measures

/// What the concentrator says of one further address of its own: ADD_ADDR and REMOVE_ADDR in one
/// register.
///
/// As with a path's state the highest generation wins, and it is repeated until echoed.
///
/// ```
/// byte 0      0x09 state, 0x0a echo
/// byte 1      address ID, 1 to 8
/// bytes 2-3   generation, one more with every change; compared modulo 2^16
/// byte 4      bit 0 there (ADD_ADDR; else REMOVE_ADDR), bit 1 IPv6
/// bytes 5-6   UDP port
/// bytes 7-    address, 4 or 16 bytes
/// ```
public struct AddressStateFrame: Equatable, Sendable {
    /// Bytes of the frame with an IPv6 address.
    public static let maximumSize = 23
    /// It repeats what the other end said.
    public var isEcho: Bool
    /// Which of the concentrator's addresses, 1 to 8.
    public var id: UInt8
    /// How often the statement of this address changed, modulo 2^16.
    public var generation: UInt16
    /// The address may be dialled; else it was taken back.
    public var isThere: Bool
    /// Address and port.
    public var address: SocketAddress
    /// Bytes of the frame: 11, or 23 with an IPv6 address.
    public var size: Int { address.address.isIPv4 ? 11 : 23 }
    /// Of a frame with these flags in byte 4.
    static func size(flags: UInt8) -> Int { flags & 2 == 0 ? 11 : 23 }

    /// A frame with these fields.
    public init(
        isEcho: Bool = false, id: UInt8, generation: UInt16, isThere: Bool, address: SocketAddress
    ) {
        self.isEcho = isEcho; self.id = id; self.generation = generation; self.isThere = isThere
        self.address = address
    }

    /// Bits that are not assigned are ignored, so that they may be.
    public static func read(_ bytes: UnsafeRawBufferPointer) -> AddressStateFrame? {
        guard bytes.count >= 11, let type = FrameType(rawValue: bytes[0]),
            type == .addressState || type == .addressStateEcho
        else { return nil }
        let isIPv4 = bytes[4] & 2 == 0
        guard isIPv4 || bytes.count >= 23 else { return nil }
        let address =
            isIPv4
            ? IPAddress(v4: bytes.bigEndian(7, as: UInt32.self))
            : IPAddress(
                v6High: bytes.bigEndian(7, as: UInt64.self),
                low: bytes.bigEndian(15, as: UInt64.self))
        return AddressStateFrame(
            isEcho: type == .addressStateEcho, id: bytes[1],
            generation: bytes.bigEndian(2, as: UInt16.self), isThere: bytes[4] & 1 != 0,
            address: SocketAddress(address, port: bytes.bigEndian(5, as: UInt16.self)))
    }

    /// Writes `size` bytes.
    public func write(into out: UnsafeMutableRawPointer) {
        out.storeBytes(
            of: (isEcho ? FrameType.addressStateEcho : .addressState).rawValue, as: UInt8.self)
        out.storeBytes(of: id, toByteOffset: 1, as: UInt8.self)
        out.store(bigEndian: generation, at: 2)
        out.storeBytes(
            of: (isThere ? 1 : 0) | (address.address.isIPv4 ? 0 : 2), toByteOffset: 4,
            as: UInt8.self)
        out.store(bigEndian: address.port, at: 5)
        if address.address.isIPv4 {
            out.store(bigEndian: address.address.v4, at: 7)
        } else {
            out.store(bigEndian: address.address.high, at: 7)
            out.store(bigEndian: address.address.low, at: 15)
        }
    }
}
