import Lab
import Measures
import Testing

@Suite struct LinkSpecificationTests {
    @Test(
        arguments: [
            ("8M/30ms", 1_000_000, 30_000_000), ("2M/100ms", 250_000, 100_000_000),
            ("250k/1.5s", 31_250, 1_500_000_000),
            ("1G/200us", 125_000_000, 200_000), ("1.5M/0", 187_500, 0)
        ] as [(String, Int64, Int64)])
    func read(_ text: String, _ bytesPerSecond: Int64, _ nanoseconds: Int64) {
        let link = LinkSpecification(text)
        #expect(link?.rate.bytesPerSecond == bytesPerSecond)
        #expect(link?.roundTrip.nanoseconds == nanoseconds)
    }

    @Test(arguments: [
        "", "8M", "/", "8M/", "/30ms", "0/30ms", "8M/30", "-8M/30ms", "8M/-30ms", "8T/30ms",
        "8M/30ms/1", "infM/1ms", "1e3M/1ms",
        "8M/2000s", "999999G/1ms", " 8M/30ms"
    ])
    func refused(_ text: String) { #expect(LinkSpecification(text) == nil) }

    @Test func printed() {
        #expect(
            LinkSpecification.wifi.description == "8M/30ms"
                && LinkSpecification.cellular.description == "2M/100ms")
        #expect(LinkSpecification("1.25M/1.5s")?.description == "1.25M/1.5s")
    }
}
