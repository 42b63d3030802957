import Wire

@testable import Configuration

/// What a person pastes as an invitation, and what both sides of an enrolment say: read as what was
/// written, or refused with a sentence.
enum InvitationTarget {
    static func run(_ input: inout Input) {
        let form = input.byte(), bytes = input.rest()
        switch form & 3 {
        case 0: link(String(decoding: bytes, as: UTF8.self))
        case 1: changed(bytes)
        case 2: request(bytes)
        default: answer(bytes)
        }
    }

    private static func link(_ text: String) {
        do throws(Invitation.Failure) {
            let invitation = try Invitation(link: text)
            check(
                (1...8).contains(invitation.addresses.count), "\(invitation.addresses.count) hosts")
            check(invitation.secret != .zero, "no secret")
            do throws(Invitation.Failure) {
                let again = try Invitation(link: invitation.link)
                check(again == invitation, "\(invitation.link) is another one")
            } catch { fail("\(invitation.link) is not read again: \(error)") }
        } catch {
            check(error.description.utf8.count > 20, "no sentence: \(error)")
            check(error.description.utf8.count < 1_000, "a sentence without end")
        }
    }

    /// A whole link of which some characters are others, or are not there.
    private static func changed(_ bytes: [UInt8]) {
        let key = String(repeating: "AQEB", count: 10) + "AQE"
        var link = Array("braid://a.example:443,[2001:db8::1]:5/\(key)/\(key)?psk=\(key)".utf8)
        var i = 0
        while i + 1 < bytes.count, !link.isEmpty {
            let at = Int(bytes[i]) % link.count
            if bytes[i + 1] == 0 { link.remove(at: at) } else { link[at] = bytes[i + 1] }
            i += 2
        }
        self.link(String(decoding: link, as: UTF8.self))
    }

    private static func request(_ bytes: [UInt8]) {
        guard let request = EnrolmentRequest.read(bytes) else { return }
        check(request.publicKey.count == 32 && request.bytes == bytes, "another request")
    }

    /// In whatever pieces it comes.
    private static func answer(_ bytes: [UInt8]) {
        var known: EnrolmentAnswer?
        for n in 0...bytes.count {
            let read = EnrolmentAnswer.read(Array(bytes[..<n]))
            if let known { check(read == known, "\(known), then another") }
            known = read
        }
        guard let known, known.name.utf8.count <= 64 else { return }
        check(EnrolmentAnswer.read(known.bytes) == known, "another answer")
    }
}
