import Measures
import Testing

@testable import Dialogue

/// Messages as servers and clients write them, by hand.
enum Message {
    static func name(_ text: String) -> [UInt8] {
        text.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }
    static func word(_ n: Int) -> [UInt8] { [UInt8(n >> 8 & 255), UInt8(n & 255)] }
    static func header(_ id: Int, _ flags: Int, _ counts: [Int]) -> [UInt8] {
        word(id) + word(flags) + counts.flatMap(word)
    }
    static func question(_ text: String, _ type: Int) -> [UInt8] {
        name(text) + word(type) + [0, 1]
    }
    static func record(_ name: [UInt8], _ type: Int, _ life: Int, _ data: [UInt8]) -> [UInt8] {
        name + word(type) + [0, 1] + word(life >> 16) + word(life) + word(data.count) + data
    }
    static let option: [UInt8] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]
    static let pointer: [UInt8] = [0xc0, 12]
}

@Suite struct DNSQueryTests {
    private func read(_ bytes: [UInt8]) -> Result<DNSQuery, DNSQuery.Refusal> {
        bytes.withUnsafeBytes { raw in
            do throws(DNSQuery.Refusal) { return .success(try DNSQuery(reading: raw)) } catch {
                return .failure(error)
            }
        }
    }

    @Test func aPlainQuestion() throws {
        let bytes = Message.header(7, 0x0100, [1, 0, 0, 0]) + Message.question("WWW.Example", 28)
        let query = try read(bytes).get()
        #expect(query.id == 7 && query.question.type == 28 && query.extended == nil)
        #expect(query.question.name == DNSName("www.example")!)
        #expect(query.question.name.hostName == "www.example")
        #expect(query.maximumDatagram == 512)
        #expect(query.bytes == bytes)
    }

    @Test func withEDNS() throws {
        let option: [UInt8] = [0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 4, 0, 10, 0, 0]
        let bytes =
            Message.header(7, 0x0130, [1, 0, 0, 1]) + Message.question("a.test", 1) + option
        let query = try read(bytes).get()
        #expect(query.extended == .init(size: 4_096, wantsSignatures: true))
        #expect(query.flags == 0x0130 && query.maximumDatagram == 4_096)
        // Its options are left out.
        let again = try read(query.bytes).get()
        #expect(again == query)
    }

    @Test(
        arguments: [
            ([], .silence), ([0, 1, 2], .silence),
            (Message.header(1, 0x8100, [1, 0, 0, 0]) + Message.question("a", 1), .silence),
            (Message.header(1, 0x2100, [1, 0, 0, 0]) + Message.question("a", 1), .code(4)),
            (Message.header(1, 0x0100, [0, 0, 0, 0]), .code(1)),
            (Message.header(1, 0x0100, [2, 0, 0, 0]) + Message.question("a", 1), .code(1)),
            (Message.header(1, 0x0100, [1, 0, 0, 0]) + [1, 0x61, 0, 0, 1, 0], .code(1)),
            (Message.header(1, 0x0100, [1, 0, 0, 0]) + [0xc0, 12, 0, 1, 0, 1], .code(1)),
            (Message.header(1, 0x0100, [1, 0, 0, 0]) + [0x40, 0, 0, 1, 0, 1], .code(1)),
            (Message.header(1, 0x0100, [1, 0, 0, 0]) + Message.question("a", 252), .code(4)),
            (Message.header(1, 0x0100, [1, 0, 0, 9]) + Message.question("a", 1), .code(1)),
            (
                Message.header(1, 0x0100, [1, 0, 0, 1]) + Message.question("a", 1)
                    + [0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0], .version
            ),
            (
                Message.header(1, 0x0100, [1, 0, 0, 2]) + Message.question("a", 1) + Message.option
                    + Message.option, .code(1)
            )
        ] as [([UInt8], DNSQuery.Refusal)])
    func whatIsNone(_ bytes: [UInt8], _ why: DNSQuery.Refusal) {
        #expect(read(bytes) == .failure(why))
        let answer = bytes.withUnsafeBytes { DNSQuery.refusal(why, of: $0) }
        #expect((answer == nil) == (why == .silence))
    }

