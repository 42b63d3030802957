import Crypto
import Measures
import Shell
import Tunnel
import Wire

/// Somebody who is invited says a key, by which he is a user from then on.
final class Enrolment: StreamOwner {
    private let handle: StreamHandle
    private let user: String
    private let server: ConcentratorServer
    private var timer: LoopTimer?
    private var hasAsked = false
    private var isOver = false

    /// At once, of all invitations, and for how long.
    static let maximum = 64
    private static let limit = Interval.seconds(10)

    init(_ handle: StreamHandle, user: String, server: ConcentratorServer) {
        self.handle = handle
        self.user = user
        self.server = server
    }

    func start() {
        timer = server.loop.timer(for: self) { $0.cut() }
        timer?.arm(after: Self.limit)
        handle.answer(with: .connected, at: server.driver.now)
        server.driver.kick()
        activity()
    }

    /// A concentrator answers by itself.
    func answered(_ status: DialStatus) {}

    func activity() {
        guard !isOver else { return }
        if handle.error != nil || handle.isReadFinished, !hasAsked { leave(); return }
        let bytes = Array(handle.readable.bytes)
        guard !hasAsked else {
            handle.consume(bytes.count, at: server.driver.now)
            if handle.error != nil || handle.isReadFinished { leave() }
            return
        }
        guard bytes.count >= EnrolmentRequest.size else { return }
        hasAsked = true
        handle.consume(bytes.count, at: server.driver.now)
        guard let request = EnrolmentRequest.read(Array(bytes.prefix(EnrolmentRequest.size)))
        else { cut(); return }
        let key = request.publicKey.withUnsafeBytes { Key32($0) }
        let answer = server.enrol(key, by: user).bytes
        let now = server.driver.now
        let taken = answer.withUnsafeBytes { handle.write($0, at: now) }
        guard taken == answer.count else { cut(); return }
        handle.finishWriting(at: now)
        server.driver.kick()
    }

    func cut() {
        guard !isOver else { return }
        handle.abort(at: server.driver.now)
        leave()
    }

    private func leave() {
        guard !isOver else { return }
        isOver = true
        timer = nil
        handle.owner = nil
        handle.release(at: server.driver.now)
        server.driver.kick()
        server.left(self)
    }
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
