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

/// What belongs to uplinks, by their numbers.
@Test func aTableOfUplinksGrowsToTheGreatestNumber() {
    var table = UplinkTable<String>()
    #expect(table.indices.isEmpty && table.unused == 0 && table[3] == nil && table[-1] == nil)
    table[2] = "cell"
    table[7] = nil
    #expect(Array(table.indices) == [0, 1, 2] && table.unused == 0)
    table[0] = "wifi"
    #expect(table.unused == 1 && table[0] == "wifi" && table[2] == "cell")
    table[1] = "dsl"
    #expect(table.unused == 3)
    table[2] = nil
    #expect(table.unused == 2 && table[2] == nil)
}
