import Measures
import Testing
import Wire

@testable import Rules

@Suite struct RuleSetTests {
    @Test func withoutRulesEverythingGoesThroughTheTunnel() {
        let target = Target(host: .name("example.org"), port: 443)
        let flow = FlowFacts(
            .tcp, entry: .captured, source: IPAddress("192.0.2.1")!, target: target)
        #expect(RuleSet().decide(flow) == .standard)
    }
}
