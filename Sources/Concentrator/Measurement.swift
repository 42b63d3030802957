import Measures
import Shell
import Tunnel
import Wire

/// A stream on which a proxy learns of the way: it sends and gets as many bytes as it asked for,
/// and is told how its datagrams look from here (`braid doctor`).
final class Measurement: LocalStream {
    private enum State {
        case asked
        /// Bytes that are still to come.
        case receiving(Int, MeasurementRequest)
        /// Until the answer is due.
        case waiting(MeasurementRequest)
        /// Bytes that are still to go.
        case sending(Int)
    }

    private var state = State.asked
    private var timer: LoopTimer?

    /// At once, of all users and of one.
    static let maximum = 64, maximumPerUser = 8
    private static let limit = Interval.seconds(30)

    override func start() {
        timer = server.loop.timer(for: self) { $0.timeIsUp() }
        timer?.arm(after: Self.limit)
        super.start()
    }

    override func proceed() {
        if case .asked = state { readRequest() }
        if case .receiving(let left, let request) = state {
            let n = min(left, handle.readable.count)
            handle.consume(n, at: server.driver.now)
            state = .receiving(left - n, request)
            if n == left { wait(request) }
        }
        if case .sending(let left) = state { send(left) }
    }

    private func readRequest() {
        let bytes = handle.readable.prefix(MeasurementRequest.size).bytes
        guard bytes.count == MeasurementRequest.size else { return }
        guard let request = MeasurementRequest.read(bytes) else { cut(); return }
        handle.consume(bytes.count, at: server.driver.now)
        state = .receiving(request.up, request)
    }

    private func wait(_ request: MeasurementRequest) {
        guard request.delay > 0 else { answer(request); return }
        state = .waiting(request)
        timer?.arm(after: .seconds(Int64(request.delay)))
    }

    private func timeIsUp() {
        guard case .waiting(let request) = state else { cut(); return }
        timer?.arm(after: Self.limit)
        answer(request)
        activity()
    }

    private func answer(_ request: MeasurementRequest) {
        let now = server.driver.now
        guard let path = handle.latestPath(at: now) else { cut(); return }
        let answer = MeasurementAnswer(loss: path.loss, address: path.remote).bytes
        // The send ring takes so little whole, unless memory has run out.
        guard answer.withUnsafeBytes({ handle.write($0, at: now) }) == answer.count else {
            cut()
            return
        }
        state = .sending(request.down)
    }

    private func send(_ count: Int) {
        let now = server.driver.now, left = count - handle.writeZeros(count, at: now)
        state = .sending(left)
        if left == 0 { handle.finishWriting(at: now) }
    }

    override func ended() { timer = nil }
}
