import Dialogue
import Measures
import Testing

@testable import Proxy

@Suite struct ReachabilityTests {
    @Test func withoutAnUplinkThereIsNothingToWaitFor() {
        var reachability = Reachability()
        #expect(reachability.obstacle(hasUplink: false, hasAddress: true) == .noUplink)
        #expect(reachability.obstacle(hasUplink: true, hasAddress: true) == nil, "one has come")
        let answer1 = reachability.waited(hasUplink: false, hasAddress: true)
        #expect(answer1 == .noUplink)
        #expect(reachability.wait == Reachability.firstWait)
        #expect(
            reachability.obstacle(hasUplink: true, hasAddress: true) == nil,
            "nobody was asked so far")
    }

    @Test func afterTheFirstWarningEverybodyIsTold() {
        var reachability = Reachability()
        #expect(reachability.obstacle(hasUplink: true, hasAddress: true) == nil)
        let answer2 = reachability.waited(hasUplink: true, hasAddress: true)
        #expect(answer2 == .noAnswer)
        #expect(reachability.obstacle(hasUplink: true, hasAddress: true) == .noAnswer)
        #expect(reachability.obstacle(hasUplink: true, hasAddress: false) == .noAddress)
        for _ in 0..<20 { _ = reachability.waited(hasUplink: true, hasAddress: true) }
        #expect(reachability.wait == Reachability.maximumWait)
        reachability.sessionOpened()
        #expect(reachability.wait == Reachability.firstWait)
        #expect(reachability.obstacle(hasUplink: true, hasAddress: true) == nil)
        reachability.sessionClosed()
        #expect(
            reachability.obstacle(hasUplink: true, hasAddress: true) == nil, "the wait begins anew")
    }

    /// It lost its uplinks on the way to another network: requests wait, as long as it lives.
    @Test func aSilentSessionIsNoObstacle() {
        var reachability = Reachability()
        reachability.sessionOpened()
        #expect(reachability.obstacle(hasUplink: false, hasAddress: true) == nil)
        let answer3 = reachability.waited(hasUplink: true, hasAddress: true)
        #expect(answer3 == nil)
        #expect(reachability.obstacle(hasUplink: true, hasAddress: true) == nil)
    }

    @Test func aNewUplinkGetsItsTime() {
        var reachability = Reachability()
        let answer4 = reachability.noteUplinks(changes: 1)
        #expect(answer4)
        let answer5 = reachability.noteUplinks(changes: 1)
        #expect(!answer5)
        _ = reachability.waited(hasUplink: true, hasAddress: true)
        let answer6 = reachability.noteUplinks(changes: 2)
        #expect(answer6)
        #expect(reachability.obstacle(hasUplink: true, hasAddress: true) == nil)
    }

    @Test func theReasonIsOneSentence() {
        for obstacle in [Reachability.Obstacle.noUplink, .noAddress, .noAnswer] {
            let sentence = obstacle.refusal.sentence
            #expect(sentence.hasSuffix(".") && !sentence.contains("\n"))
            #expect(
                Socks5Dialogue.reply(dial: obstacle.status)[1] == (obstacle == .noUplink ? 3 : 1))
        }
    }
}
