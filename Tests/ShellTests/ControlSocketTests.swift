import CDatagram
import Glibc
import Measures
import Testing

@testable import Shell

@Suite struct ControlSocketTests {
    private func path(_ name: String) -> String { "/tmp/braid-test-\(getpid())-\(name).sock" }

    /// The answer to `line` from whoever listens at `path`, while the servers' loop runs.
    private func ask(_ path: String, _ line: String, _ loop: EventLoop) -> String? {
        let done = Box(false)
        let client = inThread { () -> String? in
            let answer = try? ControlClient.ask(path: path, line: line)
            done.value = true
            return answer
        }
        _ = loop.run(until: .milliseconds(1)) { false }
        for _ in 0..<10_000 where !done.value {
            _ = loop.run(until: .milliseconds(1)) { done.value }
        }
        return client()
    }

    @Test func itAnswersTheUserAlone() throws {
        let path = path("answers"), loop = try EventLoop()
        let server = try ControlServer(path: path, loop: loop) { "<\($0)>\nsecond line" }
        var about = stat()
        #expect(stat(path, &about) == 0 && about.st_mode & 0o777 == 0o600)
        #expect(ask(path, "status", loop) == "<status>\nsecond line")
        #expect(server.predecessor == nil)
        server.close()
        #expect(access(path, F_OK) != 0)
        #expect(
            throws: ControlClient.Failure.system(SystemError("connect to \(path)", code: ENOENT))
        ) {
            try ControlClient.ask(path: path, line: "status")
        }
    }

    /// A restart where the old process still drains when the new one starts.
    @Test func theNewOfTwoOverlappingProcessesAnswers() throws {
        let path = path("overlap"), loop = try EventLoop()
        let old = try ControlServer(path: path, loop: loop) { _ in "old" }
        let new = try ControlServer(path: path, loop: loop) { _ in "new" }
        #expect(new.predecessor == getpid())
        #expect(ask(path, "status", loop) == "new")
        old.close()  // on its way out it removes what is its own: nothing
        #expect(ask(path, "status", loop) == "new")
        new.close()
        #expect(access(path, F_OK) != 0)
    }

    /// The old one lives on, for instance because the new one could not.
    @Test func thePlaceIsTakenBackWhenItIsFree() throws {
        let path = path("back"), loop = try EventLoop()
        let old = try ControlServer(path: path, lookInterval: .milliseconds(20), loop: loop) { _ in
            "old"
        }
        let new = try ControlServer(path: path, loop: loop) { _ in "new" }
        _ = loop.run(until: .milliseconds(100)) { false }
        #expect(ask(path, "status", loop) == "new", "no quarrel while the new one lives")
        new.close()
        #expect(loop.run(until: .seconds(10)) { access(path, F_OK) == 0 })
        #expect(ask(path, "status", loop) == "old")
        unlink(path)  // as a cleaner of /tmp does
        #expect(loop.run(until: .seconds(10)) { access(path, F_OK) == 0 })
        #expect(ask(path, "status", loop) == "old")
        old.close()
        #expect(access(path, F_OK) != 0)
    }

    /// What `kill -9` leaves behind.
    @Test func aDeadProcessesSocketIsReplaced() throws {
        let path = path("dead"), loop = try EventLoop()
        let descriptor = try controlSocket(nonBlocking: false)
        #expect(try withUnixAddress(path) { bind(descriptor, $0, $1) } == 0)
        close(descriptor)
        let server = try ControlServer(path: path, loop: loop) { _ in "living" }
        #expect(server.predecessor == nil && ask(path, "status", loop) == "living")
        server.close()
    }

    @Test func aFileInTheWayStays() throws {
        let path = path("file")
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        defer { unlink(path) }
        #expect { try ControlServer(path: path, loop: EventLoop()) { $0 } } throws: {
            ($0 as? SystemError)?.code == EEXIST
        }
        #expect(access(path, F_OK) == 0)
    }

    @Test(arguments: [
        (user: 1000, peer: 1000, owner: 1000, folder: "/run/user/1000/braid", true),
        (1000, 0, 0, "/run/braid", true), (1000, 1000, 0, "/tmp", true),
        (0, 0, 0, "/run/braid", true),
        (1000, 1001, 1001, "/tmp/braid-1000", false), (1000, 1000, 1001, "/tmp/braid-1000", false),
        (1000, 1001, 1000, "/tmp/braid-1000", false), (0, 1000, 0, "/tmp", false),
        // A user to whom root has given a folder in /run, as systemd does; which only root asks.
        (0, 1000, 1000, "/run/braid", true), (0, 0, 1000, "/run/braid", true),
        (0, 1001, 1000, "/run/braid", false),
        (0, 62_000, 62_000, "/run/braid", true), (0, 62_000, 0, "/run/braid", false),
        (0, 62_000, 62_000, "/run/user/braid", false), (0, 62_000, 62_000, "/tmp/braid", false),
        (1000, 62_000, 62_000, "/run/braid", false)
    ])
    func whoMayBeAsked(user: uid_t, peer: uid_t, owner: uid_t, folder: String, isTrusted: Bool) {
        #expect(
            ControlTrust.mayBeAsked(by: user, peer: peer, owner: owner, folder: folder) == isTrusted
        )
    }

    @Test(.enabled(if: geteuid() == 0)) func aStrangersFolderIsNotTrusted() throws {
        let folder = "/tmp/braid-test-\(getpid())-strange", loop = try EventLoop()
        mkdir(folder, 0o700)
        let server = try ControlServer(path: "\(folder)/it.sock", loop: loop) { _ in "here" }
        defer {
            server.close()
            rmdir(folder)
        }
        #expect(ask("\(folder)/it.sock", "status", loop) == "here")
        chown(folder, 1234, 1234)
        #expect(throws: ControlClient.Failure.otherUser(1234)) {
            try ControlClient.ask(path: "\(folder)/it.sock", line: "status")
        }
    }

    @Test func nothingPrintedMovesTheCursor() {
        #expect(
            Printable.text("wlan\u{1b}[2J\u{9b}\u{202e}\u{61c}x\n")
                == "wlan\\x1b[2J\\x9b\\u{202e}\\u{61c}x\\n")
        #expect(Printable.text("wlan0 grün") == "wlan0 grün")
        #expect(
            Printable.json("{\n \"a\": \"\u{1b}\u{7f}\u{2028}\"}")
                == "{\n \"a\": \"\\u001b\\u007f\\u2028\"}")
    }
}
