/// Something that happened to uplinks, sessions or the program, as a person reads of it afterwards.
///
/// A value: what it means stands in `kind`, `numbers` and the names; `sentence` says it in words.
/// Names and details may hold what others chose: whoever prints them escapes them.
public struct Event: Equatable, Sendable {
    /// What kind of thing happened. The words are those of the store and of JSON, and stay.
    public enum Kind: String, CaseIterable, Sendable {
        case started, stopping, stopped
        /// An interface or address came, with `detail` its address.
        case uplinkAppeared = "uplink_appeared"
        /// It went, by the system's word.
        case uplinkVanished = "uplink_vanished"
        /// Answers are missing for longer than they should take; it carries nothing new.
        case uplinkSilent = "uplink_silent"
        /// The silence lasted, and it is given up.
        case uplinkLost = "uplink_lost"
        /// It carries data, for the first time or again.
        case uplinkCarries = "uplink_carries"
        /// It was closed in order, since it is not needed or not wanted.
        case uplinkRests = "uplink_rests"
        /// The system refuses to send through it; `detail` says why.
        case uplinkFailed = "uplink_failed"
        /// Somebody gave it another role, which is `detail`.
        case uplinkRole = "uplink_role"
        case sessionOpened = "session_opened"
        /// It goes on with new keys after a silence.
        case sessionResumed = "session_resumed"
        /// A new session of the same key has its place.
        case sessionTakenOver = "session_taken_over"
        /// `detail`: why.
        case sessionClosed = "session_closed"
        /// Nothing is heard of the other end any more, on no uplink.
        case sessionSilent = "session_silent"
        /// A user's hello did not begin a session; `detail` says why.
        case helloRefused = "hello_refused"
        /// A hello of a key that is no user's was refused; `detail` is the public key.
        case strangerRefused = "stranger_refused"
        /// A user met a limit, which is `detail`.
        case limitMet = "limit_met"
        /// `detail`: the handover mode from now on.
        case modeChanged = "mode_changed"
        /// `detail` is the whole sentence, for what has no kind of its own.
        case note
    }

    /// What was counted of it; nil where that has not been or can't be.
    public struct Numbers: Equatable, Codable, Sendable {
        /// Connections that went on elsewhere, or waited.
        public var connections: Int?
        /// Flows of datagrams that looked like calls, likewise.
        public var calls: Int?
        /// The longest time for which one of them stood still, ms.
        public var longestPause: Int?
        /// How long it was silent or away, ms.
        public var silence: Int?
        /// The session's number at this end, given again after it.
        public var session: Int?
        /// The path's number on the wire.
        public var path: Int?
        /// Nothing counted.
        public init() {}
    }

    /// Wall-clock time of this machine, ms since 1970 UTC.
    public var time: Int64
    /// What has happened.
    public var kind: Kind
    /// The uplink it happened to, at a proxy.
    public var uplink: String?
    /// Whose session it happened to, at a concentrator.
    public var user: String?
    /// The uplink on which things went on.
    public var other: String?
    /// What the kind says it is.
    public var detail: String?
    /// What is counted and measured of it.
    public var numbers: Numbers

    /// `time` in ms since 1970 UTC; the rest as the kind has it.
    public init(
        time: Int64, _ kind: Kind, uplink: String? = nil, user: String? = nil,
        other: String? = nil, detail: String? = nil, numbers: Numbers = Numbers()
    ) {
        self.time = time
        self.kind = kind
        self.uplink = uplink
        self.user = user
        self.other = other
        self.detail = detail
        self.numbers = numbers
    }
}

extension Event: Codable {
    private enum Key: String, CodingKey {
        case time, kind, uplink, user, other, detail, numbers, sentence
    }

    /// With its sentence, for those who only show it.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(time, forKey: .time)
        try container.encode(kind.rawValue, forKey: .kind)
        try container.encodeIfPresent(uplink, forKey: .uplink)
        try container.encodeIfPresent(user, forKey: .user)
        try container.encodeIfPresent(other, forKey: .other)
        try container.encodeIfPresent(detail, forKey: .detail)
        try container.encode(numbers, forKey: .numbers)
        try container.encode(sentence, forKey: .sentence)
    }

    /// A kind of another version becomes a note with that version's sentence.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        time = try container.decode(Int64.self, forKey: .time)
        let known = Kind(rawValue: try container.decode(String.self, forKey: .kind))
        kind = known ?? .note
        uplink = try container.decodeIfPresent(String.self, forKey: .uplink)
        user = try container.decodeIfPresent(String.self, forKey: .user)
        other = try container.decodeIfPresent(String.self, forKey: .other)
        detail =
            known == nil
            ? try container.decodeIfPresent(String.self, forKey: .sentence)
            : try container.decodeIfPresent(String.self, forKey: .detail)
        numbers = try container.decodeIfPresent(Numbers.self, forKey: .numbers) ?? Numbers()
    }
}
