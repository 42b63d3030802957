import Testing

@testable import Measures

@Suite struct TallyTests {
    @Test func countsEachKeyByItself() {
        var tally = Tally<String>()
        #expect(tally["a"] == 0)
        tally.remove("a")
        tally.add("a")
        tally.add("a")
        tally.add("b")
        #expect(tally["a"] == 2 && tally["b"] == 1)
        tally.remove("a")
        tally.remove("b")
        tally.remove("b")
        #expect(tally["a"] == 1 && tally["b"] == 0)
    }
}
