/// The page's own files (`Files`), which are part of the program.
struct PageFile {
    var bytes: [UInt8]
    var type: String

    /// Nil where there is none.
    static func named(_ path: String) -> PageFile? {
        switch path {
        case "/":
            PageFile(bytes: PackageResources.page_html, type: "text/html; charset=utf-8")
        case "/page.css":
            PageFile(bytes: PackageResources.page_css, type: "text/css; charset=utf-8")
        case "/page.js":
            PageFile(bytes: PackageResources.page_js, type: "text/javascript; charset=utf-8")
        case "/icon.svg": PageFile(bytes: PackageResources.icon_svg, type: "image/svg+xml")
        default: nil
        }
    }
}
