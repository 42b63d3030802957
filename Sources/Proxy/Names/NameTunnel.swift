import Dialogue
import Measures
import Shell
import Tunnel
import Wire

/// Questions to the concentrator's resolver (docs/wire.md, Names): datagrams of an association that
/// carries nothing else, on the two best paths, since a name is a hundred bytes and everything
/// waits for it; where only one may carry, on that, and on all that work while it is in doubt. What
/// is not answered in time goes again.
final class NameTunnel: StreamOwner {
    /// One that is under way; given up when it is released.
    final class Question {
        fileprivate let query: DNSQuery
        fileprivate let message: [UInt8]
        fileprivate var done: ((DNSAnswer?) -> Void)?
        fileprivate var wait = Interval.zero
        fileprivate var timer: LoopTimer?
        fileprivate var stream: NameStreamClient?
        private weak var tunnel: NameTunnel?

        fileprivate init(
            _ query: DNSQuery, _ tunnel: NameTunnel, _ done: @escaping (DNSAnswer?) -> Void
        ) {
            self.query = query
            message = query.bytes
            self.tunnel = tunnel
            self.done = done
        }
        deinit {
            stream?.cancel()
            tunnel?.forget(query.id)
        }
    }

    private enum State {
        case closed(until: Instant)
        case opening(StreamHandle)
        case open(StreamHandle)
    }
    private struct WeakQuestion { weak var question: Question? }

    private let driver: EngineDriver
    private let loop: EventLoop
    private var state = State.closed(until: .zero)
    private var questions: [UInt16: WeakQuestion] = [:]
    private var lastID: UInt16 = 0
    /// Datagrams are handed over while the engine is at work: answers are told from the loop.
    private var arrived: [(id: UInt16, answer: DNSAnswer)] = []
    private var telling: LoopTimer?
    /// Repetitions, and answers to no question.
    private(set) var repeated = 0, wrong = 0

    /// Bytes of answers that wait for the loop; one turn brings less.
    private static let maximumArrived = 1_024

    init(driver: EngineDriver, loop: EventLoop) {
        self.driver = driver
        self.loop = loop
        telling = loop.timer(for: self) { $0.tell() }
    }

    /// Opens the association, where it is not open; so that the first question need not wait for
    /// it.
    ///
    /// `isFresh`: with a session that has just begun, whatever became of the one before.
    func open(isFresh: Bool = false) {
        switch state {
        case .closed(let until): guard isFresh || until <= loop.now() else { return }
        case .opening(let old), .open(let old):
            // Whose process ends when nothing is open there any more; what was asked goes again.
            guard isFresh, old.isLeftBehind else { return }
            giveUp(old)
        }
        let handle = driver.endpoint.openAssociation(policy: .redundant, at: loop.now())
        handle.owner = self
        state = .opening(handle)
    }

    /// For good, or until the next question.
    func close() {
        switch state {
        case .opening(let handle), .open(let handle): giveUp(handle)
        case .closed: break
        }
        state = .closed(until: .zero)
    }

    private func giveUp(_ handle: StreamHandle) {
        handle.owner = nil
        handle.abort(at: loop.now())
        handle.release(at: loop.now())
    }

    /// Asks; `done` is called once, from the loop, while the question is held: nil where there can
    /// be no answer. It does not end by itself.
    func ask(_ key: NameKey, done: @escaping (DNSAnswer?) -> Void) -> Question? {
        guard let id = freeID() else { return nil }
        let query = DNSQuery(
            id: id, key.question, flags: key.flags,
            extended: key.extended(size: DNSQuery.ourSize))
        let question = Question(query, self, done)
        question.timer = loop.timer { [weak self, weak question] in
            guard let self, let question else { return }
            repeated += 1
            send(question)
        }
        questions[id] = WeakQuestion(question: question)
        open()
        send(question)
        return question
    }

    private func freeID() -> UInt16? {
        for _ in 0..<(2 * NameLimit.questions) {
            lastID &+= 1
            if questions[lastID] == nil { return lastID }
        }
        return nil
    }

    fileprivate func forget(_ id: UInt16) { questions[id] = nil }

