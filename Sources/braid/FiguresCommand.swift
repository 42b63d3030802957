import ArgumentParser
import Glibc
import Simulator

struct FiguresCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "figures",
        abstract: "The paper's figures again, in the simulator: CSV and SVG.",
        discussion: """
            Writes figures 1 to 5, the experiment of section 5, and what the paper did not draw (energy by mode, \
            moves, a commute, coupled congestion control), as tables and pictures, the sound of figure 3, and \
            summary.md with the numbers beside each other. The same seed gives the same files. Nothing is sent \
            anywhere.
            """)

    @Argument(help: "The folder to write to; made where it isn't there. Its files are replaced.")
    var folder: String
    @Option(help: "What all chance is drawn from.") var seed: UInt64 = 1
    @Option(help: "Runs per curve.") var runs = 20

    func validate() throws {
        guard (1...1000).contains(runs) else {
            throw ValidationError("--runs must be from 1 to 1000")
        }
    }

    func run() throws {
        guard mkdir(folder, 0o777) == 0 || errno == EEXIST else {
            throw Complaint.input("\(folder) can't be made: \(String(cString: strerror(errno)))")
        }
        // A file that can't be written is known before the work, not after it.
        guard access(folder, W_OK | X_OK) == 0 else {
            throw Complaint.input(
                "\(folder) can't be written to: \(String(cString: strerror(errno)))")
        }
        let files: [FigureFile]
        do {
            files = try Figures(seed: seed, runs: runs).draw { Output.write("\($0)\n") }
        } catch let failure as Figures.Failure {
            throw Complaint.failure("\(failure)")
        }
        for file in files { try write(file) }
        Output.write("\(files.count) files are in \(folder); summary.md has the numbers\n")
    }

    private func write(_ file: FigureFile) throws {
        let path = folder + "/" + file.name
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else {
            throw Complaint.input("\(path) can't be written: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        guard Output.write(file.bytes, to: descriptor) else {
            throw Complaint.failure("\(path) can't be written: \(String(cString: strerror(errno)))")
        }
    }
}
