import Glibc
import Testing

@testable import Shell

@Suite struct PrivilegesTests {
    @Test(arguments: [
        ("6.1.0-18-amd64", true), ("5.7", true), ("5.6.19", false), ("4.19.0", false),
        ("5.10.0-rc1+", true), ("10.0", true), ("", false), ("x.y", false)
    ])
    func kernels(release: String, isLaterThan56: Bool) {
        #expect(Privileges.isLinux57OrLater(release) == isLaterThan56)
    }

    @Test func users() {
        #expect(Privileges.User(name: "root")?.isRoot == true)
        #expect(Privileges.User(name: "no such user\n") == nil)
    }
}