    @Test func namesOfEveryLength() {
        let label = [UInt8](repeating: 0x61, count: 63)
        for last in [61, 62] {
            let name =
                [63] + label + [63] + label + [63] + label + [UInt8(last)] + label.prefix(last)
            let bytes =
                Message.header(1, 0x0100, [1, 0, 0, 0]) + name + [0] + [0, 1, 0, 1]
            // 255 bytes with the final zero, and one more.
            #expect((try? read(bytes).get()) != nil ? last == 61 : last == 62)
        }
    }
}

@Suite struct DNSAnswerTests {
    private func read(_ bytes: [UInt8]) -> DNSAnswer? {
        bytes.withUnsafeBytes { DNSAnswer(reading: $0) }
    }
    private func query(_ name: String, _ type: Int, _ id: Int = 9, option: [UInt8] = []) -> DNSQuery
    {
        let bytes =
            Message.header(id, 0x0100, [1, 0, 0, option.isEmpty ? 0 : 1])
            + Message.question(name, type) + option
        return try! bytes.withUnsafeBytes { try DNSQuery(reading: $0) }
    }

    private let addresses =
        Message.header(1, 0x8180, [1, 2, 0, 1]) + Message.question("a.test", 1)
        + Message.record(Message.pointer, 5, 300, [1, 0x62, 0xc0, 14])
        + Message.record([0xc0, 36], 1, 60, [192, 0, 2, 7]) + Message.option

    @Test func addressesAndTheShortestLife() throws {
        let answer = try #require(read(addresses))
        #expect(answer.addresses == [IPAddress("192.0.2.7")!])
        #expect(answer.lifetime == 60 && answer.code == 0 && !answer.isFailure)
        #expect(answer.answers(DNSQuestion(DNSName("A.test")!, type: 1), id: 1))
        #expect(!answer.answers(DNSQuestion(DNSName("a.test")!, type: 1), id: 2))
        #expect(!answer.answers(DNSQuestion(DNSName("b.test")!, type: 1), id: 1))
        #expect(!answer.answers(DNSQuestion(DNSName("a.test")!, type: 28), id: 1))
    }

    @Test func aReplyHasTheClientsNumberCaseAndTimes() throws {
        let answer = try #require(read(addresses))
        let plain = answer.reply(to: query("A.TEST", 1), age: 50, limit: 512)
        let expected =
            Message.header(9, 0x8180, [1, 2, 0, 0]) + Message.question("A.TEST", 1)
            + Message.record(Message.pointer, 5, 250, [1, 0x62, 0xc0, 14])
            + Message.record([0xc0, 36], 1, 10, [192, 0, 2, 7])
        #expect(plain == expected)
        let extended = answer.reply(
            to: query("A.TEST", 1, option: Message.option), age: 400, limit: 512)
        #expect(extended.count == expected.count + 11 && extended[11] == 1)
        let again = try #require(read(extended))
        #expect(again.lifetime == 0)
    }

