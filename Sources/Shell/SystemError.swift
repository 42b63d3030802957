import Glibc

/// A system call that failed: what was tried, and the errno.
public struct SystemError: Error, Equatable, CustomStringConvertible {
    /// The errno of the call.
    public let code: Int32
    /// What was being done, as it stands in a sentence: "bind to 0.0.0.0:443".
    public let operation: String

    /// `operation` is the beginning of the sentence that `description` is.
    public init(_ operation: String, code: Int32) { self.operation = operation; self.code = code }

    public var description: String { "\(operation): \(Self.text(code))" }

    /// The system's words for an errno, such as "Connection refused".
    public static func text(_ code: Int32) -> String { String(cString: strerror(code)) }
}

/// Calls on the descriptor that would have to wait return at once.
func setNonBlocking(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
}

/// The result of a call of the CDatagram kind: a value, or a negative errno that is thrown.
@discardableResult
func checked(_ result: Int32, _ operation: @autoclosure () -> String) throws(SystemError) -> Int32 {
    guard result < 0 else { return result }
    throw SystemError(operation(), code: -result)
}
