import CDatagram
import CLibevent
import Glibc
import Measures

/// A small HTTP server for watching: `/` (HTML), `/status` (JSON), `/metrics` (Prometheus text).
public final class StatusPage {
    /// What the pages say, made anew for every request.
    public struct Content {
        public var html: () -> String
        public var json: () -> String
        public var metrics: () -> String
        public init(
            html: @escaping () -> String, json: @escaping () -> String,
            metrics: @escaping () -> String
        ) {
            self.html = html
            self.json = json
            self.metrics = metrics
        }
    }

    /// Where it listens; with port 0 asked for, the system's choice.
    public let address: SocketAddress
    private let http: OpaquePointer
    private let content: Content
    private let isLocal: Bool
    private let listener: OpaquePointer?
    private let loop: EventLoop
    private var again: LoopTimer?
    /// Until it is tried again, where there was no descriptor.
    private static let pauseTime = Interval.seconds(1)
    private var isOpen = true

    public init(_ address: SocketAddress, loop: EventLoop, content: Content) throws(SystemError) {
        guard let http = evhttp_new(loop.base) else {
            throw SystemError("set up the status page", code: ENOMEM)
        }
        guard let bound = evhttp_bind_socket_with_handle(http, "\(address.address)", address.port)
        else {
            let code = errno
            evhttp_free(http)
            throw SystemError("listen on \(address) for the status page", code: code)
        }
        var local = braid_address(address)
        _ = braid_local_address(evhttp_bound_socket_get_fd(bound), &local)
        self.address = SocketAddress(local)
        self.loop = loop
        self.http = http
        listener = evhttp_bound_socket_get_listener(bound)
        self.content = content
        isLocal =
            address.address.isIPv4
            ? address.address.v4 >> 24 == 127
            : address.address == IPAddress(v6High: 0, low: 1)
        evhttp_set_timeout(http, 10)
        evhttp_set_max_headers_size(http, 16 << 10)
        evhttp_set_max_body_size(http, 1 << 10)
        evhttp_set_allowed_methods(http, UInt16(EVHTTP_REQ_GET.rawValue | EVHTTP_REQ_HEAD.rawValue))
        evhttp_set_gencb(
            http,
            { request, context in
                Unmanaged<StatusPage>.fromOpaque(context!).takeUnretainedValue().answer(request!)
            }, Unmanaged.passUnretained(self).toOpaque())
        pauseOnErrors()
    }

    deinit { close() }

    public func close() {
        guard isOpen else { return }
        isOpen = false
        again = nil
        evhttp_free(http)
    }

    /// Without a descriptor whoever waits stays in the queue, and the loop would do nothing but
    /// find that out.
    private func pauseOnErrors() {
        guard let listener else { return }
        // The argument is evhttp's, so that the page can't be told: it listens again once a second,
        // whether it had stopped or not.
        evconnlistener_set_error_cb(listener) { listener, _ in evconnlistener_disable(listener) }
        let again = loop.timer(for: self) { $0.listenAgain() }
        again.arm(after: Self.pauseTime)
        self.again = again
    }

    private func listenAgain() {
        if let listener { evconnlistener_enable(listener) }
        again?.arm(after: Self.pauseTime)
    }

    private func answer(_ request: OpaquePointer) {
        guard !isLocal || isLocalName(request) else {
            // Another site's name that resolves to this machine: a browser is being used to read
            // the page.
            send(request, 403, "text/plain", "Ask by address or as localhost.\n")
            return
        }
        let uri = evhttp_request_get_evhttp_uri(request)
        let path = uri.flatMap { evhttp_uri_get_path($0) }.map { String(cString: $0) }
        switch path {
        case "/", "": send(request, 200, "text/html; charset=utf-8", content.html())
        case "/status": send(request, 200, "application/json", content.json())
        case "/metrics":
            send(request, 200, "text/plain; version=0.0.4; charset=utf-8", content.metrics())
        default: send(request, 404, "text/plain", "Pages: /, /status, /metrics\n")
        }
    }

    private func isLocalName(_ request: OpaquePointer) -> Bool {
        guard let host = evhttp_request_get_host(request).map({ String(cString: $0) }) else {
            return true
        }
        let bare =
            host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        return bare.lowercased() == "localhost" || IPAddress(bare) != nil
    }

    private func send(_ request: OpaquePointer, _ code: Int32, _ type: String, _ body: String) {
        let headers = evhttp_request_get_output_headers(request)
        evhttp_add_header(headers, "Content-Type", type)
        evhttp_add_header(headers, "Cache-Control", "no-store")
        evhttp_add_header(headers, "X-Content-Type-Options", "nosniff")
        let buffer = evhttp_request_get_output_buffer(request)
        var text = body
        text.withUTF8 { _ = evbuffer_add(buffer, $0.baseAddress, $0.count) }
        evhttp_send_reply(request, code, nil, nil)
    }
}
