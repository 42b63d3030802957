import Dialogue
import Measures
import Testing

@testable import Proxy

@Suite struct NameCacheTests {
    private func query(_ name: String, signatures: Bool = false, flags: UInt16 = 0x0100) -> DNSQuery
    {
        DNSQuery(
            id: 1, DNSQuestion(DNSName(name)!, type: 16), flags: flags,
            extended: signatures ? .init(size: 4_096, wantsSignatures: true) : nil)
    }

    /// A text of `size` bytes that lives for `life` seconds.
    private func answer(
        _ name: String, life: UInt8 = 60, size: Int = 8, code: UInt8 = 0
    ) -> DNSAnswer {
        var bytes = query(name).bytes
        bytes[2] |= 0x80
        bytes[3] |= code
        if code == 0 {
            bytes[7] = 1
            bytes += [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, life, UInt8(size >> 8), UInt8(size & 255)]
            bytes += [UInt8](repeating: 0, count: size)
        }
        return bytes.withUnsafeBytes { DNSAnswer(reading: $0)! }
    }

    @Test func anAnswerLivesAsLongAsItsRecords() {
        var cache = NameCache()
        let key = NameKey(query("a.test")), now = Instant(nanoseconds: 1_000_000_000)
        cache.store(answer("a.test"), for: key, at: now)
        let later = cache.answer(for: key, at: now + .milliseconds(59_999))
        #expect(later?.age == 59)
        let reply = later?.answer.reply(to: query("a.test"), age: 59, limit: 512)
        #expect(reply?[33] == 1)
        #expect(cache.answer(for: key, at: now + .seconds(60)) == nil)
    }

    @Test func signaturesAndUncheckedDataAreOtherAnswers() {
        var cache = NameCache()
        cache.store(answer("a.test"), for: NameKey(query("a.test")), at: .zero)
        #expect(cache.answer(for: NameKey(query("A.test")), at: .zero) != nil)
        #expect(cache.answer(for: NameKey(query("a.test", signatures: true)), at: .zero) == nil)
        #expect(cache.answer(for: NameKey(query("a.test", flags: 0x0110)), at: .zero) == nil)
        #expect(cache.answer(for: NameKey(query("b.test")), at: .zero) == nil)
    }

    @Test func whatIsNotKept() {
        var cache = NameCache()
        let key = NameKey(query("a.test"))
        cache.store(answer("a.test", life: 0), for: key, at: .zero)
        cache.store(answer("b.test"), for: key, at: .zero)
        cache.store(answer("a.test", code: 3), for: key, at: .zero)  // no SOA
        #expect(cache.count == 0)
        cache.store(answer("a.test", code: 2), for: key, at: .zero)
        #expect(cache.answer(for: key, at: .zero + .milliseconds(999)) != nil)
        #expect(cache.answer(for: key, at: .zero + .seconds(1)) == nil)
    }

    @Test func entriesAndBytesAreBounded() {
        var cache = NameCache()
        let first = NameKey(query("first.test"))
        cache.store(answer("first.test"), for: first, at: .zero)
        for i in 0..<(NameCache.maximumEntries + 1_000) {
            // What is asked for again and again stays.
            if i % 1_000 == 0 { #expect(cache.answer(for: first, at: .zero) != nil) }
            cache.store(answer("x\(i).test"), for: NameKey(query("x\(i).test")), at: .zero)
        }
        #expect(cache.count <= NameCache.maximumEntries)
        for i in 0..<2_000 {
            cache.store(
                answer("y\(i).test", size: 60_000), for: NameKey(query("y\(i).test")), at: .zero)
            #expect(cache.bytes <= NameCache.maximumBytes)
        }
        #expect(cache.count > 50)
        #expect(cache.answer(for: NameKey(query("y1999.test")), at: .zero) != nil)
    }

    @Test func anAnswerInPlaceOfAnother() {
        var cache = NameCache()
        let key = NameKey(query("a.test"))
        for _ in 0..<10_000 { cache.store(answer("a.test", size: 9_000), for: key, at: .zero) }
        #expect(cache.count == 1 && cache.bytes < 30_000)
    }
}
