import Glibc

/// A terminal that is drawn on as a whole, and is as it was before when this is over.
final class Terminal {
    /// What somebody at the terminal, or the system, wants.
    enum Wish { case nothing, draw, leave(signal: Int32?) }

    private var before = termios()
    private var isOpen = false
    private var watched = sigset_t()
    private let hasColours = getenv("NO_COLOR") == nil

    /// Whether both ends are a terminal; its type must be able to move the cursor.
    static var isUsable: Bool {
        guard isatty(STDOUT_FILENO) != 0, let type = getenv("TERM") else { return false }
        return String(cString: type) != "dumb" && type.pointee != 0
    }

    /// Whether it takes UTF-8, by the locale.
    static var hasUnicode: Bool {
        for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
            guard let value = getenv(name), value.pointee != 0 else { continue }
            let locale = String(cString: value).lowercased()
            return locale.contains("utf-8") || locale.contains("utf8")
        }
        return false
    }

    init() {
        sigemptyset(&watched)
        // Taken when they are looked for, so that none comes amid a drawing.
        for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP] {
            sigaddset(&watched, number)
        }
        sigprocmask(SIG_BLOCK, &watched, nil)
        open()
    }

    deinit { close() }

    /// Columns and rows now; 80 and 24 where nobody says.
    var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
        else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    private func open() {
        guard !isOpen else { return }
        if tcgetattr(STDIN_FILENO, &before) == 0 {
            // Behind another program the system stops this one here, while it can still be ended.
            sigprocmask(SIG_UNBLOCK, &watched, nil)
            tcsetattr(STDIN_FILENO, TCSANOW, &before)
            sigprocmask(SIG_BLOCK, &watched, nil)
            var now = before
            now.c_lflag &= ~UInt32(ICANON | ECHO)
            tcsetattr(STDIN_FILENO, TCSANOW, &now)
        }
        isOpen = true
        // The alternate screen, no cursor, and lines that are cut rather than broken.
        Output.write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[2J")
    }

    /// As before; harmless when repeated.
    func close() {
        guard isOpen else { return }
        isOpen = false
        Output.write("\u{1b}[?7h\u{1b}[?25h\u{1b}[0m\u{1b}[?1049l")
        // Behind another program its way is that one's, and the system would stop this one here.
        let foremost = tcgetpgrp(STDIN_FILENO)
        guard isatty(STDIN_FILENO) != 0, foremost < 0 || foremost == getpgrp() else { return }
        tcsetattr(STDIN_FILENO, TCSANOW, &before)
    }

    /// False where the terminal is gone.
    func draw(_ lines: [StatusScreen.Line]) -> Bool {
        var out = "\u{1b}[H"
        for (number, line) in lines.enumerated() {
            if number > 0 { out += "\r\n" }
            // Erased before: behind a full line the cursor stands on its last letter.
            out += "\u{1b}[2K" + style(line.style) + line.text + (hasColours ? "\u{1b}[0m" : "")
        }
        // What is below, of a screen with more lines.
        if lines.count < size.rows { out += "\r\n\u{1b}[J" }
        return Output.write(out)
    }

    private func style(_ style: StatusScreen.Line.Style) -> String {
        guard hasColours else { return "" }
        return switch style {
        case .plain: ""
        case .title: "\u{1b}[1m"
        case .good: "\u{1b}[32m"
        case .doubtful: "\u{1b}[33m"
        case .bad: "\u{1b}[31m"
        case .faint: "\u{1b}[2m"
        }
    }

    /// Waits for `milliseconds`, or until something else is wanted.
    func wait(_ milliseconds: Int) -> Wish {
        let step = 50
        for _ in 0..<max(1, milliseconds / step) {
            if let wish = key(within: Int32(step)) ?? signal() { return wish }
        }
        return .nothing
    }

    private func key(within milliseconds: Int32) -> Wish? {
        // Where the standard input is no terminal, nobody types.
        guard isatty(STDIN_FILENO) != 0 else {
            usleep(UInt32(milliseconds) * 1_000)
            return nil
        }
        var watch = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        guard poll(&watch, 1, milliseconds) > 0 else { return nil }
        var key: UInt8 = 0
        guard read(STDIN_FILENO, &key, 1) == 1 else { return .leave(signal: nil) }
        return key == UInt8(ascii: "q") || key == 4 ? .leave(signal: nil) : nil
    }

    private func signal() -> Wish? {
        var now = timespec()
        switch sigtimedwait(&watched, nil, &now) {
        case SIGWINCH: return .draw
        case SIGTSTP:
            close()
            kill(getpid(), SIGSTOP)
            open()
            return .draw
        case let number where number > 0: return .leave(signal: number)
        default: return nil
        }
    }
}
