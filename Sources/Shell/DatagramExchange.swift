import Buffers
import CDatagram
import Glibc
import Measures

/// The buffers with which every socket of a process sends and receives; nothing is allocated per
/// call.
public final class DatagramExchange {
    private let receiver: OpaquePointer
    private let sender: OpaquePointer
    /// What was longer than its interface takes, and where it was to go; the owner takes it away.
    private var tooLong: [(bytes: Int, remote: SocketAddress)] = []

    /// Messages taken by one `receive`: each is up to 64 kB of coalesced datagrams.
    public static let receiveSlots = 16
    static let sendSlots = 128

    /// Ends the process where there is no memory for the buffers, about 1 MiB.
    public init() {
        guard let receiver = braid_receiver_create(UInt32(Self.receiveSlots)),
            let sender = braid_sender_create(UInt32(Self.sendSlots))
        else {
            fatalError("no memory for datagrams")
        }
        self.receiver = receiver
        self.sender = sender
    }

    deinit {
        braid_receiver_free(receiver)
        braid_sender_free(sender)
    }

    // MARK: In

    /// Receives once, at most `maximum` messages, without waiting and hands every datagram over,
    /// valid and writable during the call; `local`: as the socket was asked for it. Returns whether
    /// there may be more.
    @inline(__always)
    public func receive(
        from socket: DatagramSocket, maximum: Int = DatagramExchange.receiveSlots,
        _ take: (
            _ datagram: UnsafeMutableRawBufferPointer, _ from: SocketAddress,
            _ local: SocketAddress
        ) -> Void
    )
        -> Bool
    {
        let maximum = socket.carried == nil ? maximum : 1
        var n = braid_receive(receiver, socket.descriptor, UInt32(maximum))
        // An ICMP error of an earlier datagram: it says nothing about what waits here.
        if n == -ECONNREFUSED || n == -EINTR {
            n = braid_receive(receiver, socket.descriptor, UInt32(maximum))
        }
        guard n > 0, let arrivals = braid_arrivals(receiver) else { return false }
        for i in 0..<Int(n) {
            let from = SocketAddress(arrivals[i].from), local = SocketAddress(arrivals[i].local)
            let length = Int(arrivals[i].length), segment = Int(arrivals[i].segment)
            socket.statistics.bytesReceived += length
            var at = 0
            // One without a byte is a datagram, too.
            repeat {
                let size = min(segment, length - at)
                take(
                    UnsafeMutableRawBufferPointer(start: arrivals[i].bytes + at, count: size), from,
                    local)
                socket.statistics.datagramsReceived += 1
                at += size
            } while at < length
        }
        socket.carried?()
        return n == Int32(maximum)
    }

    // MARK: Out

    /// How sending went for the uplink as a whole; single datagrams are counted by their socket.
    public enum SendResult: Equatable {
        case sent
        /// The uplink can't be used: errno.
        case uplinkFailed(Int32)
    }

    /// Sends every run of `batch` whose uplink is `uplink`. What the kernel has no room for is
    /// copied and follows by itself; the batch may be used again at once.
    public func send(
        _ batch: DatagramBatch, uplink: UplinkNumber, through socket: DatagramSocket
    ) -> SendResult {
        var result = SendResult.sent
        braid_sender_clear(sender)
        // By index: iterating would retain the array.
        for i in 0..<batch.runs.count where batch.runs[i].uplink == uplink {
            let run = batch.runs[i]
            let bytes = UnsafePointer(
                (batch.arena + run.offset).assumingMemoryBound(to: UInt8.self))
            let whole = socket.usesSegmentation || run.datagrams == 1
            let piece = whole ? run.length : run.segmentSize
            var at = 0
            while at < run.length {
                var d = braid_outgoing(
                    bytes: bytes + at, length: UInt32(min(piece, run.length - at)),
                    segment: whole && run.datagrams > 1 ? UInt16(run.segmentSize) : 0,
                    has_local: run.local.isUnspecified ? 0 : 1,
                    remote: braid_address(run.remote), local: braid_address(run.local))
                if braid_sender_add(sender, &d) == 0 {
                    result = worse(result, flush(through: socket))
                    braid_sender_clear(sender)
                    continue
                }
                at += Int(d.length)
            }
        }
        result = worse(result, flush(through: socket))
        return result
    }

    /// The lengths of datagrams that no interface took since last asked, with their destinations.
    public func takeTooLong() -> [(bytes: Int, remote: SocketAddress)] {
        if tooLong.isEmpty { return [] }
        defer { tooLong.removeAll() }
        return tooLong
    }

