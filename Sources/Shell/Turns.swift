/// Something of which only so much may be under way at a time, for all users and for each. What
/// comes when all are taken waits behind its user's; users with something waiting take turns.
///
/// However much one user asks for, some stay free: it may have as many as are free besides, so
/// that one user gets half of all, two a third each, and the next one always finds one at once.
public final class Turns {
    /// How many may be under way at once; both at least one.
    public struct Limits: Hashable, Sendable {
        /// Of all users together.
        public var inAll: Int
        /// Of one user, however many are free.
        public var perUser: Int
        /// Of all users, and of one.
        public init(inAll: Int, perUser: Int) { self.inAll = inAll; self.perUser = perUser }
    }

    /// What was asked for: waiting, under way, or over.
    public final class Place {
        fileprivate enum State { case waiting(begin: () -> Void), running, over }
        fileprivate var state: State
        fileprivate let user: String
        // The other way round a place is only known while it waits.
        private let turns: Turns

        fileprivate init(_ turns: Turns, _ user: String, _ state: State) {
            self.turns = turns
            self.user = user
            self.state = state
        }
        deinit { leave() }

        /// Whether it is under way, neither waiting nor over.
        public var isRunning: Bool { if case .running = state { true } else { false } }
        fileprivate var isWaiting: Bool { if case .waiting = state { true } else { false } }

        /// It is over, or not wanted any more. Harmless when repeated.
        public func leave() {
            let was = state
            state = .over
            switch was {
            case .running: turns.ended(user)
            case .waiting: turns.gaveUp(user)
            case .over: break
            }
        }
    }

    private struct Queue {
        var running = 0
        /// In order of arrival from `first` on; those that gave up stay until their turn or until
        /// they are many.
        var places: [Place?] = []
        var first = 0
        var waiting = 0

        mutating func next() -> Place? {
            while first < places.count {
                let place = places[first]
                places[first] = nil
                first += 1
                if let place, place.isWaiting { waiting -= 1; return place }
            }
            return nil
        }

        mutating func compact() {
            guard places.count > 32, places.count > 2 * waiting else { return }
            places = places[first...].filter { $0?.isWaiting == true }
            first = 0
        }
    }

    /// Under way now, of all users.
    public private(set) var running = 0
    /// Waiting for their turn now, of all users.
    public private(set) var waiting = 0
    /// Where there are fewer now, those under way go on; where there are more, those that waited
    /// begin.
    public var limits: Limits { didSet { if limits != oldValue { beginNext() } } }
    /// By user; no entry where nothing runs or waits.
    private var queues: [String: Queue] = [:]
    /// Users with something waiting, the next one first.
    private var order: [String] = []
    private var isBeginning = false

    /// With nothing under way.
    public init(_ limits: Limits) { self.limits = limits }

    private func mayRun(_ own: Int) -> Bool {
        own < limits.perUser && running < limits.inAll && (own == 0 || own < limits.inAll - running)
    }

    /// Asks for one more. Where one is free the place is running already, and `begin` is not
    /// called; else it is, once, when there is.
    public func enter(_ user: String, begin: @escaping () -> Void) -> Place {
        var queue = queues[user] ?? Queue()
        if queue.waiting == 0, mayRun(queue.running) {
            queue.running += 1
            running += 1
            queues[user] = queue
            return Place(self, user, .running)
        }
        let place = Place(self, user, .waiting(begin: begin))
        if queue.waiting == 0 { order.append(user) }
        queue.places.append(place)
        queue.waiting += 1
        waiting += 1
        queues[user] = queue
        return place
    }

    private func ended(_ user: String) {
        running -= 1
        queues[user]?.running -= 1
        beginNext()
        tidy(user)
    }

    private func gaveUp(_ user: String) {
        waiting -= 1
        queues[user]?.waiting -= 1
        queues[user]?.compact()
        if queues[user]?.waiting == 0 { order.removeAll { $0 == user } }
        tidy(user)
    }

    private func tidy(_ user: String) {
        guard let queue = queues[user], queue.running == 0, queue.waiting == 0 else { return }
        queues[user] = nil
    }

    private func beginNext() {
        guard !isBeginning else { return }  // the loop below goes on
        isBeginning = true
        defer { isBeginning = false }
        while running < limits.inAll,
            let i = order.firstIndex(where: { mayRun(queues[$0]?.running ?? 0) })
        {
            let user = order.remove(at: i)
            guard let place = queues[user]?.next(), case .waiting(let begin) = place.state else {
                assertionFailure("a user in the order has something waiting")
                continue
            }
            waiting -= 1
            queues[user]?.running += 1
            running += 1
            if queues[user]?.waiting ?? 0 > 0 { order.append(user) }
            place.state = .running
            begin()
        }
    }
}
