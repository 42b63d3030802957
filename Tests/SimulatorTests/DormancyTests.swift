import Measures
import Multipath
import Simulator
import Testing

/// Single mode: quiet connections don't join in the middle of a handover.
@Suite struct DormancyTests {
    /// A block every five seconds, the loss three seconds after one.
    private func trial(
        _ loss: HandoverTrial.Loss, idle: Int, bothWays: Bool = true
    ) -> HandoverRecord {
        let block = (chunk: 100, period: Interval.seconds(5))
        var trial = HandoverTrial(
            bothWays
                ? .voice(chunk: block.chunk, period: block.period)
                : .stream(chunk: block.chunk, period: block.period), .single, loss, seed: 3)
        trial.lossAfter = .seconds(8)
        trial.tail = .seconds(20)
        trial.idleStreams = idle
        return trial.run()
    }

    @Test(arguments: HandoverTrial.Loss.allCases)
    func twoHundredConnectionsHandOverLikeOne(_ loss: HandoverTrial.Loss) {
        let one = trial(loss, idle: 0), many = trial(loss, idle: 200)
        #expect(one.failure == nil && many.failure == nil)
        func sent(_ record: HandoverRecord) -> Int { record.traffic.after.joined().reduce(0, +) }
        #expect(
            sent(many) <= sent(one) + 3,
            "\(sent(many)) datagrams for 201 connections, \(sent(one)) for one")
    }

    /// What either end has to say to a dormant connection costs a request and a join, no time-out.
    @Test(arguments: HandoverTrial.Loss.allCases)
    func aDormantConnectionWakes(_ loss: HandoverTrial.Loss) {
        let up = trial(loss, idle: 0).sent.delays.map(\.delay)
        let down = trial(loss, idle: 0, bothWays: false).received.delays.map(\.delay)
        #expect(down.count >= 5 && up.count >= 5)
        #expect(up.max()! < .milliseconds(400), "up \(up)")
        #expect(
            down.max()! < .milliseconds(400) && down.max()! > .milliseconds(120), "down \(down)")
    }
}