    /// Sends what waited for room; called when the socket is writable.
    func sendWaiting(through socket: DatagramSocket) -> SendResult {
        var result = SendResult.sent
        while !socket.waiting.isEmpty {
            braid_sender_clear(sender)
            var n = 0
            for d in socket.waiting.outgoing.prefix(Self.sendSlots) {
                var copy = d
                guard braid_sender_add(sender, &copy) != 0 else { break }
                n += 1
            }
            let (done, outcome) = push(through: socket)
            socket.waiting.removeFirst(done)
            result = worse(result, outcome)
            if done < n { return result }
        }
        socket.watch.wantsWrite = false
        return result
    }

    private func worse(_ a: SendResult, _ b: SendResult) -> SendResult { a == .sent ? b : a }

    /// Sends what was added; what the kernel has no room for is kept.
    private func flush(through socket: DatagramSocket) -> SendResult {
        let count = Int(braid_sender_count(sender))
        guard count > 0 else { return .sent }
        // Order is kept: nothing overtakes what waits.
        let (done, result) = socket.waiting.isEmpty ? push(through: socket) : (0, .sent)
        if done < count {
            for i in done..<count {
                let d = braid_sender_at(sender, UInt32(i))!.pointee
                if !socket.waiting.append(d) { socket.statistics.datagramsDropped += datagrams(d) }
            }
            socket.watch.wantsWrite = true
        }
        return result
    }

    private func datagrams(_ d: braid_outgoing) -> Int {
        d.segment == 0 ? 1 : (Int(d.length) + Int(d.segment) - 1) / Int(d.segment)
    }

    /// Hands messages to the kernel until all are dealt with or it has no room: how many were dealt
    /// with.
    private func push(through socket: DatagramSocket) -> (Int, SendResult) {
        let count = Int(braid_sender_count(sender))
        let most = socket.carried == nil ? UInt32.max : 1
        var i = 0, result = SendResult.sent
        while i < count {
            let n = braid_send(sender, socket.descriptor, UInt32(i), most)
            if n > 0 {
                for k in i..<(i + Int(n)) {
                    account(braid_sender_at(sender, UInt32(k))!.pointee, socket)
                }
                i += Int(n)
                socket.carried?()
                continue
            }
            switch -n {
            case EAGAIN: return (i, result)
            // ECONNREFUSED is an earlier ICMP error; asking clears it
            case EINTR, ECONNREFUSED: continue
            case let code where socket.isUplinkFailure(code):
                // The rest goes the same way: one answer for all of them.
                for k in i..<count {
                    let d = braid_sender_at(sender, UInt32(k))!.pointee
                    socket.statistics.datagramsDropped += datagrams(d)
                }
                return (count, .uplinkFailed(code))
            case let code:
                guard sendSingly(i, after: code, socket) else { return (i, result) }
                i += 1
                result = .sent
            }
        }
        return (i, result)
    }

    private func account(_ d: braid_outgoing, _ socket: DatagramSocket) {
        socket.statistics.datagramsSent += datagrams(d)
        socket.statistics.bytesSent += Int(d.length)
    }

    /// The first so many of a run left.
    private func account(_ d: braid_outgoing, datagrams: Int, _ socket: DatagramSocket) {
        socket.statistics.datagramsSent += datagrams
        socket.statistics.bytesSent += min(Int(d.length), datagrams * Int(d.segment))
    }

    /// Message `i` was refused with `code`. Where that may be because it is a run, or too long, its
    /// datagrams are sent one by one: those longer than the interface takes are dropped and told by
    /// `takeTooLong`. With any other error, and from an error in between on, the rest is dropped.
    /// False, with nothing dropped, where the kernel has no space for the first one.
    private func sendSingly(_ i: Int, after code: Int32, _ socket: DatagramSocket) -> Bool {
        let d = braid_sender_at(sender, UInt32(i))!.pointee, total = datagrams(d)
        let refusedRun =
            d.segment > 0 && [EINVAL, EIO, EOPNOTSUPP, EMSGSIZE, ENOPROTOOPT].contains(code)
        guard refusedRun || code == EMSGSIZE else {
            socket.statistics.datagramsDropped += total
            return true
        }
        var sent = 0
        while sent < total {
            let n = braid_send_singly(sender, socket.descriptor, UInt32(i), UInt32(sent))
            if n > 0 {
                // Singly it works, so it was the run: none is tried again. EINVAL can also
                // mean the source address.
                if refusedRun { socket.usesSegmentation = false }
                sent += Int(n)
                continue
            }
            switch -n {
            case EINTR, ECONNREFUSED: continue
            case EMSGSIZE:
                // The interface takes less; the rest is as long.
                if tooLong.count < Self.sendSlots {
                    tooLong.append(
                        (d.segment == 0 ? Int(d.length) : Int(d.segment), SocketAddress(d.remote)))
                }
                socket.statistics.datagramsDropped += total - sent
                account(d, datagrams: sent, socket)
                return true
            case EAGAIN where sent == 0: return false
            default:
                socket.statistics.datagramsDropped += total - sent
                account(d, datagrams: sent, socket)
                return true
            }
        }
        account(d, socket)
        return true
    }
}
