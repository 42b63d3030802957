import Glibc

private final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
}

/// Runs `body` in a new thread; calling the result waits for its end.
func inThread<T>(_ body: @escaping () -> T) -> () -> T {
    let result = Box<T?>(nil)
    var thread = pthread_t()
    pthread_create(
        &thread, nil,
        { context in
            Unmanaged<Work>.fromOpaque(context!).takeRetainedValue().body()
            return nil
        }, Unmanaged.passRetained(Work { result.value = body() }).toOpaque())
    return {
        pthread_join(thread, nil)
        return result.value!
    }
}

final class Box<Value> {
    var value: Value
    init(_ value: Value) { self.value = value }
}
