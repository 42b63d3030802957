import Logging
import Measures
import Shell
import Tunnel
import Wire

/// One application connection at the concentrator: dialled, then pumped.
final class OutboundConnection: StreamOwner {
    let target: Target
    let user: String
    var dialledTarget: Target? { target }
    private let handle: StreamHandle
    /// Held until `leave`.
    private let server: ConcentratorServer
    private let began: Instant
    private var dial: Dial?
    private var pump: Pump?
    private var isOver = false

    init(_ handle: StreamHandle, target: Target, user: String, server: ConcentratorServer) {
        self.handle = handle
        self.target = target
        self.user = user
        self.server = server
        began = server.driver.now
    }

    /// Begins to dial. What is on this machine answers in the same datagram that accepts the
    /// connection.
    func start() {
        let dial = Dial(target, user: user, server.dialer) { [weak self] in self?.dialled($0) }
        self.dial = dial
        dial.settle()
    }

    private func dialled(_ outcome: Dial.Outcome) {
        dial = nil
        switch outcome {
        case .failed(let status):
            refuse(status)
        case .connected(let socket, let address):
            server.counters.connected += 1
            server.log.debug(
                "connected",
                metadata: [
                    "user": "\(user)", "target": "\(target)",
                    "address": "\(address)"
                ])
            handle.answer(with: .connected, at: server.driver.now)
            let pump = Pump(
                socket: socket, handle: handle,
                driver: server.driver
            ) { [weak self] in self?.ended($0) }
            self.pump = pump
            pump.start()
        }
    }

    /// Tells the proxy why there is no connection, and ends.
    func refuse(_ status: DialStatus) {
        guard !isOver else { return }
        server.refused(target, user: user, status)
        handle.answer(with: status, at: server.driver.now)
        leave(releasing: true)
    }

    /// A concentrator dials by itself.
    func answered(_ status: DialStatus) {}

    func activity() {
        if let pump { pump.activity(); return }
        // The application gave up while its target was being dialled.
        if handle.error != nil {
            server.log.debug(
                "given up during the dial", metadata: ["user": "\(user)", "target": "\(target)"])
            leave(releasing: true)
        }
    }

    private func ended(_ end: Pump.End) {
        if let pump {
            let seconds = (server.driver.now - began).seconds
            server.log.debug(
                "ended",
                metadata: [
                    "user": "\(user)", "target": "\(target)", "why": "\(end)",
                    "from_target": "\(pump.bytesFromSocket)", "from_app": "\(pump.bytesToSocket)",
                    "seconds": "\(seconds)"
                ])
        }
        leave(releasing: false)
    }

    /// Ends whatever is under way.
    func cut() {
        if let pump {
            pump.cancel()
        } else {
            handle.abort(at: server.driver.now)
            leave(releasing: true)
        }
    }

    private func leave(releasing: Bool) {
        guard !isOver else { return }
        isOver = true
        dial?.cancel()
        dial = nil
        pump = nil
        handle.owner = nil
        if releasing {
            handle.release(at: server.driver.now)
        }
        server.left(self)
    }
}
