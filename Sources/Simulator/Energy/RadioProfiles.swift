/// The profiles that are shipped (`Profiles`), by their names.
extension RadioProfile {
    /// All of them.
    public static let shipped: [RadioProfile] = [
        PackageResources.umts_huang_radio, PackageResources.umts_balasubramanian_radio,
        PackageResources.umts_n950_radio, PackageResources.lte_huang_radio,
        PackageResources.wifi_huang_radio, PackageResources.wifi_balasubramanian_radio,
        PackageResources.wifi_n950_radio
    ].map { bytes in
        // A file of ours that can't be read is found by the tests.
        do { return try RadioProfile(String(decoding: bytes, as: UTF8.self)) } catch {
            preconditionFailure("\(error)")
        }
    }

    /// The one with this name; nil where there is none.
    public static func named(_ name: String) -> RadioProfile? {
        shipped.first { $0.name == name }
    }
}
