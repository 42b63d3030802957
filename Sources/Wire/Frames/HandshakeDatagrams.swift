import Measures

/// Where the parts of a hello's datagram lie.
///
/// ```
/// bytes 0-7      header
/// bytes 8-140    Noise message 1 with a `HelloPayload`
/// bytes 141-156  mac1: over all bytes before it, by a key that follows from the concentrator's
/// public key bytes 157-172  mac2: over all bytes before it, by the cookie that the concentrator
/// gave; else zero
/// ```
public enum HelloDatagram {
    /// Where the Noise message stands, bytes from the start.
    public static let message = DatagramHeader.size..<mac1
    /// Noise message 1 adds 96 bytes to its payload.
    public static let mac1 = DatagramHeader.size + 96 + HelloPayload.size
    /// Where the second authenticator begins.
    public static let mac2 = mac1 + 16
    /// Bytes of the datagram.
    public static let size = mac2 + 16
}

/// Where the parts of a cookie's datagram lie.
///
/// ```
/// bytes 0-7    header, session 0
/// bytes 8-19   nonce
/// bytes 20-51  the cookie, encrypted, and a tag; the associated data is the hello's mac1
/// ```
public enum CookieDatagram {
    /// Where the nonce begins.
    public static let nonce = DatagramHeader.size
    /// Where the sealed cookie begins.
    public static let sealed = nonce + 12
    /// Bytes of the datagram.
    public static let size = sealed + 32
}
