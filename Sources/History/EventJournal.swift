/// The latest events of a process, and who wants to hear of further ones.
///
/// For the loop's thread alone. What a subscriber does while it hears of an event may be anything:
/// subscribe, cancel (itself or another), append.
public final class EventJournal {
    /// An event with its place.
    public struct Entry: Equatable, Codable, Sendable {
        /// From 1 on, one more for each event of this process.
        public let sequence: UInt64
        /// Greater than that of everything that was appended or amended before.
        public var revision: UInt64
        /// What has happened, with its time.
        public var event: Event
    }

    /// Held by whoever wants to hear of events; when it is released or cancelled, no more come.
    public final class Subscription {
        fileprivate let body: (Entry) -> Void
        fileprivate var isOver = false
        fileprivate init(_ body: @escaping (Entry) -> Void) { self.body = body }
        /// Ends it, also from within its own call; harmless when repeated.
        public func cancel() { isOver = true }
    }

    private struct Listener { weak var subscription: Subscription? }

    /// Events that are kept.
    public static let capacity = 1_024
    /// The oldest first.
    private var entries: [Entry] = []
    private let capacity: Int
    /// How many events are of earlier processes; their numbers come first.
    public let restored: Int
    private var sequence: UInt64 = 0
    /// Of the last entry that was appended or amended; 0 before the first.
    public private(set) var revision: UInt64 = 0
    private var listeners: [Listener] = []
    private var undelivered: [Entry] = []
    private var isDelivering = false

    /// `capacity`: events kept, of which the oldest makes room; at least 1. `earlier`: what earlier
    /// processes have noted, the oldest first.
    public init(capacity: Int = EventJournal.capacity, earlier: [Event] = []) {
        self.capacity = max(1, capacity)
        let earlier = earlier.suffix(self.capacity)
        restored = earlier.count
        for event in earlier {
            sequence += 1
            entries.append(Entry(sequence: sequence, revision: sequence, event: event))
        }
        revision = sequence
    }

    /// Notes an event; its sequence number, by which it can be amended.
    @discardableResult public func append(_ event: Event) -> UInt64 {
        sequence += 1
        revision += 1
        let entry = Entry(sequence: sequence, revision: revision, event: event)
        if entries.count >= capacity { entries.removeFirst(entries.count - capacity + 1) }
        entries.append(entry)
        deliver(entry)
        return sequence
    }

    /// Completes an event when more is known of it, such as how long a handover's pauses were;
    /// subscribers hear of it again. False where it is not kept any more.
    @discardableResult public func amend(
        _ sequence: UInt64, _ change: (inout Event) -> Void
    ) -> Bool {
        guard let first = entries.first?.sequence, sequence >= first, sequence <= self.sequence
        else { return false }
        let place = Int(sequence - first)
        let before = entries[place].event
        change(&entries[place].event)
        guard entries[place].event != before else { return true }
        revision += 1
        entries[place].revision = revision
        deliver(entries[place])
        return true
    }

    /// The kept events that were appended or amended after `revision`, in their order, the latest
    /// `limit` of them.
    public func entries(after revision: UInt64 = 0, limit: Int = .max) -> [Entry] {
        let found = revision == 0 ? entries : entries.filter { $0.revision > revision }
        return Array(found.suffix(max(0, limit)))
    }

    /// `body` is called with every event from now on, once more when it is amended, for as long as
    /// the subscription is held.
    public func subscribe(_ body: @escaping (Entry) -> Void) -> Subscription {
        listeners.removeAll { $0.subscription?.isOver ?? true }
        let subscription = Subscription(body)
        listeners.append(Listener(subscription: subscription))
        return subscription
    }

    private func deliver(_ entry: Entry) {
        undelivered.append(entry)
        // What a subscriber appends is told when all have heard of this one.
        guard !isDelivering else { return }
        isDelivering = true
        defer { isDelivering = false }
        while !undelivered.isEmpty {
            let next = undelivered.removeFirst()
            for listener in listeners {
                if let subscription = listener.subscription, !subscription.isOver {
                    subscription.body(next)
                }
            }
        }
    }
}
