import Measures
import Testing

@testable import Concentrator

@Suite struct SessionNewsTests {
    @Test func oneUserFillsNoLogAndHidesNobody() {
        var news = SessionNews()
        let now = Instant(nanoseconds: 1)
        news.opened(1, of: "mallory")
        news.opened(2, of: "alice")
        let said = (0..<10_000).count { _ in news.pass(1, at: now) != nil }
        #expect(said == SessionNews.maximum)
        #expect(news.pass(2, at: now) == 0)
        // Another session of the same user counts with the first.
        news.opened(3, of: "mallory")
        #expect(news.pass(3, at: now) == nil)
        #expect(news.pass(3, at: now + SessionNews.span) == 10_001 - SessionNews.maximum)
    }

    @Test func aClosedSessionIsForgotten() {
        var news = SessionNews()
        news.opened(1, of: "mallory")
        news.closed(1)
        #expect(news.pass(1, at: Instant(nanoseconds: 1)) == 0)
    }
}
