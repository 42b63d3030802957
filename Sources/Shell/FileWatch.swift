import CLibevent
import Glibc
import Measures

/// Readiness of one descriptor: persistent, level-triggered read and write events, each enabled on
/// its own.
///
/// Does not own the descriptor: call `cancel()` before closing it. Handlers may cancel or release
/// the watch, and release their own owner: it is held for as long as the handler runs, and not
/// longer.
public final class FileWatch {
    /// Whose readiness is told; owned by somebody else, who cancels the watch before closing it.
    public let descriptor: Int32
    private var readable: (() -> Void)?
    private var writable: (() -> Void)?

    private let loop: EventLoop
    private var readEvent: OpaquePointer?
    private var writeEvent: OpaquePointer?

    init(loop: EventLoop, _ descriptor: Int32) {
        self.loop = loop
        self.descriptor = descriptor
    }

    deinit { free() }

    /// Whether `onReadable`'s handler is called while there is something to read, an end or an
    /// error.
    public var wantsRead = false {
        didSet {
            guard wantsRead != oldValue else { return }
            if readEvent == nil { readEvent = makeReadEvent() }
            if wantsRead { event_add(readEvent, nil) } else { event_del(readEvent) }
        }
    }

    /// Whether `onWritable`'s handler is called while the kernel takes bytes, or when there is an
    /// error.
    public var wantsWrite = false {
        didSet {
            guard wantsWrite != oldValue else { return }
            if writeEvent == nil { writeEvent = makeWriteEvent() }
            if wantsWrite { event_add(writeEvent, nil) } else { event_del(writeEvent) }
        }
    }

    // MARK: Handlers

    /// Calls `action` while the descriptor is readable and `wantsRead`, for as long as `owner`
    /// lives. The watch does not keep `owner`, so `action` must get at it by its argument alone.
    public func onReadable<Owner: AnyObject>(for owner: Owner, _ action: @escaping (Owner) -> Void)
    {
        readable = whileLiving(owner, action)
    }

    /// The same while it is writable and `wantsWrite`.
    public func onWritable<Owner: AnyObject>(for owner: Owner, _ action: @escaping (Owner) -> Void)
    {
        writable = whileLiving(owner, action)
    }

    /// Disables both events and forgets the handlers; others may follow.
    public func rest() {
        wantsRead = false
        wantsWrite = false
        readable = nil
        writable = nil
    }

    /// Ends both events and forgets the handlers.
    public func cancel() {
        rest()
        free()
    }

    private func run(_ action: (() -> Void)?) {
        guard let action else { return }
        withExtendedLifetime(self) { loop.perform(.socket, action) }
    }

    // Two literals, since a C callback can't tell which of two events it serves without asking for
    // the flags.
    private func makeReadEvent() -> OpaquePointer? {
        event_new(
            loop.base, descriptor, Int16(EV_READ | EV_PERSIST),
            { _, _, context in
                let watch = Unmanaged<FileWatch>.fromOpaque(context!).takeUnretainedValue()
                watch.run(watch.readable)
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func makeWriteEvent() -> OpaquePointer? {
        event_new(
            loop.base, descriptor, Int16(EV_WRITE | EV_PERSIST),
            { _, _, context in
                let watch = Unmanaged<FileWatch>.fromOpaque(context!).takeUnretainedValue()
                watch.run(watch.writable)
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func free() {
        if let event = readEvent { event_free(event); readEvent = nil }
        if let event = writeEvent { event_free(event); writeEvent = nil }
    }
}
