import Testing

@testable import Shell

/// A text as a QR code.
@Suite struct QRCodeTests {
    @Test func finderPatternsStandInThreeCorners() throws {
        let code = try #require(QRCode("braid://203.0.113.7:443/"))
        #expect(code.size >= 21 && (code.size - 17) % 4 == 0)
        let finder = { (row: Int, column: Int) in
            (0..<7).allSatisfy { i in
                code.isDark(row: row, column: column + i)
                    && code.isDark(row: row + 6, column: column + i)
                    && code.isDark(row: row + i, column: column)
            } && !code.isDark(row: row + 1, column: column + 1)
                && code.isDark(row: row + 3, column: column + 3)
        }
        #expect(finder(0, 0) && finder(0, code.size - 7) && finder(code.size - 7, 0))
        #expect(!code.isDark(row: -1, column: 0) && !code.isDark(row: 0, column: code.size))
        #expect(code.lines.count == (code.size + 5) / 2)
    }

    @Test func whatIsTooLongHasNone() {
        #expect(QRCode("") == nil)
        #expect(QRCode(String(repeating: "x", count: 2_331)) != nil)
        #expect(QRCode(String(repeating: "x", count: 2_400)) == nil)
    }
}
