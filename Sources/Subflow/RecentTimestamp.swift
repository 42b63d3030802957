import Measures

/// TS.Recent (RFC 7323 section 4.3): what the peer last said, which our segments echo.
struct RecentTimestamp {
    private(set) var value: UInt32 = 0
    private var takenAt = Instant.zero

    /// Only of a segment that is acceptable in every respect (section 5.3, R3), or anybody could
    /// push it ahead and have the peer's segments refused.
    @inline(__always) mutating func take(_ value: UInt32, at now: Instant) {
        self.value = value
        takenAt = now
    }

    /// Section 5.3, R1 (PAWS): whether a segment that says this is no older. After 24 days nothing
    /// can be told (section 5.5).
    func admits(_ value: UInt32, at now: Instant) -> Bool {
        Int32(bitPattern: value &- self.value) >= 0 || now - takenAt >= Self.lifetime
    }

    private static let lifetime = Interval.seconds(24 * 86_400)
}
