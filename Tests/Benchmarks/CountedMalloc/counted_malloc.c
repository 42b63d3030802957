// The allocator's entries, counted, then handed on to glibc. Linked into the benchmark only: an
// executable's own definitions come before those of libc for every library in the process.
#include "counted_malloc.h"
#include <errno.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static unsigned long calls;   // benchmarks have one thread

unsigned long counted_allocations(void) { return calls; }

void *malloc(size_t n) { calls++; return __libc_malloc(n); }
void *calloc(size_t n, size_t size) { calls++; return __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { calls++; return __libc_realloc(p, n); }
void free(void *p) { __libc_free(p); }
void *memalign(size_t align, size_t n) { calls++; return __libc_memalign(align, n); }
void *aligned_alloc(size_t align, size_t n) { calls++; return __libc_memalign(align, n); }
int posix_memalign(void **out, size_t align, size_t n) {
    calls++;
    void *p = __libc_memalign(align, n);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}
