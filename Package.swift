// swift-tools-version: 6.2
// Braid. Targets stand in layers; arrows only point down (docs/design.md).
import PackageDescription

let fast: [SwiftSetting] = [
    // The engine is single-threaded and its invariants are asserted in pairs; a dynamic exclusivity
    // check on every stored property of a packet's way costs more than the cipher's set-up.
    .unsafeFlags(
        ["-enforce-exclusivity=unchecked", "-cross-module-optimization"],
        .when(configuration: .release))
]
/// The engine and its simulator are optimised for the tests too, which simulate hours of links.
/// Assertions and the checks for overflow and overlapping accesses stay: tests look for them.
let engine =
    fast + [.unsafeFlags(["-O", "-assert-config", "Debug"], .when(configuration: .debug))]

let argumentParser = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

/// A target of ours.
func module(
    _ name: String, _ dependencies: [Target.Dependency], _ settings: [SwiftSetting] = fast
) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// The tests of one target.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: "\(name)Tests", dependencies: dependencies, swiftSettings: fast)
}

let package = Package(
    name: "braid",
    products: [.executable(name: "braid", targets: ["braid"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2")
    ],
    targets: [
        // Layer 0: quantities, and what Swift can't see by itself.
        module("Measures", [], engine),
        .systemLibrary(
            name: "CLibevent", pkgConfig: "libevent", providers: [.apt(["libevent-dev"])]),
        .systemLibrary(
            name: "CLibcrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CMnl", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .systemLibrary(
            name: "CNFTables", pkgConfig: "libnftables", providers: [.apt(["libnftables-dev"])]),
        .systemLibrary(
            name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(
            name: "CQREncode", pkgConfig: "libqrencode", providers: [.apt(["libqrencode-dev"])]),
        .target(name: "CIPSecMB"),
        .target(name: "CDatagram"),
        .target(name: "CLab"),
        // Layer 1
        module("Buffers", ["Measures"], engine),
        // Layer 2
        module("Wire", ["Measures", "Buffers"], engine),
        module("Dialogue", ["Measures", "Wire"]),
        module("Crypto", ["Measures", "Buffers", "CLibcrypto", "CIPSecMB"], engine),
        // Layer 3
        module("Subflow", ["Measures", "Buffers", "Wire"], engine),
        // Layer 4
        module("Multipath", ["Measures", "Buffers", "Wire", "Crypto", "Subflow"], engine),
        // Layer 5
        module("Tunnel", ["Measures", "Buffers", "Wire", "Crypto", "Subflow", "Multipath"], engine),
        // Layer 6
        .target(
            name: "Simulator",
            dependencies: [
                "Measures", "Buffers", "Wire", "Crypto", "Subflow", "Multipath", "Tunnel"
            ],
            resources: [.embedInCode("Energy/Profiles")], swiftSettings: engine),
        module(
            "Shell",
            [
                "Measures", "Buffers", "Wire", "Dialogue", "Crypto", "Multipath", "Tunnel",
                "CLibevent", "CMnl", "CNFTables", "CQREncode", "CDatagram", logging
            ]),
        module("History", ["Measures", "Multipath", "Tunnel", "CSQLite", logging]),
        module("Rules", ["Measures", "Wire", "Multipath", "Tunnel"]),
        // Layer 7
        module(
            "Proxy",
            [
                "Measures", "Buffers", "Wire", "Dialogue", "Crypto", "Multipath", "Tunnel", "Rules",
                "Shell", "History", logging
            ]),
        module(
            "Concentrator",
            [
                "Measures", "Buffers", "Wire", "Dialogue", "Crypto", "Multipath", "Tunnel", "Shell",
                "History", logging
            ]),
        .target(
            name: "Page",
            dependencies: ["Measures", "Wire", "Multipath", "Tunnel", "Shell", "History"],
            resources: [.embedInCode("Files")], swiftSettings: fast),
        module("Lab", ["Measures", "Buffers", "Crypto", "Multipath", "Simulator", "CLab"]),
        // Layer 8
        module(
            "Configuration",
            [
                "Measures", "Wire", "Dialogue", "Crypto", "Tunnel", "Multipath", "Rules", "Shell",
                "History", "Proxy", "Concentrator", yams
            ]),
        .executableTarget(
            name: "braid",
            dependencies: [
                "Measures", "Crypto", "Multipath", "Rules", "Shell", "Tunnel", "History",
                "Proxy", "Concentrator", "Configuration", "Lab", "Page", "Simulator", "Wire",
                argumentParser, logging
            ],
            resources: [.embedInCode("Units")], swiftSettings: fast),
        // Tests
        tests("Measures", ["Measures"]),
        tests("Buffers", ["Buffers", "Measures"]),
        tests("Wire", ["Wire", "Buffers", "Measures"]),
        tests("Dialogue", ["Dialogue", "Wire"]),
        tests("Crypto", ["Crypto", "Buffers", "Measures"]),
        tests("Subflow", ["Subflow", "Wire", "Measures"]),
        tests("Multipath", ["Multipath", "Subflow", "Wire", "Measures"]),
        tests("Tunnel", ["Tunnel", "Multipath", "Wire", "Crypto", "Measures", "Buffers"]),
        tests(
            "Shell",
            ["Shell", "Dialogue", "Tunnel", "Wire", "Buffers", "Measures", "CDatagram", logging]),
        tests("History", ["History", "CSQLite"]),
        tests("Rules", ["Rules", "Tunnel", "Multipath", "Wire", "Measures"]),
        tests("Simulator", ["Simulator", "Tunnel", "Multipath", "Subflow", "Measures"]),
        // The simulator as a program (Tests/run builds it in release mode).
        .executableTarget(
            name: "simulate",
            dependencies: ["Simulator", "Measures", "Multipath", "Subflow", "Wire"],
            path: "Tests/Simulate",
            swiftSettings: fast),
        // The engine as a host of its own, against the kernel's MPTCP (Tests/Interop).
        .executableTarget(
            name: "mptcp-peer",
            dependencies: [
                "Measures", "Buffers", "Wire", "Crypto", "Subflow", "Multipath", "Simulator", "CLab"
            ],
            path: "Tests/Interop/Sources", swiftSettings: fast),
        // Figures of the engine; counts every allocation of its process.
        .target(name: "CountedMalloc", path: "Tests/Benchmarks/CountedMalloc"),
        .executableTarget(
            name: "benchmarks",
            dependencies: [
                "CountedMalloc", "Measures", "Buffers", "Wire", "Crypto", "Subflow", "Multipath",
                "Tunnel", "Rules", "Simulator"
            ],
            path: "Tests/Benchmarks/Sources", swiftSettings: fast),
        tests("Lab", ["Lab", "Measures"]),
        tests("Page", ["Page", "History", "Tunnel", "Multipath", "Shell", "Wire", "Measures"]),
        tests(
            "Proxy",
            [
                "Proxy", "Concentrator", "Dialogue", "Crypto", "Rules", "Shell", "History", "Wire",
                "Measures",
                "Buffers", "Tunnel", "Multipath", logging
            ]),
        tests("Concentrator", ["Concentrator", "Shell", "History", "Wire", "Measures", "Tunnel"]),
        tests(
            "Configuration",
            [
                "Configuration", "Proxy", "Concentrator", "Dialogue", "Crypto", "Measures", "Rules",
                "Shell", "History", "Wire", "Multipath", "Tunnel"
            ])
    ]
)
