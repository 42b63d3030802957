import ArgumentParser

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Two emulated uplinks on this machine: download, lose WiFi, watch the handover.")

    func run() throws { throw Complaint.failure("not there yet") }
}
