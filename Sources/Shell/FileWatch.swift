import CLibevent
import Glibc
import Measures

/// Readiness of one descriptor: persistent, level-triggered read and write events, each enabled on its own.
///
/// Does not own the descriptor: call `cancel()` before closing it. Handlers may cancel or release the watch.
public final class FileWatch {
    public let descriptor: Int32
    /// Called while readable and `wantsRead`. Capture the owner weakly or `unowned`; `cancel()` forgets it.
    public var onReadable: (() -> Void)?
    public var onWritable: (() -> Void)?

    private let loop: EventLoop
    private var readEvent: OpaquePointer?
    private var writeEvent: OpaquePointer?

    init(loop: EventLoop, _ descriptor: Int32) {
        self.loop = loop
        self.descriptor = descriptor
    }

    deinit { free() }

    public var wantsRead = false {
        didSet {
            guard wantsRead != oldValue else { return }
            if readEvent == nil { readEvent = makeReadEvent() }
            if wantsRead { event_add(readEvent, nil) } else { event_del(readEvent) }
        }
    }

    public var wantsWrite = false {
        didSet {
            guard wantsWrite != oldValue else { return }
            if writeEvent == nil { writeEvent = makeWriteEvent() }
            if wantsWrite { event_add(writeEvent, nil) } else { event_del(writeEvent) }
        }
    }

    /// Ends both events and forgets the handlers.
    public func cancel() {
        wantsRead = false
        wantsWrite = false
        free()
        onReadable = nil
        onWritable = nil
    }

    // Two literals, since a C callback can't tell which of two events it serves without asking for the flags.
    private func makeReadEvent() -> OpaquePointer? {
        event_new(loop.base, descriptor, Int16(EV_READ | EV_PERSIST), { _, _, context in
            let watch = Unmanaged<FileWatch>.fromOpaque(context!).takeUnretainedValue()
            let action = watch.onReadable
            action?()
        }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func makeWriteEvent() -> OpaquePointer? {
        event_new(loop.base, descriptor, Int16(EV_WRITE | EV_PERSIST), { _, _, context in
            let watch = Unmanaged<FileWatch>.fromOpaque(context!).takeUnretainedValue()
            let action = watch.onWritable
            action?()
        }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func free() {
        if let event = readEvent { event_free(event); readEvent = nil }
        if let event = writeEvent { event_free(event); writeEvent = nil }
    }
}
