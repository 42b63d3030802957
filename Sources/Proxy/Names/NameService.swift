import Dialogue
import Logging
import Measures
import Shell
import Tunnel

/// The proxy's names: takes questions of programs, answers them from its cache, by the
/// concentrator's resolver, or, for the domains that are to stay local, by the network's servers.
///
/// It remembers who was told which address (`name(of:askedBy:)`). Captured questions come in by
/// `ask` (UDP) and `serve` (TCP); the listeners of the configuration use the same two.
final class NameService {
    /// How a question came.
    enum Transport { case datagram, stream }

    /// Where a question came from: an address and port, and over what.
    struct Client: Hashable {
        var address: SocketAddress
        var transport: Transport
    }

    struct Counters {
        var asked = 0, answered = 0, failed = 0
        var malformed = 0, fromOthers = 0, tooMany = 0, givenUp = 0, local = 0
    }

    private(set) var settings: NameSettings
    let loop: EventLoop
    let log: Logger
    var counters = Counters()
    /// What becomes of questions for which there is no session at present: they wait for one, as
    /// long as an answer may take, fail at once, or are asked of the network's servers, where some
    /// are named. Nil while there is one.
    var absence: () -> WithoutSession? = { nil }
    /// Names of the concentrator: without it there is no tunnel, so that this machine's own
    /// questions for them go to whom they were meant for.
    var concentrators: Set<DNSName> = []
    /// Such questions under way.
    private var beside: [UInt64: NameExchange] = [:]
    /// What has been answered.
    private(set) var memory = NameMemory()
    private var cache = NameCache()
    private let tunnel: NameTunnel
    private var outside: NameForwarder
    private let own: LocalAddresses
    private let relaySockets: RelaySockets
    private var questions = PendingNames()
    private var listeners: [NameListener] = []
    private var connections: PendingDialogues<NameConnection>
    private var living: [ObjectIdentifier: NameConnection] = [:]
    private var lastNumber: UInt64 = 0
    private var isStopped = false

    /// Opens the listeners' ports.
    init(
        _ settings: NameSettings, driver: EngineDriver, relaySockets: RelaySockets,
        loop: EventLoop, log: Logger
    ) throws(SystemError) {
        self.settings = settings
        self.loop = loop
        self.log = log
        self.relaySockets = relaySockets
        tunnel = NameTunnel(driver: driver, loop: loop)
        outside = NameForwarder(loop: loop, servers: settings.servers)
        own = LocalAddresses(loop: loop)
        connections = PendingDialogues(maximum: NameLimit.connections)
        for address in settings.listen {
            listeners.append(try NameListener(address, self, relaySockets))
        }
    }

    /// Where it listens, with the ports the system chose.
    var listen: [SocketAddress] { listeners.map(\.address) }

    /// Other settings whose ports are open already.
    struct Prepared {
        fileprivate var settings: NameSettings
        fileprivate var fresh: [NameListener] = []

        func abandon() { fresh.forEach { $0.close() } }
    }

    /// Opens the ports that other settings ask for besides. Throws what the system says where one
    /// can't be had; then nothing has changed.
    func prepare(_ settings: NameSettings) throws(SystemError) -> Prepared {
        var prepared = Prepared(settings: settings)
        for address in settings.listen where !self.settings.listen.contains(address) {
            do {
                prepared.fresh.append(try NameListener(address, self, relaySockets))
            } catch {
                prepared.abandon()
                throw error
            }
        }
        return prepared
    }

    /// Goes on with the settings; questions under way end as they began.
    func commit(_ prepared: Prepared) {
        let old = settings
        settings = prepared.settings
        let kept = listeners.filter { settings.listen.contains($0.configured) }
        for listener in listeners where !settings.listen.contains(listener.configured) {
            listener.close()
        }
        listeners = kept + prepared.fresh
        if settings.servers != old.servers {
            // Those whom it still asks hold it.
            let counters = outside.counters
            outside = NameForwarder(loop: loop, servers: settings.servers)
            outside.carryOn(counters)
        }
        // What a domain's servers have said is no answer of the resolver's, and the other way
        // round.
        if settings.servers != old.servers || settings.local != old.local { cache = NameCache() }
    }

