import Testing

@testable import Measures

/// A dictionary in parts is one dictionary.
@Suite struct DividedDictionaryTests {
    @Test func itKeepsWhatADictionaryKeeps() {
        var divided = DividedDictionary<UInt16, Int>(), model: [UInt16: Int] = [:]
        var random = SeededRandom(seed: 5)
        for step in 0..<20_000 {
            let key = UInt16.random(in: 0...700, using: &random)
            switch Int.random(in: 0...2, using: &random) {
            case 0:
                divided[key] = nil
                model[key] = nil
            default:
                divided[key] = step
                model[key] = step
            }
            let other = UInt16.random(in: 0...700, using: &random)
            #expect(divided[other] == model[other])
            #expect(divided.count == model.count && divided.isEmpty == model.isEmpty)
        }
    }

    @Test func anEmptyOneHasNothing() {
        var empty = DividedDictionary<String, Int>()
        empty["a"] = nil
        #expect(empty.isEmpty && empty.count == 0 && empty["a"] == nil)
    }
}
