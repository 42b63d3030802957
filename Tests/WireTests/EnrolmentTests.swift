import Testing

@testable import Wire

/// What an invited machine says, and what it is told.
@Suite struct EnrolmentTests {
    @Test func aRequestIsReadAsItWasWritten() {
        let request = EnrolmentRequest(publicKey: (0..<32).map { UInt8($0) })
        #expect(request.bytes.count == EnrolmentRequest.size)
        #expect(EnrolmentRequest.read(request.bytes) == request)
        #expect(EnrolmentRequest.read([2] + request.publicKey) == nil, "of another form")
        #expect(EnrolmentRequest.read(request.bytes + [0]) == nil)
        #expect(EnrolmentRequest.read([]) == nil)
    }

    @Test func anAnswerIsReadAsItWasWritten() {
        for outcome in EnrolmentAnswer.Outcome.allCases {
            let answer = EnrolmentAnswer(outcome, name: "alice")
            for count in 0..<answer.bytes.count {
                #expect(EnrolmentAnswer.read(Array(answer.bytes.prefix(count))) == nil)
            }
            #expect(EnrolmentAnswer.read(answer.bytes + [1, 2]) == answer)
        }
        #expect(EnrolmentAnswer.read([9, 0]) == nil)
        #expect(EnrolmentAnswer.read([0, 1, 0xff])?.name == "\u{fffd}")
        let long = EnrolmentAnswer(.admitted, name: String(repeating: "x", count: 300))
        #expect(EnrolmentAnswer.read(long.bytes)?.name.count == 64)
    }
}