    @Test func whatIsTooLongIsCut() throws {
        let answer = try #require(read(addresses))
        let cut = answer.reply(to: query("a.test", 1), age: 0, limit: 40)
        #expect(
            cut == Message.header(9, 0x8380, [1, 0, 0, 0]) + Message.question("a.test", 1))
        #expect(answer.reply(to: query("a.test", 1), age: 0, limit: 68)[2] & 2 == 0)
    }

    @Test func thatThereIsNoneLivesAsLongAsTheZoneSays() throws {
        let soa = { (life: Int, minimum: Int) in
            Message.record(
                [0xc0, 14], 6, life,
                [0xc0, 14, 0xc0, 14] + [UInt8](repeating: 0, count: 16) + Message.word(0)
                    + Message.word(minimum))
        }
        for code in [0, 3] {
            for (life, minimum, expected) in [(900, 60, 60), (30, 60, 30), (60_000, 60_000, 10_800)]
            {
                let bytes =
                    Message.header(1, 0x8180 | code, [1, 0, 1, 0]) + Message.question("a.test", 1)
                    + soa(life, minimum)
                let answer = try #require(read(bytes))
                #expect(answer.lifetime == UInt32(expected) && !answer.isFailure)
            }
            let bare =
                Message.header(1, 0x8180 | code, [1, 0, 0, 0]) + Message.question("a.test", 1)
            #expect(read(bare)?.lifetime == nil)
        }
        let failed = Message.header(1, 0x8182, [1, 0, 0, 0]) + Message.question("a.test", 1)
        #expect(read(failed)?.isFailure == true && read(failed)?.lifetime == nil)
    }

    @Test func theExtendedCodeCounts() throws {
        let option: [UInt8] = [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]
        let bytes =
            Message.header(1, 0x8180, [1, 0, 0, 2]) + Message.question("a.test", 1) + option
            + Message.record(Message.pointer, 1, 5, [1, 2, 3, 4])
        let answer = try #require(read(bytes))
        #expect(answer.code == 16 && answer.isFailure)
        // What stands behind the option is left out.
        #expect(answer.bytes.count == bytes.count - option.count - 16 && answer.bytes[11] == 0)
    }

    @Test func circlesAndLongNamesAreRefused() {
        let head = Message.header(1, 0x8180, [1, 1, 0, 0]) + Message.question("a.test", 1)
        // A record's name that points to itself, ahead, into the header; data that do.
        for name in [[0xc0, UInt8(head.count)], [0xc0, UInt8(head.count + 4)], [0xc0, 0], [0xc0]] {
            #expect(read(head + Message.record(name, 1, 5, [1, 2, 3, 4])) == nil)
        }
        let data = UInt8(head.count + 12)
        #expect(read(head + Message.record(Message.pointer, 5, 5, [0xc0, data])) == nil)
        // Two that point at one another, hidden in a text.
        let hidden: [UInt8] = [0xc0, data + 2, 0xc0, data]
        let two = Message.header(1, 0x8180, [1, 2, 0, 0]) + Message.question("a.test", 1)
        #expect(
            read(
                two + Message.record(Message.pointer, 16, 5, hidden)
                    + Message.record([0xc0, data], 1, 5, [1, 2, 3, 4])) == nil)
        // Each points to the one before: more than sixteen are too many.
        for count in [15, 17] {
            var chain: [UInt8] = Message.pointer
            let start = head.count + 12
            for i in 1..<count { chain += [0xc0, UInt8(start + 2 * (i - 1))] }
            let last = [0xc0, UInt8(start + 2 * (count - 1))]
            let bytes =
                two + Message.record(Message.pointer, 16, 5, chain)
                + Message.record(last, 1, 5, [1, 2, 3, 4])
            #expect((read(bytes) != nil) == (count == 15))
        }
    }

    /// Passing over a name says of any what reading it says, whatever other names were passed before
    /// it.
    @Test func aPassedNameIsOneThatCanBeRead() {
        var chance = SeededRandom(seed: 53), passed = 0
        func below(_ n: Int) -> Int { Int.random(in: 0..<n, using: &chance) }
        for _ in 0..<2_000 {
            var bytes = [UInt8](repeating: 0, count: DNSHeader.length), starts: [Int] = []
            for _ in 0..<40 {
                starts.append(bytes.count)
                for _ in 0..<below(5) {
                    let size = below(below(30) == 0 ? 64 : 3) + 1
                    bytes.append(UInt8(size))
                    for _ in 0..<size { bytes.append(UInt8(below(4))) }
                }
                let target = below(bytes.count + 2)
                bytes += below(3) == 0 ? [0] : [0xc0 | UInt8(target >> 8), UInt8(target & 255)]
                bytes += [UInt8](repeating: 1, count: below(6))
            }
            bytes.withUnsafeBytes { message in
                var reader = DNSReader(message, at: 0), name: [UInt8] = []
                for (number, start) in starts.enumerated() {
                    reader.at = start
                    var other = DNSReader(message, at: start)
                    other.lifetimes = reader.lifetimes
                    let isName = other.name(into: &name), length = reader.passName()
                    #expect(length == (isName ? name.count : nil))
                    #expect(reader.at == other.at)
                    passed += isName ? 1 : 0
                    if isName, number % 3 == 0 { reader.lifetimes.append(reader.at) }
                }
            }
        }
        #expect(passed > 8_000)
    }

    /// Thousands of records whose names lead through a hundred labels: each is looked at once.
    @Test func manyNamesThatLeadToALongOne() {
        var bytes = [UInt8](repeating: 0, count: DNSHeader.length)
        for _ in 0..<120 { bytes += [1, 0x61] }
        bytes.append(0)
        let first = bytes.count, count = 5_000
        for n in 0..<count { bytes += [0xc0, UInt8(DNSHeader.length + n % 120 * 2)] }
        bytes.withUnsafeBytes { message in
            var reader = DNSReader(message, at: first)
            for n in 0..<count { #expect(reader.passName() == 241 - n % 120 * 2) }
            #expect(reader.at == bytes.count)
            #expect(reader.looks <= 121)
        }
    }

    /// A time to live is counted down for every client: a name that leads through one would become
    /// another.
    @Test func noNameLeadsThroughATimeToLive() {
        let question = Message.question("www.example", 1)
        let first = Message.record(Message.pointer, 1, 0x0178_0000, [192, 0, 2, 1])
        let lifetime = DNSHeader.length + question.count + 6
        for (at, isRead) in [(DNSHeader.length, true), (lifetime, false)] {
            let second = Message.record([0xc0, UInt8(at)], 1, 60, [192, 0, 2, 2])
            let message = Message.header(1, 0x8180, [1, 2, 0, 0]) + question + first + second
            let answer = message.withUnsafeBytes { DNSAnswer(reading: $0) }
            #expect((answer != nil) == isRead)
        }
    }

    @Test func whatIsCutShortAnywhereIsRefused() {
        for count in addresses.indices {
            #expect(read(Array(addresses[..<count])) == nil, "\(count) bytes")
        }
        // With TC it stands as far as it goes.
        var cut = addresses
        cut[2] |= 2
        #expect(read(Array(cut[..<40]))?.isTruncated == true)
        #expect(read(Array(cut[..<20])) == nil)
    }

    @Test func domains() {
        let name = DNSName("printer.office.lan")!
        #expect(name.isWithin(DNSName("lan")!) && name.isWithin(DNSName("OFFICE.lan.")!))
        #expect(name.isWithin(name) && name.isWithin(.root))
        #expect(!name.isWithin(DNSName("an")!) && !name.isWithin(DNSName("fice.lan")!))
        #expect(!DNSName("lan")!.isWithin(name))
        #expect(DNSName("") == nil && DNSName("a..b") == nil && DNSName("a b") == nil)
        #expect(DNSName(String(repeating: "a", count: 64)) == nil)
    }
}

@Suite struct DNSFramingTests {
    @Test func messagesBehindTheirLengths() {
        let message = [UInt8](repeating: 7, count: 300)
        let framed = DNSFraming.framed(message)
        #expect(framed.count == 302 && framed[0] == 1 && framed[1] == 44)
        let both = [0xff] + framed + DNSFraming.framed([])
        #expect(DNSFraming.length(of: both[1...]) == 300)
        #expect(DNSFraming.message(of: both[1...]).map(Array.init) == message)
        #expect(DNSFraming.message(of: both[303...])?.isEmpty == true)
        for cut in 0..<framed.count { #expect(DNSFraming.message(of: framed[..<cut]) == nil) }
        #expect(DNSFraming.length(of: framed[..<1]) == nil)
    }
}
