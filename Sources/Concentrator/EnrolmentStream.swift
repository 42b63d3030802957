import Crypto
import Measures
import Shell
import Tunnel
import Wire

/// Somebody who is invited says a key, and is a user by it from then on.
final class Enrolment: AnsweredStream {
    private var timer: LoopTimer?

    /// At once, of all invitations, and for how long.
    static let maximum = 64
    private static let limit = Interval.seconds(10)

    override func start() {
        timer = server.loop.timer(for: self) { $0.cut() }
        timer?.arm(after: Self.limit)
        super.start()
    }

    override func message(in bytes: [UInt8]) -> Reading {
        bytes.count < EnrolmentRequest.size
            ? .incomplete : .whole(Array(bytes.prefix(EnrolmentRequest.size)))
    }

    override func ask(_ message: [UInt8]) {
        guard let request = EnrolmentRequest.read(message) else { cut(); return }
        let key = request.publicKey.withUnsafeBytes { Key32($0) }
        reply(server.enrol(key, by: user).bytes)
    }

    override func ended() { timer = nil }
}

extension ConcentratorServer {
    /// The machine with `key` is a user from now on, where the invitation is still good.
    func enrol(_ key: Key32, by name: String) -> EnrolmentAnswer {
        guard let invitation = settings.invitations[name], let write = writeUser else {
            return EnrolmentAnswer(.over)
        }
        if let expires = invitation.expires, expires <= Int64(EventLoop.wallClock() / 1_000_000_000)
        {
            return EnrolmentAnswer(.over)
        }
        let isTaken =
            key == .zero || key == settings.identity.publicKey
            || settings.users.contains { $0.publicKey == key }
        guard !isTaken else { return EnrolmentAnswer(.keyInUse) }
        let names = Set(settings.users.map(\.name))
        guard let user = write(key, invitation.file, names) else { return EnrolmentAnswer(.failed) }
        var changed = settings
        // What it was invited by goes when the answer has had its time: its session would end.
        changed.invitations[name] =
            invitation.uses == 1
            ? nil
            : .init(
                file: invitation.file, expires: invitation.expires,
                uses: invitation.uses - 1)
        let psk = settings.users.first { $0.name == name }?.preSharedKey
        changed.users.append(.init(name: user, publicKey: key, preSharedKey: psk))
        settings = changed
        driver.endpoint.setUsers(changed.users, at: loop.now())
        log.notice(
            "somebody came in by an invitation",
            metadata: ["user": "\(user)", "public_key": "\(key.base64)"])
        recorder.note(.note, user: user, detail: "\(user) came in by an invitation.")
        enrolled?.arm(after: Self.answerTime)
        return EnrolmentAnswer(.admitted, name: user)
    }

    /// For the answer to arrive, before who asked loses the session.
    private static let answerTime = Interval.seconds(2)
}
