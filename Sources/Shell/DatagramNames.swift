import Measures
import Wire

/// The host names that the datagrams of one endpoint go to: each is resolved once, and what goes to
/// it waits meanwhile.
public final class DatagramNames {
    /// Names at once; of more, those that are known already are forgotten.
    public static let maximumNames = 256

    private let user: String
    private let context: DialContext
    private let share: SharedLimit?
    private let waiting: SharedLimit?
    private let deliver: (UnsafeRawBufferPointer, SocketAddress) -> Void
    private let drop: () -> Void
    private var lookups: [String: NameLookup] = [:]
    private var isClosed = false

    /// `share`: how many names the user may have, `waiting`: how many bytes the datagrams that wait
    /// for them, both over all of the user's endpoints; nil: as many as one endpoint. `deliver` is
    /// called with every datagram whose name is known, at once or later, from the loop; `drop` for
    /// each that goes nowhere.
    public init(
        user: String, _ context: DialContext, share: SharedLimit? = nil,
        waiting: SharedLimit? = nil,
        deliver: @escaping (UnsafeRawBufferPointer, SocketAddress) -> Void,
        drop: @escaping () -> Void
    ) {
        self.user = user
        self.context = context
        self.share = share
        self.waiting = waiting
        self.deliver = deliver
        self.drop = drop
    }

    /// Sends a datagram to `port` of `name`, or keeps a copy until the name is known.
    public func send(
        _ payload: UnsafeRawBufferPointer, to name: String, port: UInt16, at now: Instant
    ) {
        guard !isClosed else { return }
        if let lookup = lookups[name] {
            if let address = lookup.address {
                deliver(payload, SocketAddress(address, port: port))
            } else if !lookup.wait(payload, port: port, at: now) {
                drop()
            }
            return
        }
        guard takeSpace() else { drop(); return }
        let lookup = NameLookup(name, user: user, context, waiting: waiting) {
            [weak self] address, waiting in self?.resolved(address, waiting)
        }
        lookups[name] = lookup
        if !lookup.wait(payload, port: port, at: now) { drop() }
    }

    /// Nothing is delivered any more; harmless when repeated.
    public func close() {
        isClosed = true
        for lookup in lookups.values { lookup.cancel() }
        share?.change(by: -lookups.count)
        lookups = [:]
    }

    private func resolved(_ address: IPAddress?, _ waiting: [NameLookup.Waiting]) {
        for item in waiting where !isClosed {
            guard let address else { drop(); continue }
            item.payload.withUnsafeBytes { deliver($0, SocketAddress(address, port: item.port)) }
        }
    }

    /// Counts one more; false where all are being asked for, or the user's others have them.
    private func takeSpace() -> Bool {
        if lookups.count >= Self.maximumNames || share?.hasRoom == false {
            let before = lookups.count
            lookups = lookups.filter { $0.value.isPending }
            share?.change(by: lookups.count - before)
        }
        return lookups.count < Self.maximumNames && share?.take() ?? true
    }
}
