import Measures

/// ADD_ADDR (RFC 8684 section 3.4.1).
public struct AddAddress: Hashable, Sendable {
    /// E: an echo of the peer's advertisement; carries no HMAC.
    public var isEcho = false
    public var id = AddressID.initial
    public var address = IPAddress.unspecifiedV4
    public var port: UInt16?
    /// The rightmost 64 bits of the HMAC; nil in an echo.
    public var hmac: UInt64?
    public init() {}
}

/// REMOVE_ADDR (RFC 8684 section 3.4.2): one to eight identifiers here (the option itself has room for more).
public struct RemoveAddress: Hashable, Sendable {
    /// The paper's echo bit (section 5), the lowest reserved bit; never set on raw IP.
    public var isEcho = false
    /// How many of `ids` count, and the identifiers, the first in the lowest byte.
    public private(set) var count = 0
    private var packed: UInt64 = 0
    public init() {}
    public subscript(i: Int) -> AddressID { AddressID(UInt8(truncatingIfNeeded: packed >> UInt64(8 * i))) }
    /// Adds an identifier; false where eight are there already.
    @discardableResult public mutating func append(_ id: AddressID) -> Bool {
        guard count < 8 else { return false }
        packed |= UInt64(id.value) << UInt64(8 * count)
        count += 1
        return true
    }
}
