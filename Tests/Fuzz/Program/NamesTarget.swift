import Dialogue
import Measures

/// Questions and answers of DNS: what is read is written the same, a reply is an answer to its
/// question, and nothing is longer than it may be.
enum NamesTarget {
    static func run(_ input: inout Input) {
        let form = input.byte(), limit = 12 + 16 * Int(input.byte()),
            age = UInt32(input.byte()) << 6
        let bytes = input.rest()
        if form & 0x18 == 0x18 { framed(bytes) }
        if form & 1 == 0 { question(bytes) } else { answer(bytes, form, limit: limit, age: age) }
    }

    private static func read(_ bytes: [UInt8]) -> DNSQuery? {
        withExact(bytes) { raw in
            do throws(DNSQuery.Refusal) {
                return try DNSQuery(reading: UnsafeRawBufferPointer(raw))
            } catch {
                let refusal = DNSQuery.refusal(error, of: UnsafeRawBufferPointer(raw))
                check((refusal == nil) == (error == .silence), "a refusal without a word")
                return nil
            }
        }
    }

    /// A message behind its length, as a stream brings it: known when it is whole, and the same
    /// then.
    private static func framed(_ bytes: [UInt8]) {
        var known: [UInt8]?
        for n in 0...bytes.count {
            let length = DNSFraming.length(of: bytes[..<n])
            check((length == nil) == (n < 2), "a length without its bytes")
            let message = DNSFraming.message(of: bytes[..<n]).map { Array($0) }
            if let known { check(message == known, "another message") }
            known = message
        }
        guard let known else { return }
        check(Array(bytes.prefix(known.count + 2)) == DNSFraming.framed(known), "framed otherwise")
    }

    private static func question(_ bytes: [UInt8]) {
        guard let query = read(bytes) else { return }
        check(query.question.name.bytes.count <= DNSName.maximumLength, "a name too long")
        check(read(query.bytes) == query, "written otherwise")
        let failure = query.failure(2)
        let answer = withExact(failure) { DNSAnswer(reading: UnsafeRawBufferPointer($0)) }
        check(answer?.answers(query.question, id: query.id) == true, "no answer to the question")
        if let host = query.question.name.hostName {
            check(DNSName(host) == query.question.name, "another name: \(host)")
        }
    }

    private static func answer(_ bytes: [UInt8], _ form: UInt8, limit: Int, age: UInt32) {
        let read = withExact(bytes) { DNSAnswer(reading: UnsafeRawBufferPointer($0)) }
        guard let answer = read else { return }
        check(answer.bytes.count <= bytes.count, "longer than it was")
        check((answer.lifetime ?? 0) <= DNSAnswer.maximumLife, "it lives for ever")
        let query = DNSQuery(
            id: 77, answer.question, flags: 0x0100,
            extended: form & 2 == 0 ? nil : .init(size: 1_232, wantsSignatures: form & 4 != 0))
        let reply = answer.reply(to: query, age: age, limit: limit)
        let again = withExact(reply) { DNSAnswer(reading: UnsafeRawBufferPointer($0)) }
        guard let again else { fail("a reply that can't be read") }
        check(again.answers(query.question, id: 77), "no answer to the question")
        check(again.isTruncated || reply.count <= limit, "\(reply.count) bytes, not \(limit)")
        guard !again.isTruncated else {
            check(reply.count <= 12 + 255 + 4 + 11, "cut, and long")
            return
        }
        check(again.addresses == answer.addresses, "other addresses")
        if let before = answer.lifetime, let after = again.lifetime {
            check(after <= before, "it lives longer")
        }
    }
}