    private func send(_ question: Question) {
        guard question.stream == nil else { return }
        // Without an association it goes as soon as there is one.
        guard case .open(let handle) = state else { open(); rearm(question, nil); return }
        _ = question.message.withUnsafeBytes {
            driver.endpoint.send($0, on: handle, to: .resolver, at: loop.now())
        }
        rearm(question, handle.answerTimeout)
    }

    private func rearm(_ question: Question, _ timeout: Interval?) {
        let first = (timeout ?? NameLimit.retry) + NameLimit.serverTime
        question.wait = min(max(first, question.wait * 2), NameLimit.maximumWait)
        question.timer?.arm(after: question.wait)
    }

    // MARK: The association

    func answered(_ status: DialStatus) {
        guard case .opening(let handle) = state else { return }
        guard status == .connected else { lost(); return }
        state = .open(handle)
        for item in Array(questions.values) {
            if let question = item.question { send(question) }
        }
    }

    func activity() {
        switch state {
        case .closed: return
        case .opening(let handle), .open(let handle):
            let count = handle.readable.count
            if count > 0 { handle.consume(count, at: loop.now()) }
            if handle.error != nil || handle.isReadFinished { lost() }
        }
    }

    /// It is opened again with the next session, or by a question that goes again.
    private func lost() {
        close()
        state = .closed(until: loop.now() + NameLimit.retry)
    }

    func datagram(_ payload: UnsafeRawBufferPointer, _ target: Target) {
        guard target == .resolver, arrived.count < Self.maximumArrived,
            let answer = DNSAnswer(reading: payload), let id = DNSHeader(payload)?.id,
            let question = questions[id]?.question, answer.answers(question.query.question, id: id)
        else { wrong += 1; return }
        arrived.append((id, answer))
        telling?.arm(after: .zero)
    }

    private func tell() {
        let all = arrived
        arrived = []
        for (id, answer) in all {
            guard let question = questions[id]?.question, question.stream == nil else { continue }
            if answer.isTruncated {
                askByStream(question, answer)
            } else {
                end(question, answer)
            }
        }
    }

    private func end(_ question: Question, _ answer: DNSAnswer?) {
        question.timer = nil
        let done = question.done
        question.done = nil
        done?(answer)
    }

    /// The answer is longer than a datagram.
    private func askByStream(_ question: Question, _ short: DNSAnswer) {
        question.timer = nil
        question.stream = NameStreamClient(question.query, driver: driver, loop: loop) {
            [weak self, weak question] answer in
            guard let self, let question else { return }
            end(question, answer ?? short)
        }
    }
}

/// A question by a stream of its own, for an answer that no datagram takes.
final class NameStreamClient: StreamOwner {
    private let query: DNSQuery
    private let driver: EngineDriver
    private let loop: EventLoop
    private var handle: StreamHandle?
    private var done: ((DNSAnswer?) -> Void)?

    /// `done` is called once, from the loop, unless it is cancelled: nil where there is no answer.
    init(
        _ query: DNSQuery, driver: EngineDriver, loop: EventLoop,
        done: @escaping (DNSAnswer?) -> Void
    ) {
        self.query = query
        self.driver = driver
        self.loop = loop
        self.done = done
        let now = loop.now()
        let handle = driver.endpoint.open(.resolver, at: now)
        self.handle = handle
        handle.owner = self
        let framed = DNSFraming.framed(query.bytes)
        _ = framed.withUnsafeBytes { handle.write($0, at: now) }
    }

    func cancel() {
        done = nil
        guard let handle else { return }
        self.handle = nil
        EngineStream(handle, driver: driver).giveUp()
    }

    func answered(_ status: DialStatus) { if status != .connected { end(nil) } }

    func activity() {
        guard let handle else { return }
        let bytes = handle.readable.bytes
        if let message = DNSFraming.message(of: bytes[...]) {
            handle.consume(bytes.count, at: loop.now())
            let answer = message.withUnsafeBytes { DNSAnswer(reading: $0) }
            end(answer.flatMap { $0.answers(query.question, id: query.id) ? $0 : nil })
            return
        }
        if handle.error != nil || handle.isReadFinished { end(nil) }
    }

    private func end(_ answer: DNSAnswer?) {
        let tell = done
        cancel()
        tell?(answer)
    }
}