    /// Whether anybody can ask, so that a session's association for names is worth its keep.
    private var isUsed: Bool { !listeners.isEmpty || counters.asked > 0 }

    /// A session stands: the first question need not wait for an association.
    func sessionOpened() { if isUsed, !isStopped { tunnel.open(isFresh: true) } }

    /// For a process that is to follow this one.
    var descriptors: [Int32] { listeners.flatMap(\.descriptors) }

    /// Takes no more questions at its ports; those under way are answered, captured ones taken.
    func stopListening() {
        listeners.forEach { $0.close() }
        listeners = []
    }

    /// Takes no more questions, and gives up those that are under way.
    func stop() {
        isStopped = true
        listeners.forEach { $0.close() }
        listeners = []
        for connection in Array(living.values) { connection.cut() }
        questions = PendingNames()
        beside = [:]
        tunnel.close()
    }

    // MARK: Addresses and their names

    /// The name by whose answer `client` got to know `address`, in lower case and without a final
    /// dot; nil where it has asked for none, or long ago. This machine's addresses are one client,
    /// and what it has asked counts for others that have not: it may be their forwarder.
    func name(of address: IPAddress, askedBy client: IPAddress) -> String? {
        let now = loop.now()
        return memory.name(of: address, askedBy: identity(of: client), now: now)
            ?? memory.name(of: address, askedBy: Self.machine, now: now)
    }

    private static let machine = IPAddress(v4: 0x7f00_0001)

    private func identity(of client: IPAddress) -> IPAddress {
        isThisMachine(client) ? Self.machine : client.unmapped
    }

    /// Whether the address is one of this machine's.
    func isThisMachine(_ address: IPAddress) -> Bool {
        address.unmapped.isLoopback || own.contains(address.unmapped)
    }

    // MARK: Questions

    /// A question, as it came. `reply` gets the answer for the same way back, from the loop or from
    /// within, once or never: what is malformed, or more than there may be, is dropped. Captured
    /// questions come in here, and are answered from the address that they were sent to, `server`.
    func ask(
        _ message: UnsafeRawBufferPointer, from client: Client, of server: SocketAddress? = nil,
        reply: @escaping ([UInt8]) -> Void
    ) {
        guard !isStopped else { return }
        counters.asked += 1
        let query: DNSQuery
        do throws(DNSQuery.Refusal) {
            query = try DNSQuery(reading: message)
        } catch {
            counters.malformed += 1
            if let answer = DNSQuery.refusal(error, of: message) { reply(answer) }
            return
        }
        if let answer = SpecialNames.answer(query) { reply(answer); return }
        let limit = client.transport == .datagram ? query.maximumDatagram : DNSHeader.maximumMessage
        let key = NameKey(query),
            waiting = PendingName.Waiting(
                client: client, query: query, limit: limit, reply: reply)
        if let server, concentrators.contains(query.question.name),
            isThisMachine(client.address.address)
        {
            askBeside(key, waiting, server)
            return
        }
        if let known = cache.answer(for: key, at: loop.now()) {
            tell(waiting, known.answer, age: known.age)
        } else if let question = questions[key] {
            if !question.add(waiting) { counters.tooMany += 1 }
        } else {
            begin(key, waiting)
        }
    }

    /// Nil: nobody has answered.
    private func tell(_ waiting: PendingName.Waiting, _ answer: DNSAnswer?, age: UInt32) {
        guard let answer else {
            counters.failed += 1
            waiting.reply(waiting.query.failure(DNSCode.serverFailure))
            return
        }
        counters.answered += 1
        remember(answer, waiting.client.address.address, age: age)
        waiting.reply(answer.reply(to: waiting.query, age: age, limit: waiting.limit))
    }

    private func remember(_ answer: DNSAnswer, _ client: IPAddress, age: UInt32) {
        guard !answer.addresses.isEmpty, let name = answer.question.name.hostName else { return }
        let left = (answer.lifetime ?? 0) - min(answer.lifetime ?? 0, age)
        let identity = identity(of: client), now = loop.now()
        for address in answer.addresses.prefix(NameLimit.addresses) {
            memory.note(
                name, is: address, askedBy: identity, lifetime: .seconds(Int64(left)), now: now)
        }
    }

