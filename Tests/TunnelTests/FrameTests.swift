import Measures
import Testing

@testable import Wire

@Suite struct FrameTests {
    private func bytes(_ count: Int, _ write: (UnsafeMutableRawPointer) -> Void) -> [UInt8] {
        var out = [UInt8](repeating: 0xee, count: count)
        out.withUnsafeMutableBytes { write($0.baseAddress!) }
        return out
    }

    @Test func header() {
        let header = DatagramHeader(
            kind: .record, epoch: 2, path: 7, session: 0xabcdef, number: 0x012345)
        let b = bytes(8) { header.write(into: $0) }
        #expect(b == [0x42, 7, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45])
        b.withUnsafeBytes { all in
            #expect(DatagramHeader(all) == header)
            for n in 0..<8 {
                #expect(DatagramHeader(UnsafeRawBufferPointer(rebasing: all[..<n])) == nil)
            }
        }
        for kind in [0, 5, 6, 15] as [UInt8] {
            [kind << 4, 0, 0, 0, 0, 0, 0, 0].withUnsafeBytes { #expect(DatagramHeader($0) == nil) }
        }
        ([0x44, 0, 0, 0, 0, 0, 0, 0] as [UInt8]).withUnsafeBytes {
            #expect(DatagramHeader($0) == nil)
        }
    }

    @Test func packetNumbersAreWidened() {
        for expected in [1, 5, 0xff_fffe, 0x100_0000, 0x17f_ffff, 0x180_0000, 0xabc_1234_5678]
            as [UInt64]
        {
            for off in [-8_000_000, -8191, -1, 0, 1, 8191, 8_000_000] as [Int64] {
                let (number, wraps) = expected.addingReportingOverflow(UInt64(bitPattern: off))
                guard off >= 0 ? !wraps : wraps, number > 0 else { continue }
                #expect(expected.nearestPacketNumber(low: UInt32(number & 0xff_ffff)) == number)
            }
        }
    }

    @Test func framesRoundTripAndRefusePrefixes() {
        let probe = ProbeFrame(isAnswer: true, identifier: 0x1234, sentAt: 0x0102_0304_0506_0708)
        let p = bytes(ProbeFrame.size) { probe.write(into: $0) }
        #expect(p == [2, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8])
        let state = PathStateFrame(
            path: 3, generation: 0xfffe, incarnation: 9, isOpen: true,
            isBackup: true, mode: 2)
        let s = bytes(PathStateFrame.size) { state.write(into: $0) }
        #expect(s == [3, 3, 0xff, 0xfe, 9, 0x23])
        let close = CloseFrame(reason: .replaced),
            reset = SubflowResetFrame(number: 0xbeef, reason: 3)
        let c = bytes(CloseFrame.size) { close.write(into: $0) }
        let r = bytes(SubflowResetFrame.size) { reset.write(into: $0) }
        #expect(c == [7, 1])
        #expect(r == [8, 0xbe, 0xef, 3])
        p.withUnsafeBytes { #expect(ProbeFrame.read($0) == probe) }
        s.withUnsafeBytes { #expect(PathStateFrame.read($0) == state) }
        c.withUnsafeBytes { #expect(CloseFrame.read($0) == close) }
        r.withUnsafeBytes { #expect(SubflowResetFrame.read($0) == reset) }
        let join = JoinRequestFrame(token: 0xdead_beef)
        let j = bytes(JoinRequestFrame.size) { join.write(into: $0) }
        #expect(j == [0x0b, 0xde, 0xad, 0xbe, 0xef])
        j.withUnsafeBytes { #expect(JoinRequestFrame.read($0) == join) }
        let message = [UInt8](1...100)
        let k = bytes(RekeyFrame.headSize + 100) { out in
            message.withUnsafeBytes {
                RekeyFrame(isAnswer: false, epoch: 5, message: $0).write(into: out)
            }
        }
        k.withUnsafeBytes { all in
            #expect(
                RekeyFrame.read(all).map { $0.epoch == 5 && $0.message.elementsEqual(message) }
                    == true)
        }
        for (all, read) in [
            (p, { ProbeFrame.read($0) != nil }), (s, { PathStateFrame.read($0) != nil }),
            (c, { CloseFrame.read($0) != nil }), (r, { SubflowResetFrame.read($0) != nil }),
            (j, { JoinRequestFrame.read($0) != nil }), (k, { RekeyFrame.read($0) != nil })
        ] as [([UInt8], (UnsafeRawBufferPointer) -> Bool)] {
            for n in 0..<all.count {
                all.withUnsafeBytes { #expect(!read(UnsafeRawBufferPointer(rebasing: $0[..<n]))) }
            }
        }
    }

    @Test func handshakePayloads() {
        let hello = HelloPayload(
            hasHardwareAES: true, wantsFresh: true, index: 0x123456,
            instance: 7, timestamp: 9, challenge: Bytes16(a: 5, b: 6))
        #expect(HelloPayload(hello.bytes) == hello)
        #expect(HelloPayload(Array(hello.bytes.dropLast())) == nil)
        #expect(HelloPayload([2] + hello.bytes.dropFirst()) == nil)
        let welcome = WelcomePayload(outcome: .resumed, cipher: 2, index: 0xfedcba)
        #expect(WelcomePayload(welcome.bytes) == welcome)
        #expect(WelcomePayload(Array(welcome.bytes.dropLast())) == nil)
        #expect(WelcomePayload([1, 9] + welcome.bytes.dropFirst(2)) == nil)
        let challenge = WelcomePayload(challenge: Bytes16(a: 1, b: 2), cipher: 2)
        #expect(WelcomePayload(challenge.bytes) == challenge)
        #expect(WelcomePayload(Array(challenge.bytes.dropLast())) == nil)
    }

    @Test func generationsCompareModulo() {
        #expect((1 as UInt16).isNewer(than: 0))
        #expect(!(0 as UInt16).isNewer(than: 0))
        #expect((2 as UInt16).isNewer(than: 0xffff))
        #expect(!(0xffff as UInt16).isNewer(than: 2))
    }
}
