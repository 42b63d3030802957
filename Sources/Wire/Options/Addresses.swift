import Measures

/// ADD_ADDR (RFC 8684 section 3.4.1).
public struct AddAddress: Hashable, Sendable {
    /// E: an echo of the peer's advertisement; carries no HMAC.
    public var isEcho = false
    /// Which address of the sender's.
    public var id = AddressID.initial
    /// The announced address.
    public var address = IPAddress.unspecifiedV4
    /// Nil: the port of the first subflow.
    public var port: UInt16?
    /// The rightmost 64 bits of the HMAC; nil in an echo.
    public var hmac: UInt64?
    /// An option to be filled in.
    public init() {}

    /// Bytes on the wire: IPv4 16 and IPv6 28, 8 less without the HMAC, 2 more with a port.
    public var octets: Int {
        (address.isIPv4 ? 8 : 20) + (hmac == nil ? 0 : 8) + (port == nil ? 0 : 2)
    }

    func write(to p: UnsafeMutableRawPointer) {
        MultipathSubtype.writeHead(
            MultipathSubtype.addAddress, isEcho ? 1 : 0, octets: octets, to: p)
        p.put(id.value, 3)
        var at = 4
        if address.isIPv4 {
            p.put(address.v4, at)
            at += 4
        } else {
            p.put(address.high, at)
            p.put(address.low, at + 8)
            at += 16
        }
        if let port {
            p.put(port, at)
            at += 2
        }
        if let hmac { p.put(hmac, at) }
    }

    /// The family and the port follow from the length and the echo bit (section 3.4.1, figure 11).
    static func read(_ p: UnsafeRawPointer, length: Int) throws(WireError) -> AddAddress {
        var option = AddAddress()
        option.isEcho = p.byte(2) & 1 != 0
        let bare = option.isEcho ? length : length - 8
        let hasPort = bare == 10 || bare == 22
        guard hasPort || bare == 8 || bare == 20 else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.addAddress)
        }
        option.id = AddressID(p.byte(3))
        var at = 4
        if bare < 20 {
            option.address = IPAddress(v4: p.word32(at))
            at += 4
        } else {
            option.address = IPAddress(v6High: p.word64(at), low: p.word64(at + 8))
            at += 16
        }
        if hasPort {
            option.port = p.word16(at)
            at += 2
        }
        if !option.isEcho { option.hmac = p.word64(at) }
        return option
    }
}

/// REMOVE_ADDR (RFC 8684 section 3.4.2): one to eight identifiers here (the option itself has room
/// for more).
public struct RemoveAddress: Hashable, Sendable {
    /// The paper's echo bit (section 5), the lowest reserved bit; never set on raw IP.
    public var isEcho = false
    /// How many of `ids` count, and the identifiers, the first in the lowest byte.
    public private(set) var count = 0
    private var packed: UInt64 = 0
    /// An option to be filled in.
    public init() {}
    /// The identifier with this index, below `count`.
    public subscript(i: Int) -> AddressID {
        AddressID(UInt8(truncatingIfNeeded: packed >> UInt64(8 * i)))
    }
    /// Adds an identifier; false where eight are there already.
    @discardableResult public mutating func append(_ id: AddressID) -> Bool {
        guard count < 8 else { return false }
        packed |= UInt64(id.value) << UInt64(8 * count)
        count += 1
        return true
    }

    /// Bytes on the wire, 4 to 11.
    public var octets: Int { 3 + count }

    func write(to p: UnsafeMutableRawPointer) {
        MultipathSubtype.writeHead(
            MultipathSubtype.removeAddress, isEcho ? 1 : 0, octets: octets, to: p)
        for i in 0..<count { p.put(self[i].value, 3 + i) }
    }

    /// One to eight identifiers, as many as Linux sends at most.
    static func read(_ p: UnsafeRawPointer, length: Int) throws(WireError) -> RemoveAddress {
        guard length >= 4, length <= 11 else {
            throw .malformedMultipathOption(subtype: MultipathSubtype.removeAddress)
        }
        var option = RemoveAddress()
        option.isEcho = p.byte(2) & 1 != 0
        for i in 3..<length { option.append(AddressID(p.byte(i))) }
        return option
    }
}
