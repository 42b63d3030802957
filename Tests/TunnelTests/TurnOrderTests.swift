import Testing

@testable import Tunnel

/// Whose turn it is, beside an array that is obviously right.
@Suite struct TurnOrderTests {
    private func drain(_ order: TurnOrder) -> [Int] {
        var order = order, all: [Int] = []
        while let first = order.first, all.count < 100 {
            all.append(first)
            order.removeFirst()
        }
        return all
    }

    @Test func whoIsInIsNotTakenInAgain() {
        var order = TurnOrder()
        for number in [3, 0, 3, 7, 0] { order.append(number) }
        #expect(drain(order) == [3, 0, 7])
        order.rotate()
        #expect(drain(order) == [0, 7, 3])
        order.removeFirst()
        order.append(0)
        #expect(drain(order) == [7, 3, 0])
    }

    @Test func oneAloneStaysWhereItIs() {
        var order = TurnOrder()
        order.rotate()
        order.removeFirst()
        #expect(order.isEmpty)
        order.append(5)
        order.rotate()
        #expect(drain(order) == [5])
        order.removeFirst()
        #expect(order.isEmpty)
        order.append(5)
        #expect(drain(order) == [5])
    }

    @Test func anyOrderOfCallsKeepsItRight() {
        var state: UInt64 = 7
        func chance(_ n: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % n
        }
        var order = TurnOrder(), model: [Int] = []
        for _ in 0..<2_000 {
            switch chance(4) {
            case 0:
                order.removeFirst()
                if !model.isEmpty { model.removeFirst() }
            case 1:
                order.rotate()
                if !model.isEmpty { model.append(model.removeFirst()) }
            default:
                let number = chance(9)
                order.append(number)
                if !model.contains(number) { model.append(number) }
            }
            #expect(drain(order) == model && order.isEmpty == model.isEmpty)
        }
    }
}
