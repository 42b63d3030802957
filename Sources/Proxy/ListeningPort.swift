import Logging
import Measures
import Shell

/// An open port that applications connect to.
final class ListeningPort {
    /// As it is configured now. Who came in before keeps what held then.
    var listener: ProxyListener
    /// Those in their dialogue.
    var pending: PendingDialogues<ClientConnection>
    private var stream: StreamListener?

    /// Throws what the system says where the port can't be had.
    init(
        _ listener: ProxyListener, maximumPending: Int, loop: EventLoop, log: Logger,
        accepted: @escaping (StreamSocket, ListeningPort, _ from: SocketAddress) -> Void,
        makeRoom: @escaping () -> Bool
    ) throws(SystemError) {
        self.listener = listener
        pending = PendingDialogues(maximum: maximumPending)
        stream = try StreamListener(listener.address, loop: loop, log: log) {
            [weak self] socket, from in
            if let self { accepted(socket, self, from) }
        }
        stream?.makeRoom = makeRoom
    }

    /// With the port the system chose for port 0.
    var address: SocketAddress { stream?.address ?? listener.address }

    var descriptor: Int32? { isClosed ? nil : stream?.descriptor }

    var isClosed: Bool { stream?.isClosed ?? true }

    /// Nobody can listen at the other address while this port is open.
    func isInTheWay(of other: SocketAddress) -> Bool {
        let own = listener.address
        return !isClosed && own.port == other.port && own.address.isIPv4 == other.address.isIPv4
            && (own.address == other.address || own.address.isUnspecified
                || other.address.isUnspecified)
    }

    /// Whoever has connected is served all the same.
    func close() {
        stream?.acceptWaiting()
        stream?.close()
    }
}
