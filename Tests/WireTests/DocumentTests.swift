import Buffers
import Foundation
import Measures
import Testing

@testable import Wire

/// The examples of docs/wire.md: bytes, and what they mean. Each is read, its meaning compared with
/// the document's words, and written again to the same bytes, so that document and code can't drift
/// apart.
enum WireDocument {
    struct Example: CustomTestStringConvertible, Sendable {
        /// The words before the bytes.
        var head: [String]
        var bytes: [UInt8]
        var meaning: String
        var testDescription: String { (head + [meaning]).joined(separator: " ") }
    }

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
        .deletingLastPathComponent()

    /// A file of the repository; empty where there is none.
    static func text(_ path: String) -> String {
        (try? String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)) ?? ""
    }

    /// Every Swift file below a folder, with its path before it.
    static func sources(_ folder: String) -> String {
        let files =
            FileManager.default.subpaths(atPath: root.appendingPathComponent(folder).path) ?? []
        return files.filter { $0.hasSuffix(".swift") }.map { "\($0)\n" + text("\(folder)/\($0)") }
            .joined(separator: "\n")
    }

    /// The lines of every fenced block of that name: `head… | bytes | meaning`.
    static func examples(_ block: String) -> [Example] {
        var examples: [Example] = [], isInside = false
        for line in text("docs/wire.md").split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") { isInside = line == "```\(block)"; continue }
            guard isInside else { continue }
            let parts = line.split(separator: "|", maxSplits: 2, omittingEmptySubsequences: false)
                .map { $0.trimmingCharacters(in: .whitespaces) }
            guard parts.count == 3 else { continue }
            examples.append(
                Example(
                    head: parts[0].split(separator: " ").map(String.init),
                    bytes: bytes(parts[1]), meaning: parts[2]))
        }
        return examples
    }

    /// Hex digits in groups; `2e*256` is the byte 2e 256 times.
    private static func bytes(_ text: String) -> [UInt8] {
        text.split(separator: " ").flatMap { group -> [UInt8] in
            let factors = group.split(separator: "*")
            let bytes = unhex(String(factors[0]))
            return factors.count == 2
                ? Array(repeating: bytes[0], count: Int(factors[1]) ?? 0) : bytes
        }
    }
}

@Suite struct DocumentTests {
    @Test(arguments: WireDocument.examples("options"))
    func anOptionMeansWhatIsSaid(_ example: WireDocument.Example) throws {
        let flags = ControlBits(letters: example.head.joined())
        let options = try SegmentOptions(example.bytes, flags: flags)
        #expect(options.words.joined(separator: "; ") == example.meaning)
        #expect(hex(options.tightBytes) == hex(example.bytes))
    }

    /// Every form there is a vector of stands in the document, and every option besides.
    @Test func noOptionIsLeftOut() throws {
        let shown = Set(WireDocument.examples("options").map { hex($0.bytes) })
        for vector in OptionVector.all {
            #expect(shown.contains(hex(vector.bytes)), "\(vector.name)")
        }
        var kinds: SegmentOptions.Kinds = []
        for example in WireDocument.examples("options") {
            let flags = ControlBits(letters: example.head.joined())
            kinds.formUnion(try SegmentOptions(example.bytes, flags: flags).present)
        }
        #expect(kinds.rawValue == (1 << 14) - 1)
    }

    @Test(arguments: WireDocument.examples("refused"))
    func whatIsRefusedIsRefused(_ example: WireDocument.Example) {
        let flags = ControlBits(letters: example.head.joined())
        #expect(throws: WireError.self) { try SegmentOptions(example.bytes, flags: flags) }
    }

    /// Options that are skipped, or read in part.
    @Test(arguments: WireDocument.examples("skipped"))
    func whatIsSkippedIsSkipped(_ example: WireDocument.Example) throws {
        let options = try SegmentOptions(
            example.bytes, flags: ControlBits(letters: example.head.joined()))
        let words = options.words.joined(separator: "; ")
        #expect((words.isEmpty ? "nothing" : words) == example.meaning)
    }

    @Test(arguments: WireDocument.examples("frames"))
    func aFrameMeansWhatIsSaid(_ example: WireDocument.Example) throws {
        let (words, written) = try #require(frameWords(example.bytes))
        #expect(words == example.meaning)
        #expect(hex(written) == hex(example.bytes))
    }

    @Test func noFrameIsLeftOut() {
        let types = Set(WireDocument.examples("frames").map { $0.bytes[0] })
        #expect(types == Set(FrameType.allCases.map(\.rawValue)).union(FrameType.datagrams))
    }

    /// The fuzz target `frames` has a round trip for each.
    @Test func noFrameIsLeftUnfuzzed() throws {
        let folder = WireDocument.root.appendingPathComponent("Sources/Wire/Frames").path
        let frames = try FileManager.default.contentsOfDirectory(atPath: folder)
            .filter { $0.hasSuffix("Frame.swift") }
        #expect(frames.count > 8)
        let target = WireDocument.sources("Tests/Fuzz/Program")
        for frame in frames { #expect(target.contains("\(frame.dropLast(6)).read("), "\(frame)") }
    }

    /// Where a frame ends, said by nothing but its own bytes.
    @Test(arguments: WireDocument.examples("lengths") + WireDocument.examples("frames"))
    func aFrameIsAsLongAsIsSaid(_ example: WireDocument.Example) {
        func extent(_ bytes: [UInt8]) -> Int? {
            bytes.withUnsafeBytes {
                bytes[0] & 0x80 == 0 ? FrameType.extent($0) : SealedSegment.extent($0)
            }
        }
        guard example.meaning != "no end" else { return #expect(extent(example.bytes) == nil) }
        let length = Int(example.meaning) ?? example.bytes.count
        #expect(extent(example.bytes) == length && length == example.bytes.count)
        #expect(extent(example.bytes + [0x40, 9, 0xff]) == length)
        for n in 1..<length { #expect(extent(Array(example.bytes[..<n])) == nil, "\(n) bytes") }
    }

    @Test(arguments: WireDocument.examples("datagrams"))
    func whatStandsAroundFramesMeansWhatIsSaid(_ example: WireDocument.Example) throws {
        let (words, written) = try #require(datagramWords(example.head.first ?? "", example.bytes))
        #expect(words == example.meaning)
        #expect(hex(written) == hex(example.bytes))
    }

    @Test func everyDialStatusIsThere() {
        let shown = WireDocument.examples("datagrams").filter { $0.head == ["status"] }
        #expect(shown.count == DialStatus.allCases.count)
    }

    /// One subflow's segments in the order they are sent; each is read by the other end, and
    /// written by its own.
    @Test func sealedSegmentsMeanWhatIsSaid() throws {
        let story = WireDocument.examples("sealed")
        #expect(story.count >= 12)
        var pair = SealedPair(initialSequences: nil)
        for example in story {
            let fromInitiator = example.head == [">"]
            #expect(fromInitiator || example.head == ["<"])
            // L 0: nothing may follow in the datagram; else two bytes of the next frame do.
            let runsToEnd = example.bytes[0] & 0x20 == 0
            let frame = example.bytes + (runsToEnd ? [] : [0, 0])
            let (segment, head, length) = try pair.read(frame, byInitiator: !fromInitiator)
            #expect(head + length == example.bytes.count, "\(example)")
            let payload = Array(example.bytes[head...])
            #expect(segment.words(payload: payload) == example.meaning)
            let written = pair.write(
                segment, payload, runsToEnd: runsToEnd, fromInitiator: fromInitiator)
            #expect(hex(written) == hex(example.bytes), "\(example)")
        }
    }

    @Test(arguments: WireDocument.examples("packets"))
    func aPacketMeansWhatIsSaid(_ example: WireDocument.Example) throws {
        var segment = Segment()
        let packet = UnsafeMutableRawBufferPointer.allocate(
            byteCount: example.bytes.count, alignment: 1)
        defer { packet.deallocate() }
        packet.copyBytes(from: example.bytes)
        let ends = try RawSegment.read(UnsafeRawBufferPointer(packet), into: &segment)
        let payload = Array(example.bytes[ends.payload])
        #expect(
            "\(ends.from):\(segment.sourcePort) to \(ends.to):\(segment.destinationPort), "
                + segment.words(payload: payload) == example.meaning)
        var out = [UInt8](repeating: 0, count: 200)
        let n = Pieces.of(payload) { pieces in
            out.withUnsafeMutableBytes {
                RawSegment.write(
                    segment, payload: pieces, from: ends.from, to: ends.to, into: $0.baseAddress!,
                    capacity: 200)
            }
        }
        #expect(hex(out[..<(n ?? 0)]) == hex(example.bytes))
    }

    /// What docs/deviations.md names in backquotes (files, functions, fields) is there.
    @Test func everyNameInDeviationsIsThere() {
        let known = WireDocument.sources("Sources") + WireDocument.sources("Tests")
        let parts = WireDocument.text("docs/deviations.md").split(
            separator: "`", omittingEmptySubsequences: false)
        #expect(parts.count > 200)
        for i in stride(from: 1, to: parts.count, by: 2) where !["Raw", "RawIP"].contains(parts[i])
        {
            for name in parts[i].split(whereSeparator: { !$0.isLetter && !$0.isNumber && $0 != "_" }
            )
            where !["Raw", "Tests", "Sources", "py"].contains(name) {
                let isThere =
                    known.contains(name)
                    || FileManager.default.fileExists(
                        atPath: WireDocument.root.appendingPathComponent(String(parts[i])).path)
                #expect(isThere, "\(parts[i]): \(name)")
            }
        }
    }
}
