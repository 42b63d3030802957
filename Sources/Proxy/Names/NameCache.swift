import Dialogue
import Measures

/// What an answer is kept by: who asks for signatures, or for data that were not checked, gets
/// other answers.
struct NameKey: Hashable {
    let question: DNSQuestion
    let wantsSignatures: Bool
    let checkingDisabled: Bool

    init(_ query: DNSQuery) {
        question = query.question
        wantsSignatures = query.extended?.wantsSignatures == true
        checkingDisabled = query.flags & DNSHeader.Flag.checkingDisabled != 0
    }

    /// As a server is asked: it does the work and says whether the data are authentic (RFC 6840
    /// section 5.7); each client is told that where it has asked for it.
    var flags: UInt16 {
        DNSHeader.Flag.recursionDesired | DNSHeader.Flag.authentic
            | (checkingDisabled ? DNSHeader.Flag.checkingDisabled : 0)
    }

    /// What a server is told of EDNS: the longest answer by UDP, and whether signatures are wanted.
    func extended(size: UInt16) -> DNSQuery.Extended {
        DNSQuery.Extended(size: size, wantsSignatures: wantsSignatures)
    }
}

/// Answers that were given, for as long as their records live; "no such name" and "no such record"
/// for as long as the zone's SOA says (RFC 2308). Pure of clocks.
struct NameCache {
    /// Answers that are kept; a household asks for some thousand names a day.
    static let maximumEntries = 16_384
    /// Bytes that they take.
    static let maximumBytes = 16 << 20
    /// A server's failure is repeated for so long, so that a client that asks without a pause does
    /// not reach the server each time (RFC 2308 section 7.1 allows five minutes).
    static let failureLifetime = Interval.seconds(1)

    private struct Entry {
        let answer: DNSAnswer
        let since: Instant
        let until: Instant
        var number: UInt64
        /// Asked for since it came to its place in the order.
        var isUsed = false
        var size: Int { NameCache.size(of: answer) }
    }
    private var entries: [NameKey: Entry] = [:]
    private var order = AgeOrder<NameKey>()
    /// What the entries hold.
    private(set) var bytes = 0
    private(set) var hits = 0, misses = 0

    var count: Int { entries.count }

    private static func size(of answer: DNSAnswer) -> Int { 2 * answer.bytes.count + 512 }

    /// The answer, and how many seconds it has been here; nil where there is none that lives.
    mutating func answer(for key: NameKey, at now: Instant) -> (answer: DNSAnswer, age: UInt32)? {
        guard let entry = entries[key], now < entry.until else { misses += 1; return nil }
        hits += 1
        entries[key]?.isUsed = true
        // Rounded down: what lives for a second yet is not said to be over.
        let age = UInt32(clamping: (now - entry.since).nanoseconds / 1_000_000_000)
        return (entry.answer, age)
    }

    /// Keeps an answer, where it may be kept.
    mutating func store(_ answer: DNSAnswer, for key: NameKey, at now: Instant) {
        guard !answer.isTruncated, answer.question == key.question,
            let lifetime = Self.lifetime(of: answer), lifetime > .zero,
            Self.size(of: answer) <= Self.maximumBytes / 16
        else { return }
        remove(key)
        while entries.count >= Self.maximumEntries
            || bytes + Self.size(of: answer) > Self.maximumBytes
        {
            guard evict() else { return }
        }
        let number = place(key)
        entries[key] = Entry(answer: answer, since: now, until: now + lifetime, number: number)
        bytes += Self.size(of: answer)
    }

    private static func lifetime(of answer: DNSAnswer) -> Interval? {
        answer.isFailure ? failureLifetime : answer.lifetime.map { .seconds(Int64($0)) }
    }

    private mutating func place(_ key: NameKey) -> UInt64 {
        order.add(key, count: entries.count) { [entries] in
            entries[$0.key]?.number == $0.number
        }
    }

    private mutating func remove(_ key: NameKey) {
        if let old = entries.removeValue(forKey: key) { bytes -= old.size }
    }

    /// The oldest goes, unless it was asked for meanwhile: then it is the newest once more.
    private mutating func evict() -> Bool {
        for _ in 0...entries.count {
            let key = order.popFirst { [entries] in entries[$0.key]?.number == $0.number }
            guard let key, let entry = entries[key] else { return false }
            guard entry.isUsed else { remove(key); return true }
            let number = place(key)
            entries[key]?.isUsed = false
            entries[key]?.number = number
        }
        return false
    }
}