    private func begin(_ key: NameKey, _ waiting: PendingName.Waiting) {
        guard let (question, displaced) = questions.insert(key, waiting) else {
            counters.tooMany += 1
            return
        }
        counters.givenUp += displaced
        let number = question.number
        question.timer = loop.timer { [weak self] in self?.ended(key, number, nil) }
        question.timer?.arm(after: NameLimit.answer)
        send(key, question)
    }

    private func send(_ key: NameKey, _ question: PendingName) {
        let number = question.number
        if isLocal(key) { return askOutside(key, question) }
        switch absence() {
        case .refuse: question.timer?.arm(after: .zero)
        case .direct where !settings.servers.isEmpty: askOutside(key, question)
        case nil, .wait, .direct:
            question.tunnelled = tunnel.ask(key) { [weak self] in self?.ended(key, number, $0) }
        }
    }

    private func isLocal(_ key: NameKey) -> Bool {
        settings.local.contains { key.question.name.isWithin($0) }
    }

    private func askOutside(_ key: NameKey, _ question: PendingName) {
        counters.local += 1
        let number = question.number
        question.local = outside.ask(
            key.question, flags: key.flags, extended: key.extended(size: DNSQuery.askedSize)
        ) { [weak self] in self?.ended(key, number, $0) }
    }

    /// What has no room is asked again by whoever asks.
    private func askBeside(
        _ key: NameKey, _ waiting: PendingName.Waiting, _ server: SocketAddress
    ) {
        guard beside.count < NameLimit.beside else { counters.tooMany += 1; return }
        counters.local += 1
        lastNumber += 1
        let number = lastNumber
        beside[number] = NameForwarder(loop: loop, servers: [server]).ask(
            key.question, flags: key.flags, extended: key.extended(size: DNSQuery.askedSize)
        ) { [weak self] answer in
            guard let self, let exchange = beside.removeValue(forKey: number) else { return }
            defer { withExtendedLifetime(exchange) {} }
            tell(waiting, answer, age: 0)
        }
    }

    private func ended(_ key: NameKey, _ number: UInt64, _ answer: DNSAnswer?) {
        guard questions[key]?.number == number, let question = questions.take(key) else {
            return
        }
        // What was asked outside for want of a session is not what the concentrator would say.
        if let answer, question.local == nil || isLocal(key) {
            cache.store(answer, for: key, at: loop.now())
        }
        for waiting in question.waiting { tell(waiting, answer, age: 0) }
    }

    // MARK: Connections

    /// Takes over a program's connection to a DNS port (RFC 7766). Captured ones come in here.
    func serve(_ socket: StreamSocket, from client: SocketAddress) {
        guard !isStopped else { socket.reset(); return }
        lastNumber += 1
        let connection = NameConnection(socket, client, number: lastNumber, self)
        living[ObjectIdentifier(connection)] = connection
        let crowdedOut = connections.add(
            connection, number: lastNumber, from: Source(client.address))
        crowdedOut?.cut()
        connection.start()
    }

    func left(_ connection: NameConnection) {
        living[ObjectIdentifier(connection)] = nil
        connections.remove(connection.number, from: Source(connection.client.address))
    }

    /// Whether this address may ask at the listeners.
    func isClient(_ address: IPAddress) -> Bool {
        let address = address.unmapped
        if settings.clients.contains(where: { $0.contains(address) }) { return true }
        counters.fromOthers += 1
        return false
    }

    /// For the status.
    var status: [ServerStatus.Counter] {
        [
            .init("names_questions_total", counters.asked),
            .init("names_answered_total", counters.answered),
            .init("names_failed_total", counters.failed),
            .init("names_local_total", counters.local),
            .init("names_repeated_total", tunnel.repeated),
            .init("names_under_way", questions.count),
            .init("names_connections", living.count),
            .init("names_cache_entries", cache.count),
            .init("names_cache_bytes", cache.bytes),
            .init("names_cache_hits_total", cache.hits),
            .init("names_refused_total{reason=\"malformed\"}", counters.malformed),
            .init("names_refused_total{reason=\"stranger\"}", counters.fromOthers),
            .init("names_refused_total{reason=\"too_many\"}", counters.tooMany),
            .init("names_refused_total{reason=\"given_up\"}", counters.givenUp),
            .init(
                "names_answers_refused_total", tunnel.wrong + outside.counters.wrong)
        ]
    }
}
