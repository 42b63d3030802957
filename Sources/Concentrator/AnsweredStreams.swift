import Tunnel
import Wire

/// The streams that the concentrator answers by itself, each kind with a limit of its own.
struct AnsweredStreams {
    /// Names whose answer is too long for a datagram; `NameQuestions` limits them.
    private var questions: [ObjectIdentifier: LocalStream] = [:]
    private var enrolments: [ObjectIdentifier: LocalStream] = [:]
    private var measurements: [ObjectIdentifier: LocalStream] = [:]

    var all: [LocalStream] {
        Array(questions.values) + Array(enrolments.values) + Array(measurements.values)
    }

    /// The stream that answers for this target, not yet started; nil where the target is none of
    /// these, is not for this user, or has as many as there may be. `isInvited`: the user is an
    /// invitation, which is good for becoming a user and for nothing else.
    mutating func open(
        _ handle: StreamHandle, _ target: Target, of user: String, isInvited: Bool,
        _ server: ConcentratorServer
    ) -> LocalStream? {
        switch target {
        case .resolver where !isInvited:
            let stream = NameStreamServer(handle, user: user, server: server)
            questions[ObjectIdentifier(stream)] = stream
            return stream
        case .enrolment where isInvited && enrolments.count < Enrolment.maximum:
            let stream = Enrolment(handle, user: user, server: server)
            enrolments[ObjectIdentifier(stream)] = stream
            return stream
        case .measurement where !isInvited && mayMeasure(user):
            let stream = Measurement(handle, user: user, server: server)
            measurements[ObjectIdentifier(stream)] = stream
            return stream
        default: return nil
        }
    }

    private func mayMeasure(_ user: String) -> Bool {
        measurements.count < Measurement.maximum
            && measurements.values.count { $0.user == user } < Measurement.maximumPerUser
    }

    mutating func remove(_ stream: LocalStream) {
        questions[ObjectIdentifier(stream)] = nil
        enrolments[ObjectIdentifier(stream)] = nil
        measurements[ObjectIdentifier(stream)] = nil
    }
}
