import Dialogue
import Measures
import Shell

/// A question under way, and who waits for its answer.
final class PendingName {
    struct Waiting {
        let client: NameService.Client
        let query: DNSQuery
        let limit: Int
        let reply: ([UInt8]) -> Void
    }
    private(set) var waiting: [Waiting]
    /// Who asked first: for whom it counts.
    let source: Source
    let number: UInt64
    var timer: LoopTimer?
    var tunnelled: NameTunnel.Question?
    var local: NameExchange?

    init(_ first: Waiting, source: Source, number: UInt64) {
        waiting = [first]
        self.source = source
        self.number = number
    }

    /// False where too many wait. A client that repeats itself is one.
    func add(_ new: Waiting) -> Bool {
        if new.client.transport == .datagram,
            waiting.contains(where: { $0.client == new.client && $0.query.id == new.query.id })
        {
            return true
        }
        guard waiting.count < NameLimit.waiting else { return false }
        waiting.append(new)
        return true
    }
}

/// The questions under way, so many at most. Where there is no space for another one, the oldest
/// gives its place up; no source has more than its share (`NameLimit`).
struct PendingNames {
    private var questions: [NameKey: PendingName] = [:]
    private var order = AgeOrder<NameKey>()
    private var perSource = Tally<Source>()

    var count: Int { questions.count }
    subscript(key: NameKey) -> PendingName? { questions[key] }

    /// Adds a question that is not there, and says how many it has displaced; nil where its source
    /// has as many as it may have.
    mutating func insert(
        _ key: NameKey, _ waiting: PendingName.Waiting
    ) -> (question: PendingName, displaced: Int)? {
        let source = Source(waiting.client.address.address)
        guard perSource[source] < NameLimit.questionsPerClient else { return nil }
        var displaced = 0
        while questions.count >= NameLimit.questions {
            let oldest = order.popFirst { [questions] in questions[$0.key]?.number == $0.number }
            guard let oldest else { return nil }
            displaced += 1
            take(oldest)
        }
        let number = order.add(key, count: questions.count) { [questions] in
            questions[$0.key]?.number == $0.number
        }
        let question = PendingName(waiting, source: source, number: number)
        questions[key] = question
        perSource.add(source)
        return (question, displaced)
    }

    /// Takes a question out; nil where there is none.
    @discardableResult mutating func take(_ key: NameKey) -> PendingName? {
        guard let question = questions.removeValue(forKey: key) else { return nil }
        question.timer = nil
        perSource.remove(question.source)
        return question
    }
}
