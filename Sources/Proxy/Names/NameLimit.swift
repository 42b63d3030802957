import Measures

/// Limits of what is asked, each with its reason.
enum NameLimit {
    /// Questions under way, of all clients: the concentrator takes 512 of one user. Beyond, the
    /// oldest is given up.
    static let questions = 480
    /// Of one client, so that it does not push out the others'.
    static let questionsPerClient = 120
    /// For the concentrator's own name, under way: a resolver asks for two types, and again.
    static let beside = 16
    /// Who waits for one question's answer; a client that repeats itself is one.
    static let waiting = 256
    /// For an answer, whatever becomes of the session meanwhile: programs' resolvers wait five
    /// seconds, twice.
    static let answer = Interval.seconds(10)
    /// A question is repeated through the tunnel after the longest that an answer should take, and
    /// then after twice the wait each time.
    static let serverTime = Interval.milliseconds(20), maximumWait = Interval.seconds(2)
    /// Connections over TCP, of all clients. Beyond, the oldest of the client that has most.
    static let connections = 256
    /// Questions of one connection under way.
    static let pipelined = 32
    /// Bytes of its answers that wait to be read, before no more of it is read.
    static let unread = 64 << 10
    /// Bytes of a question; programs send less than 300.
    static let message = 4_096
    /// A connection without a question, or that does not take its answers.
    static let idle = Interval.seconds(10)
    /// Where the concentrator takes no association, it is asked again after so long.
    static let retry = Interval.seconds(1)
    /// Addresses of one answer that are remembered with their name.
    static let addresses = 64
}
