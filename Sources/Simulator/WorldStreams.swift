import Measures
import Multipath
import Tunnel
import Wire

/// The applications of a world: when each opens its stream, is dialled, reads and writes.
extension World {
    func startStreams() -> Bool {
        var any = false
        while started < order.count, streams[order[started]].plan.at <= now {
            let stream = streams[order[started]]
            started += 1
            any = true
            let handle = proxy.open(
                Target(host: .name("s\(stream.number).example"), port: 80), at: now)
            handle.owner = stream
            stream.handles.proxy = handle
            if !options.waitsForDial { turn(stream, atProxy: true) }
        }
        var i = 0
        while i < dials.count {
            guard dials[i].at <= now else { i += 1; continue }
            let stream = dials.remove(at: i).stream
            any = true
            guard let handle = stream.handles.concentrator else { continue }
            handle.answer(with: .connected, at: now)
            stream.isAnswered = true
            turn(stream, atProxy: false)
        }
        return any
    }

    func drainEvents() -> Bool {
        var any = false
        while let event = proxy.nextEvent() { any = true; take(event, atProxy: true) }
        while let event = concentrator.nextEvent() { any = true; take(event, atProxy: false) }
        return any
    }

    private func take(_ event: EndpointEvent, atProxy: Bool) {
        switch event {
        case .incoming(let handle, let target, let user):
            guard case .name(let name) = target.host,
                let number = Int(name.dropFirst().prefix { $0 != "." }),
                streams.indices.contains(number), user == "user", target.port == 80,
                streams[number].handles.concentrator == nil
            else {
                failure = "unexpected incoming stream to \(target) of \(user)"
                return
            }
            let stream = streams[number]
            handle.owner = stream
            stream.handles.concentrator = handle
            dials.append((now + options.dialDelay, stream))
        case .associating(let handle, _):
            if let call { call.associating(handle) } else { handle.owner = flows }
            handle.answer(with: .connected, at: now)
        case .answered(let handle, let status) where handle.owner is WorldFlows.Line:
            (handle.owner as? WorldFlows.Line)?.isAnswered = status == .connected
        case .answered(let handle, let status) where handle.owner is WorldCall:
            call?.answered(status, at: now)
        case .activity(let handle) where handle.owner is WorldCall:
            call?.activity(handle)
        case .activity(let handle) where handle.owner === flows:
            if handle.error != nil || handle.isReadFinished {
                handle.release(at: now)
            }
        case .answered(let handle, let status):
            guard let stream = handle.owner as? Stream else { return }
            stream.isConnected = true
            if status != .connected, !stream.listener.hasBrokenOff {
                failure = "stream \(stream.number) answered \(status)"
            }
            turn(stream, atProxy: true)
        case .activity(let handle):
            guard let stream = handle.owner as? Stream else { return }
            turn(stream, atProxy: atProxy)
        default:
            noted?(now, "\(atProxy ? "proxy" : "concentrator"): \(event)")
        }
    }

    /// Datagrams go to the call where there is one, and else to the associations.
    func receiveDatagrams() {
        guard let call else {
            let flows = flows
            concentrator.datagramArrived = { flows.arrivedFar($0, $1, $2) }
            proxy.datagramArrived = { flows.arrivedNear($0, $1, $2) }
            return
        }
        concentrator.datagramArrived = { [unowned self] in call.arrivedFar($2, at: now) }
        proxy.datagramArrived = { [unowned self] in call.arrivedNear($2, at: now) }
    }

    func runTimedEnds() -> Bool {
        var any = false
        for stream in streams {
            if stream.handles.proxy != nil, stream.initiator.deadline <= now {
                any = turn(stream, atProxy: true) || any
            }
            if stream.handles.concentrator != nil, stream.isAnswered,
                stream.listener.deadline <= now
            {
                any = turn(stream, atProxy: false) || any
            }
        }
        return any
    }

    @discardableResult private func turn(_ stream: Stream, atProxy: Bool) -> Bool {
        let end = atProxy ? stream.initiator : stream.listener
        guard let handle = atProxy ? stream.handles.proxy : stream.handles.concentrator else {
            return false
        }
        guard atProxy ? !options.waitsForDial || stream.isConnected : stream.isAnswered else {
            return false
        }
        guard end.turn(handle, at: now) else { return false }
        if let wrong = end.failure {
            failure =
                "stream \(stream.number) at the \(atProxy ? "proxy" : "concentrator"): \(wrong)"
        }
        if end.isFinished {
            handle.release(at: now)
            if atProxy { stream.handles.proxy = nil } else { stream.handles.concentrator = nil }
        }
        return true
    }
}
