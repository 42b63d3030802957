import Buffers
import Measures
import Tunnel
import Wire

/// The call of a world: an application at the proxy and a server behind the concentrator, which
/// send each other datagrams through an association of their own.
public final class WorldCall: StreamOwner {
    /// Nothing: the world hears of the events itself.
    public func answered(_ status: DialStatus) {}
    /// Nothing, for the same reason.
    public func activity() {}

    /// From the proxy's application, and to it.
    public let up: CallDirection, down: CallDirection
    private let target = Target(host: .address(IPAddress(v4: 0xc000_0201)), port: 4_000)
    private let policy: DatagramPolicy
    private var near: StreamHandle?
    private var far: StreamHandle?
    private var isAnswered = false
    private var wrong: String?
    private let datagram: UnsafeMutableRawBufferPointer

    init(_ plan: CallPlan, policy: DatagramPolicy = .auto, seed: UInt64) {
        self.policy = policy
        up = CallDirection(plan, key: seed ^ 0x6361_6c6c)
        down = CallDirection(plan, key: ~(seed ^ 0x6361_6c6c))
        datagram = .allocate(byteCount: plan.size, alignment: 8)
    }

    deinit { datagram.deallocate() }

    var failure: String? { wrong ?? up.failure ?? down.failure }

    var nextEvent: Instant {
        guard near != nil else { return up.plan.begins - Self.lead }
        return min(isAnswered ? up.nextDue : .distantFuture, down.nextDue)
    }

    /// The association is opened so long before the call.
    private static let lead = Interval.milliseconds(500)

    /// Its last datagrams have had their time.
    func isFinished(at now: Instant) -> Bool { now >= up.plan.ends + HandoverTrial.callEnd }

    /// The concentrator is asked for the association.
    func associating(_ handle: StreamHandle) {
        far = handle
        handle.owner = self
    }

    /// The concentrator's answer.
    func answered(_ status: DialStatus, at now: Instant) {
        isAnswered = status == .connected
        if isAnswered { up.begin(at: up.plan.begins) } else { wrong = "association: \(status)" }
    }

    /// An end of the association is over.
    func activity(_ handle: StreamHandle) {
        if let error = handle.error { wrong = "the association ended: \(error)" }
    }

    func turn(_ world: World) -> Bool {
        var any = false
        if near == nil, up.plan.begins - Self.lead <= world.now {
            let handle = world.proxy.openAssociation(policy: policy, at: world.now)
            handle.owner = self
            near = handle
            any = true
        }
        while isAnswered, up.nextDue <= world.now {
            send(up, world.proxy, near, at: world.now)
            any = true
        }
        while down.nextDue <= world.now {
            send(down, world.concentrator, far, at: world.now)
            any = true
        }
        return any
    }

    private func send(
        _ direction: CallDirection, _ endpoint: Endpoint, _ handle: StreamHandle?, at now: Instant
    ) {
        direction.writeNext(into: datagram)
        guard let handle else { return }
        _ = endpoint.send(UnsafeRawBufferPointer(datagram), on: handle, to: target, at: now)
    }

    func arrivedFar(_ payload: UnsafeRawBufferPointer, at now: Instant) {
        up.arrived(payload, at: now)
        down.begin(at: now)
    }

    func arrivedNear(_ payload: UnsafeRawBufferPointer, at now: Instant) {
        down.arrived(payload, at: now)
    }
}
