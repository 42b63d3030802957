import Logging
import Measures
import Shell

/// The ports that applications connect to, in the order of the settings.
final class ListeningPorts {
    private(set) var all: [ListeningPort] = []
    private let loop: EventLoop
    private let log: Logger
    /// Called for each connection.
    var accepted: ((StreamSocket, ListeningPort, _ from: SocketAddress) -> Void)?
    /// `StreamListener.makeRoom`.
    var makeRoom: (() -> Bool)?

    init(loop: EventLoop, log: Logger) {
        self.loop = loop
        self.log = log
    }

    /// With the ports that the system chose for port 0.
    var addresses: [SocketAddress] { all.map(\.address) }
    var descriptors: [Int32] { all.compactMap(\.descriptor) }

    /// Opens those that are not open, and closes those that are not among `listeners`. A port whose
    /// address stays is not closed for a moment, whatever else of it changes. `maximumPending`: of
    /// each one's connections in their dialogue.
    ///
    /// Throws what the system says where a port can't be had; then nothing has changed.
    func change(
        to listeners: [ProxyListener], maximumPending: (ProxyListener) -> Int
    ) throws(SystemError) {
        var next: [ListeningPort] = [], fresh: [ListeningPort] = [], closed: [ListeningPort] = []
        do throws(SystemError) {
            for listener in listeners {
                if let port = all.first(where: { $0.listener.address == listener.address }) {
                    next.append(port)
                    continue
                }
                // One address instead of all, or all instead of one: the two can't be at once.
                for port in all where port.isInTheWay(of: listener.address) {
                    port.close()
                    closed.append(port)
                }
                let port = try open(listener, maximumPending(listener))
                next.append(port)
                fresh.append(port)
            }
        } catch {
            fresh.forEach { $0.close() }
            closed.forEach(reopen)
            throw error
        }
        for port in all where !next.contains(where: { $0 === port }) { port.close() }
        all = next
        for (port, listener) in zip(next, listeners) { port.listener = listener }
    }

    private func open(
        _ listener: ProxyListener, _ maximumPending: Int
    ) throws(SystemError) -> ListeningPort {
        try ListeningPort(
            listener, maximumPending: maximumPending, loop: loop, log: log,
            accepted: { [weak self] in self?.accepted?($0, $1, $2) },
            makeRoom: { [weak self] in self?.makeRoom?() == true })
    }

    private func reopen(_ port: ListeningPort) {
        guard let place = all.firstIndex(where: { $0 === port }) else { return }
        do {
            all[place] = try open(port.listener, port.pending.maximum)
        } catch {
            log.error(
                "\(port.listener.address) was closed for another port and can't be opened again: \(error)"
            )
        }
    }

    /// So many connections of each may be in their dialogue from now on.
    func limitPending(to maximum: (ProxyListener) -> Int) {
        for port in all { port.pending.limit(to: maximum(port.listener)) }
    }

    /// Nobody can connect any more.
    func close() { all.forEach { $0.close() } }
}
