import Testing

@testable import Wire

/// What `braid doctor` asks of the way, and what it is told.
@Suite struct MeasurementTests {
    @Test func aRequestIsReadAsItWasWritten() {
        let request = MeasurementRequest(down: 70_000, up: MeasurementRequest.maximum, delay: 300)
        #expect(request.bytes == [1, 0, 1, 0x11, 0x70, 0, 0x40, 0, 0, 1, 0x2c])
        #expect(MeasurementRequest.read(request.bytes) == request)
        #expect(MeasurementRequest.read(request.bytes + [9]) == request, "what follows is data")
        for n in 0..<MeasurementRequest.size {
            #expect(MeasurementRequest.read(Array(request.bytes.prefix(n))) == nil)
        }
        #expect(MeasurementRequest.read([2] + request.bytes.dropFirst()) == nil)
        for excess in [
            MeasurementRequest(down: MeasurementRequest.maximum + 1),
            MeasurementRequest(up: 0xffff_ffff), MeasurementRequest(delay: 601)
        ] { #expect(MeasurementRequest.read(excess.bytes) == nil) }
    }

    @Test func anAnswerIsReadAsItWasWritten() throws {
        let answer = MeasurementAnswer(loss: 0.125, address: "[2001:db8::7]:40000")
        let read = try #require(MeasurementAnswer.read(answer.bytes + [0, 0]))
        #expect(read.answer == answer && read.length == answer.bytes.count)
        for n in 0..<answer.bytes.count {
            #expect(MeasurementAnswer.read(Array(answer.bytes.prefix(n))) == nil)
        }
        #expect(MeasurementAnswer.read([255, 255, 0])?.answer.loss == 1)
        let long = MeasurementAnswer(loss: 9, address: String(repeating: "x", count: 300))
        #expect(MeasurementAnswer.read(long.bytes)?.answer.address.count == 64)
    }
}
