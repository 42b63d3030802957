import Buffers
import Dialogue
import Measures
import Shell
import Tunnel
import Wire

/// The resolver that proxies' DNS listeners ask through their sessions: questions of any type go
/// to the servers of /etc/resolv.conf, as they are but for their numbers and their EDNS options.
///
/// It has no port: only users with a session can ask.
final class NameQuestions {
    /// Under way until it is answered, or released.
    final class Question {
        fileprivate let place: Turns.Place
        fileprivate var exchange: NameExchange?
        fileprivate init(_ place: Turns.Place) { self.place = place }
        deinit { exchange?.cancel() }
    }

    struct Counters {
        var asked = 0, answered = 0, failed = 0
        /// Came while they were under way; of users who may not ask; too many.
        var repeated = 0, denied = 0, tooMany = 0, malformed = 0
    }

    /// Bytes of an answer in a datagram of the session, which may have 9,000; a longer one is said
    /// to be cut short, and asked for by a stream.
    static let maximumDatagram = 8_192

    var counters = Counters()
    private let forwarder: NameForwarder
    private let loop: EventLoop
    private let turns: Turns
    private var perUser: Int
    private var denied: Set<String>
    /// By user name: what may be asked in a second.
    private var rates: [String: TokenBucket] = [:]

    init(
        _ limits: NameLimits, denied: Set<String>, loop: EventLoop,
        configurationPath: String = "/etc/resolv.conf"
    ) {
        self.loop = loop
        self.denied = denied
        turns = Turns(limits.questions)
        perUser = limits.perUser
        forwarder = NameForwarder(loop: loop, configurationPath: configurationPath)
    }

    /// `users`: all there are now.
    func change(perUser: Int, denied: Set<String>, users: Set<String>) {
        rates = perUser == self.perUser ? rates.filter { users.contains($0.key) } : [:]
        self.perUser = perUser
        self.denied = denied
    }

    /// Asks for a user. `reply` is called once, from the loop, with a message of at most `limit`
    /// bytes, while the question is held. Nil where it is answered at once, from within, or
    /// dropped.
    func ask(
        _ message: UnsafeRawBufferPointer, of user: String, limit: Int,
        reply: @escaping ([UInt8]) -> Void
    ) -> Question? {
        counters.asked += 1
        let query: DNSQuery
        do throws(DNSQuery.Refusal) {
            query = try DNSQuery(reading: message)
        } catch {
            counters.malformed += 1
            if let answer = DNSQuery.refusal(error, of: message) { later(answer, reply) }
            return nil
        }
        guard !denied.contains(user) else {
            counters.denied += 1
            later(query.failure(DNSCode.refused), reply)
            return nil
        }
        guard let place = take(user) else { counters.tooMany += 1; return nil }
        let question = Question(place)
        question.exchange = forwarder.ask(
            query.question, flags: query.flags | DNSHeader.Flag.recursionDesired,
            extended: query.extended.map {
                .init(size: DNSQuery.askedSize, wantsSignatures: $0.wantsSignatures)
            }
        ) { [weak self, weak question] answer in
            guard let self else { return }
            question?.place.leave()
            if answer == nil { counters.failed += 1 } else { counters.answered += 1 }
            reply(
                answer?.reply(to: query, age: 0, limit: limit)
                    ?? query.failure(DNSCode.serverFailure))
        }
        return question
    }

    /// A datagram's owner must not call the endpoint from within.
    private func later(_ answer: [UInt8], _ reply: @escaping ([UInt8]) -> Void) {
        var timer: LoopTimer?
        timer = loop.timer {
            reply(answer)
            timer = nil
        }
        timer?.arm(after: .zero)
    }

    private func take(_ user: String) -> Turns.Place? {
        let full = TokenBucket(rate: Double(perUser), burst: Double(perUser))
        guard rates[user, default: full].take(at: loop.now()) else { return nil }
        let place = turns.enter(user) {}
        guard place.isRunning else { place.leave(); return nil }
        return place
    }

    /// For the status.
    var status: [ServerStatus.Counter] {
        [
            .init("questions_under_way", turns.running),
            .init("questions_total", counters.asked),
            .init("questions_answered_total", counters.answered),
            .init("questions_failed_total", counters.failed),
            .init("questions_over_tcp_total", forwarder.counters.streams),
            .init("questions_repeated_total", counters.repeated),
            .init("questions_refused_total{reason=\"denied\"}", counters.denied),
            .init("questions_refused_total{reason=\"malformed\"}", counters.malformed),
            .init("questions_refused_total{reason=\"too_many\"}", counters.tooMany),
            .init("answers_refused_total", forwarder.counters.wrong)
        ]
    }
}

/// A question by a stream, for an answer that no datagram takes: the question and the answer behind
/// their lengths (RFC 7766), one of each.
final class NameStreamServer: AnsweredStream {
    private var question: NameQuestions.Question?

    /// Bytes of a question, more than one with a name and EDNS has.
    private static let maximumLength = 512

    override func message(in bytes: [UInt8]) -> Reading {
        if let length = DNSFraming.length(of: bytes[...]), length > Self.maximumLength {
            return .wrong
        }
        return DNSFraming.message(of: bytes[...]).map { .whole(Array($0)) } ?? .incomplete
    }

    override func ask(_ message: [UInt8]) {
        question = message.withUnsafeBytes {
            server.names.ask($0, of: user, limit: DNSHeader.maximumMessage) { [weak self] in
                self?.question = nil
                self?.reply(DNSFraming.framed($0))
            }
        }
    }

    override func ended() { question = nil }
}
