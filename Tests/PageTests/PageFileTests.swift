import Testing

@testable import Page

/// The page's files: all there, small, and asking nobody else for anything.
@Suite struct PageFileTests {
    private static let paths = ["/", "/page.css", "/page.js", "/icon.svg"]

    @Test func theyAreSmall() throws {
        let files = try Self.paths.map { try #require(PageFile.named($0)) }
        #expect(files.map(\.bytes.count).reduce(0, +) < 100_000)
        #expect(PageFile.named("/page.html") == nil && PageFile.named("/../x") == nil)
    }

    @Test func theyNameNoOtherHost() throws {
        for path in Self.paths {
            let text = String(decoding: try #require(PageFile.named(path)).bytes, as: UTF8.self)
            let hosts = text.matches(of: #/(?:https?:)?//[a-z0-9.]+/[^" ]*/#).map { $0.output }
            #expect(
                hosts.allSatisfy { $0.hasPrefix("http://www.w3.org/") }, "\(path): \(hosts)")
        }
    }

    @Test func theMarkupHasNoStyleOrScriptOfItsOwn() throws {
        let html = String(decoding: try #require(PageFile.named("/")).bytes, as: UTF8.self)
        #expect(!html.contains("style=") && !html.contains("<style") && !html.contains(" on"))
    }
}
