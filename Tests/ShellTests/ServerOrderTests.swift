import Testing

@testable import Shell

@Suite struct ServerOrderTests {
    private func all(_ order: inout ServerOrder) -> [Int] {
        var out: [Int] = []
        while let server = order.next() { out.append(server) }
        return out
    }

    @Test func theWholeListSoOften() {
        var order = ServerOrder(servers: 3, attempts: 2)
        #expect(all(&order) == [0, 1, 2, 0, 1, 2] && !order.anyHasFailed)
        var none = ServerOrder(servers: 0, attempts: 2)
        #expect(all(&none) == [])
    }

    @Test func whoHasFailedIsLeftOut() {
        var order = ServerOrder(servers: 3, attempts: 2)
        #expect(order.next() == 0 && order.next() == 1)
        let isLate = order.failed(0), isCurrent = order.failed(1), isUnknown = order.failed(3)
        #expect(!isLate && isCurrent && !isUnknown && order.anyHasFailed)
        #expect(all(&order) == [2, 2])
    }

    @Test func allHaveFailed() {
        var order = ServerOrder(servers: 2, attempts: 3)
        while let server = order.next() { _ = order.failed(server) }
        #expect(order.current == nil && order.anyHasFailed)
    }
}
