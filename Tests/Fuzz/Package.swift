// swift-tools-version: 6.2
// The fuzz targets: the same sources, instrumented for libFuzzer and with address checks
// (docs/operations.md). A package of its own, so that the normal build knows nothing of it.
import PackageDescription

// Optimised, or the fuzzer would be slow; assertions stay, since they are what it looks for.
let watched: [SwiftSetting] = [
    .unsafeFlags([
        "-sanitize=fuzzer,address", "-assert-config", "Debug", "-enable-testing",
        // As in the product: the tests look for overlapping accesses.
        "-enforce-exclusivity=unchecked"
    ])
]
// What only stands between the configuration and its types is built as quickly as possible.
let unwatched: [SwiftSetting] = [.unsafeFlags(["-Onone", "-enable-testing"])]
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

func module(
    _ name: String, _ dependencies: [Target.Dependency], _ settings: [SwiftSetting] = watched
) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/\(name)", swiftSettings: settings)
}

let package = Package(
    name: "fuzz",
    dependencies: [
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2")
    ],
    targets: [
        .systemLibrary(name: "CLibevent", path: "Sources/CLibevent", pkgConfig: "libevent"),
        .systemLibrary(name: "CLibcrypto", path: "Sources/CLibcrypto", pkgConfig: "libcrypto"),
        .systemLibrary(name: "CMnl", path: "Sources/CMnl", pkgConfig: "libmnl"),
        .systemLibrary(name: "CNFTables", path: "Sources/CNFTables", pkgConfig: "libnftables"),
        .systemLibrary(name: "CSQLite", path: "Sources/CSQLite", pkgConfig: "sqlite3"),
        .systemLibrary(name: "CQREncode", path: "Sources/CQREncode", pkgConfig: "libqrencode"),
        .target(name: "CIPSecMB", path: "Sources/CIPSecMB"),
        .target(name: "CDatagram", path: "Sources/CDatagram"),
        .target(name: "CFuzzer", path: "CFuzzer"),
        module("Measures", []),
        module("Buffers", ["Measures"]),
        module("Wire", ["Measures", "Buffers"]),
        module("Dialogue", ["Measures", "Wire"]),
        module("Crypto", ["Measures", "Buffers", "CLibcrypto", "CIPSecMB"]),
        module("Subflow", ["Measures", "Buffers", "Wire"]),
        module("Multipath", ["Measures", "Buffers", "Wire", "Crypto", "Subflow"]),
        module("Tunnel", ["Measures", "Buffers", "Wire", "Crypto", "Subflow", "Multipath"]),
        module("History", ["Measures", "Multipath", "Tunnel", "CSQLite", logging]),
        module("Rules", ["Measures", "Wire", "Multipath", "Tunnel"]),
        module(
            "Shell",
            [
                "Measures", "Buffers", "Wire", "Dialogue", "Crypto", "Multipath", "Tunnel",
                "CLibevent", "CMnl", "CNFTables", "CQREncode", "CDatagram", logging
            ]),
        module(
            "Proxy",
            [
                "Measures", "Buffers", "Wire", "Dialogue", "Crypto", "Multipath", "Tunnel", "Rules",
                "Shell", "History", logging
            ], unwatched),
        module(
            "Concentrator",
            [
                "Measures", "Buffers", "Wire", "Dialogue", "Crypto", "Multipath", "Tunnel", "Shell",
                "History", logging
            ], unwatched),
        module(
            "Configuration",
            [
                "Measures", "Wire", "Dialogue", "Crypto", "Tunnel", "Multipath", "Rules", "Shell",
                "History", "Proxy", "Concentrator", yams
            ]),
        .executableTarget(
            name: "fuzz",
            dependencies: [
                "CFuzzer", "Measures", "Buffers", "Wire", "Dialogue", "Crypto", "Subflow",
                "Multipath", "Tunnel", "Shell", "CMnl", "Configuration", "History", "Proxy"
            ],
            path: "Program", swiftSettings: watched,
            // gold, the default here, stumbles over what the sanitizers add.
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])])
    ]
)
