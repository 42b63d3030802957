import Dialogue

/// Names that nobody is asked for (RFC 6761, RFC 7686).
enum SpecialNames {
    private static let localhost = DNSName("localhost")!
    private static let nowhere = [DNSName("invalid")!, DNSName("onion")!]

    /// Nil for all others.
    static func answer(_ query: DNSQuery) -> [UInt8]? {
        let question = query.question
        guard question.recordClass == DNSType.internet else {
            return query.failure(DNSCode.notImplemented)
        }
        if question.name.isWithin(localhost) {
            let data: [[UInt8]] =
                switch question.type {
                case DNSType.a: [[127, 0, 0, 1]]
                case DNSType.aaaa: [[UInt8](repeating: 0, count: 15) + [1]]
                default: []
                }
            return query.answer(addresses: data, lifetime: 10_000)
        }
        return nowhere.contains { question.name.isWithin($0) }
            ? query.failure(DNSCode.noSuchName) : nil
    }
}
