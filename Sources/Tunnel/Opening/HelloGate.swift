import Crypto
import Measures
import Wire

/// What the concentrator does with a hello before any Diffie-Hellman, whose cost is why (170
/// microseconds).
///
/// A stranger who does not know the concentrator's public key fails at `mac1`, for the price of a
/// hash. Whoever knows it gets hellos into a queue that is worked off behind the records, within a
/// budget of multiplications. Once that is strained, a hello must also hold a cookie, which only
/// who receives at its address can have; and each address has a share. (WireGuard's protocol,
/// sections 5.3 and 5.4.7 of its paper.)
struct HelloGate {
    enum Verdict: Equatable {
        /// Waits for its turn.
        case queued
        /// Its sender is to come again with this cookie.
        case cookie(Bytes16)
        /// `mac1` is wrong, or the queue is full, or its source asks too often.
        case dropped
    }

    let keys: HelloKeys
    /// Multiplications on the curve: what an opened hello costs is spent here.
    private(set) var budget = TokenBucket(
        rate: Limits.multiplicationRate, burst: Limits.multiplicationBurst)
    private var loadedUntil = Instant.zero
    private var pausedUntil = Instant.zero

    // Cookies: the secret is renewed, the one before it still counts.
    private var secret: CookieSecret
    private var lastSecret: CookieSecret
    private var renewAt: Instant

    // By a keyed hash of the source: those who have shown that they receive, and those who have
    // not.
    private let salt: (UInt64, UInt64)
    private var withCookie = [TokenBucket](
        repeating: TokenBucket(rate: Limits.sourceHelloRate, burst: Limits.sourceHelloBurst),
        count: Self.sources)
    private var withoutCookie = [TokenBucket](
        repeating: TokenBucket(rate: Limits.cookieRate, burst: Limits.cookieBurst),
        count: Self.sources)
    private static let sources = 1024

    // A ring of datagrams in one piece of memory.
    private var bytes = [UInt8](repeating: 0, count: Limits.queuedHellos * HelloDatagram.size)
    private var origins: [PathAddress?] = Array(repeating: nil, count: Limits.queuedHellos)
    private var head = 0
    private(set) var count = 0

    private(set) var wrongMACs = 0

    /// When a hello may be opened; `.distantFuture` where none waits.
    private(set) var nextAt = Instant.distantFuture

    init(publicKey: Key32, random: inout KeyedRandom, at now: Instant) {
        keys = HelloKeys(concentrator: publicKey)
        secret = CookieSecret(random.key())
        lastSecret = CookieSecret(random.key())
        renewAt = now + Limits.cookieLifetime
        salt = (random.next(), random.next())
    }

    private mutating func updateNext(at now: Instant) {
        nextAt = count == 0 ? .distantFuture : max(pausedUntil, budget.next(at: now))
    }

    // MARK: In

    /// Whether `datagram` is a hello of somebody who knows the public key: the first thing to be
    /// asked of it.
    mutating func knowsKey(_ datagram: UnsafeRawBufferPointer) -> Bool {
        guard datagram.count == HelloDatagram.size else { return false }
        let expected = keys.mac1(UnsafeRawBufferPointer(rebasing: datagram[..<HelloDatagram.mac1]))
        if expected == Bytes16(datagram, at: HelloDatagram.mac1) { return true }
        wrongMACs += 1
        return false
    }

    /// A hello whose `mac1` is right, and that is no copy of one that was answered.
    mutating func admit(
        _ datagram: UnsafeRawBufferPointer, from source: PathAddress, random: inout KeyedRandom,
        at now: Instant
    ) -> Verdict {
        renewSecret(&random, at: now)
        if isLoaded(at: now) {
            guard hasCookie(datagram, source) else {
                guard withoutCookie[place(source)].take(at: now) else { return .dropped }
                return .cookie(secret.cookie(for: source.remote))
            }
            guard withCookie[place(source)].take(at: now) else { return .dropped }
        }
        guard count < Limits.queuedHellos else { return .dropped }
        let slot = (head + count) % Limits.queuedHellos
        bytes.withUnsafeMutableBytes {
            let start = $0.baseAddress! + slot * HelloDatagram.size
            start.copyMemory(from: datagram.baseAddress!, byteCount: HelloDatagram.size)
        }
        origins[slot] = source
        count += 1
        updateNext(at: now)
        return .queued
    }

    /// Half of the budget is spent, or several wait; for a second from then on.
    mutating func isLoaded(at now: Instant) -> Bool {
        if count >= Limits.hellosWithoutCookie
            || budget.level(at: now) < Limits.multiplicationBurst / 2
        {
            loadedUntil = now + Limits.loadMemory
        }
        return now < loadedUntil
    }

    private func hasCookie(_ datagram: UnsafeRawBufferPointer, _ source: PathAddress) -> Bool {
        let given = Bytes16(datagram, at: HelloDatagram.mac2)
        guard given != .zero else { return false }
        let covered = UnsafeRawBufferPointer(rebasing: datagram[..<HelloDatagram.mac2])
        return [secret, lastSecret].contains {
            MessageAuthentication(key: $0.cookie(for: source.remote))(covered) == given
        }
    }

    private mutating func renewSecret(_ random: inout KeyedRandom, at now: Instant) {
        guard now >= renewAt else { return }
        lastSecret = now - renewAt < Limits.cookieLifetime ? secret : CookieSecret(random.key())
        secret = CookieSecret(random.key())
        renewAt = now + Limits.cookieLifetime
    }

    /// A network of IPv6 counts as one source, as whoever has one address has all of it.
    private func place(_ source: PathAddress) -> Int {
        let address = source.remote.address
        let first = (address.high ^ salt.0) &* 0x9e37_79b9_7f4a_7c15
        let second = ((address.isIPv4 ? address.low : 0) ^ salt.1) &* 0xc2b2_ae3d_27d4_eb4f
        let mixed = ((first ^ (first >> 32)) &+ second) &* 0xff51_afd7_ed55_8ccd
        return Int(mixed >> 54)  // ten bits
    }

    // MARK: Out

    /// Copies the oldest hello to `out`, `HelloDatagram.size` bytes; where it came from. `spend`
    /// follows.
    mutating func takeFirst(into out: UnsafeMutableRawPointer) -> PathAddress? {
        guard count > 0 else { return nil }
        let source = origins[head]
        bytes.withUnsafeBytes {
            out.copyMemory(
                from: $0.baseAddress! + head * HelloDatagram.size, byteCount: HelloDatagram.size)
        }
        head = (head + 1) % Limits.queuedHellos
        count -= 1
        return source
    }

    /// An opened hello cost so many multiplications.
    mutating func spend(_ multiplications: Int, at now: Instant) {
        _ = budget.level(at: now)
        budget.spend(multiplications)
        updateNext(at: now)
    }

    /// A turn's share is done: where more wait, others are served before them.
    mutating func pause(at now: Instant) {
        guard count > 0 else { return }
        pausedUntil = now + Limits.helloPause
        updateNext(at: now)
    }
}

/// What cookies are made with: 16 bytes for each address and port.
private struct CookieSecret {
    private let key: MessageAuthentication
    init(_ key: Key32) { self.key = MessageAuthentication(key: key) }

    func cookie(for remote: SocketAddress) -> Bytes16 {
        let kind: UInt64 = remote.address.isIPv4 ? 4 : 6
        return withUnsafeBytes(
            of: (remote.address.high, remote.address.low, kind << 16 | UInt64(remote.port))
        ) {
            key($0)
        }
    }
}
