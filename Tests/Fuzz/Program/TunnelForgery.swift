import Buffers
import Measures
import Multipath
import Wire

@testable import Crypto
@testable import Tunnel

/// Somebody with the keys, who makes authentic datagrams.
extension TunnelBench {
    private func session(_ side: Int) -> Session? {
        endpoint(side).sessions.first { $0 != nil } ?? nil
    }

    /// Frames sealed as `side` would seal them, under the next packet number its peer takes for
    /// new.
    /// `spent` hears what the datagram cost its receiver, nanoseconds of CPU.
    func inject(frames: [UInt8], from side: Int, path: PathID, _ spent: ((Double) -> Void)? = nil) {
        guard let mine = session(side), let other = session(1 - side), frames.count <= 1_400 else {
            return
        }
        isHonest = false
        let number = (other.paths[path]?.records.replay.highest ?? 0) + 1
        let header = DatagramHeader(
            kind: .record, epoch: mine.keys.current.epoch, path: path.octet,
            session: mine.indices.remote,
            number: UInt32(truncatingIfNeeded: number & 0xff_ffff))
        var out = [UInt8](
            repeating: 0, count: DatagramHeader.size + frames.count + RecordCipher.tagBytes)
        out.withUnsafeMutableBytes { bytes in
            header.write(into: bytes.baseAddress!)
            frames.withUnsafeBytes { plain in
                _ = mine.keys.current.send?.seal(
                    path: UInt32(path.octet), packetNumber: number,
                    associated: UnsafeRawBufferPointer(rebasing: bytes[..<DatagramHeader.size]),
                    head: plain, payload: .empty, into: bytes.baseAddress! + DatagramHeader.size)
            }
        }
        deliver(out, from: side, uplink: path.number & 1, spent)
    }

    /// Opens a datagram on its way, changes some bytes inside, and sends it on sealed again.
    func tamper(_ side: Int, _ input: inout Input) {
        guard let f = pick(side, &input, keeping: false), let mine = session(side),
            let header = f.bytes.withUnsafeBytes({ DatagramHeader($0) }), header.kind == .record,
            let path = mine.paths[PathID(header.path)]
        else { return }
        var record = Array(f.bytes[DatagramHeader.size...])
        let number = path.records.next.nearestPacketNumber(low: header.number)
        let length = record.withUnsafeMutableBytes { bytes in
            f.bytes.withUnsafeBytes { whole in
                mine.keys.current.send?.open(
                    path: UInt32(header.path), packetNumber: number,
                    associated: UnsafeRawBufferPointer(rebasing: whole[..<DatagramHeader.size]),
                    record: bytes)
            }
        }
        guard let length, length > 0 else { return }
        var plain = Array(record[..<length])
        for _ in 0..<(1 + input.byte() % 4) { plain[input.below(min(length, 128))] ^= input.byte() }
        inject(frames: plain, from: side, path: PathID(header.path))
    }

    /// A segment in the general form for a subflow that is there, near the numbers that are
    /// expected.
    func segment(from side: Int, _ input: inout Input) {
        guard let other = session(1 - side) else { return }
        let living = other.streams.compactMap { endpoint(1 - side).host.streams[$0] }
        guard !living.isEmpty else { return }
        let stream = living[Int(input.byte()) % living.count]
        guard !stream.links.isEmpty else { return }
        let i = Int(input.byte()) % stream.links.count, link = stream.links[i]
        guard let tcp = stream.connection.subflow(SubflowIndex(i)) else { return }
        let flags = input.byte()
        let sequence = tcp.receiveNext + Int(Int16(bitPattern: input.word()))
        let acknowledgement = tcp.sendNext + Int(Int16(bitPattern: input.word()))
        let options = input.take(Int(input.byte() & 63)), payload = input.below(300)
        var frame: [UInt8] = [
            0xc0, UInt8(link.number >> 8), UInt8(link.number & 255), flags, UInt8(options.count)
        ]
        for shift in [24, 16, 8, 0] as [UInt32] {
            frame.append(UInt8(truncatingIfNeeded: sequence.value >> shift))
        }
        if flags & 0x10 != 0 {
            for shift in [24, 16, 8, 0] as [UInt32] {
                frame.append(UInt8(truncatingIfNeeded: acknowledgement.value >> shift))
            }
        }
        frame += [input.byte(), input.byte()] + options + [UInt8](repeating: 66, count: payload)
        inject(frames: frame, from: side, path: link.path)
    }

    /// An authentic hello or welcome with a payload of the input's.
    func handshake(fromProxy: Bool, _ payload: [UInt8]) {
        isHonest = false
        if fromProxy {
            timestamp += 1
            var noise = NoiseHandshake.initiator(
                local: Self.client, remote: Self.server.publicKey, prologue: Endpoint.prologue,
                preSharedKey: .zero, ephemeral: Self.keys[2])
            var payload = payload
            if payload.count == HelloPayload.size {
                payload[0] = HelloPayload.version
                for i in 0..<8 {
                    payload[13 + i] = UInt8(truncatingIfNeeded: timestamp >> UInt64(56 - 8 * i))
                }
            }
            guard let message = try? noise.writeMessage(payload: payload) else { return }
            var datagram: [UInt8] = [0x10, 0, 0, 0, 0, 0, 0, 0] + message
            let keys = HelloKeys(concentrator: Self.server.publicKey)
            withUnsafeBytes(of: datagram.withUnsafeBytes { keys.mac1($0) }) { datagram += $0 }
            deliver(datagram + [UInt8](repeating: 0, count: 16), from: 0, uplink: 0)
            return
        }
        guard let attempt = proxy.handshake?.attempts.last else { return }
        var noise = NoiseHandshake.responder(local: Self.server, prologue: Endpoint.prologue)
        let read = attempt.datagram[HelloDatagram.message].withUnsafeBytes {
            try? noise.readMessage($0)
        }
        guard read != nil else { return }
        noise.prepare(preSharedKey: .zero, ephemeral: Self.keys[1])
        guard let message = try? noise.writeMessage(payload: payload) else { return }
        var head = [UInt8](repeating: 0, count: DatagramHeader.size)
        head.withUnsafeMutableBytes {
            DatagramHeader(kind: .welcome, session: attempt.index).write(into: $0.baseAddress!)
        }
        deliver(head + message, from: 1, uplink: 0)
    }
}
