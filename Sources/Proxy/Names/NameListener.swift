import Dialogue
import Measures
import Shell

/// A port where programs ask for names, over UDP and TCP.
final class NameListener {
    /// As the settings name it.
    let configured: SocketAddress
    /// With the port that the system chose for port 0.
    let address: SocketAddress
    private let socket: RelaySocket
    private let sockets: RelaySockets
    private var stream: StreamListener?
    private weak var service: NameService?

    /// Whether it takes what the packet filter redirects to it: datagrams, of whomever.
    private let isCaptured: Bool

    /// Throws what the system says where the port can't be had.
    init(
        _ address: SocketAddress, _ service: NameService, _ sockets: RelaySockets,
        isCaptured: Bool = false
    ) throws(SystemError) {
        configured = address
        self.isCaptured = isCaptured
        socket = try RelaySocket(address, sockets)
        self.address = SocketAddress(address.address, port: socket.localAddress.port)
        self.sockets = sockets
        self.service = service
        socket.onReadable(for: self) { $0.receive() }
        guard !isCaptured else { return }
        stream = try StreamListener(self.address, loop: service.loop, log: service.log) {
            [weak service] connection, from in
            guard let service, service.isClient(from.address) else { connection.reset(); return }
            service.serve(connection, from: from)
        }
    }

    var descriptors: [Int32] {
        [socket.datagrams.descriptor] + (stream.map { [$0.descriptor] } ?? [])
    }

    func close() {
        socket.close()
        stream?.close()
    }

    private func receive() {
        guard let service else { return }
        sockets.receive(socket) { message, from, local in
            guard isCaptured || service.isClient(from.address) else { return }
            let client = NameService.Client(address: from, transport: .datagram)
            service.ask(message, from: client) { [sockets, socket] answer in
                answer.withUnsafeBytes {
                    sockets.post([], $0, to: from, from: local, through: socket)
                }
            }
        }
    }
}
