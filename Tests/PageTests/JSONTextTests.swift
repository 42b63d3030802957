import Foundation
import Testing

@testable import Page

/// What the page's messages are made of is JSON, whatever stands in it.
@Suite struct JSONTextTests {
    @Test func whatIsWrittenIsRead() throws {
        let odd = "a\"b\\c\n\u{1}ü\u{2028}</script>"
        let bytes = JSONText.object { json in
            json.field("text", odd)
            json.field("number", -17)
            json.field("yes", true)
            json.field("share", thousandths: 12.345)
            json.array("list") { json in
                json.value(thousandths: 0.5)
                json.null()
                json.value(thousandths: -1.25)
                json.value(thousandths: .nan)
                json.object { $0.array("empty") { _ in } }
            }
            json.object("inner") { $0.field("last", 1) }
        }
        #expect(!bytes.contains(UInt8(ascii: "\n")), "an event's line would end")
        let read = try #require(
            JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        #expect(read["text"] as? String == odd)
        #expect(read["number"] as? Int == -17)
        #expect(read["yes"] as? Bool == true)
        #expect(read["share"] as? Double == 12.345)
        let list = try #require(read["list"] as? [Any])
        #expect(list.count == 5 && list[0] as? Double == 0.5 && list[1] is NSNull)
        #expect(list[2] as? Double == -1.25 && list[3] is NSNull)
        #expect((read["inner"] as? [String: Int]) == ["last": 1])
    }

    @Test func numbersAreShort() {
        func text(_ value: Double) -> String {
            var json = JSONText()
            json.value(thousandths: value)
            return String(decoding: json.bytes, as: UTF8.self)
        }
        #expect(text(1) == "1" && text(0) == "0" && text(0.1) == "0.1" && text(-0.02) == "-0.02")
        #expect(text(12.0004) == "12" && text(0.9996) == "1" && text(1e300) == "null")
    }
}
