#define _GNU_SOURCE
#include "CIPSecMB.h"
#include <stdlib.h>
#include <string.h>

void __attribute__((noinline)) braid_wipe_stack(void) {
    unsigned char below[16384];
    explicit_bzero(below, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
}

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#include <asm/hwcap.h>
#endif

int braid_cpu_has_aes(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__) && defined(__linux__)
    unsigned long caps = getauxval(AT_HWCAP);
    return (caps & HWCAP_AES) != 0 && (caps & HWCAP_PMULL) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
    return 1;
#else
    return 0;
#endif
}

#if defined(__x86_64__) && defined(__linux__) && __has_include(<intel-ipsec-mb.h>)

#include <dlfcn.h>
#include <intel-ipsec-mb.h>

struct braid_gcm { struct gcm_key_data data; };

static IMB_MGR *manager;   // its table of functions is only read after loading

static int known_answer(void);

static void load(void) {
    if (!braid_cpu_has_aes()) return;
    void *library = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    unsigned (*version)(void) = (unsigned (*)(void))dlsym(library, "imb_get_version");
    IMB_MGR *(*allocate)(uint64_t) = (IMB_MGR *(*)(uint64_t))dlsym(library, "alloc_mb_mgr");
    void (*initialise)(IMB_MGR *, IMB_ARCH *) =
        (void (*)(IMB_MGR *, IMB_ARCH *))dlsym(library, "init_mb_mgr_auto");
    // The manager's layout may differ between minor versions: only the one of the header is right.
    if (version && allocate && initialise && (version() >> 8) == (IMB_VERSION_NUM >> 8)) {
        IMB_MGR *made = allocate(0);
        if (made) {
            initialise(made, NULL);
            manager = made;
            if ((made->features & IMB_FEATURE_AESNI) && (made->features & IMB_FEATURE_PCLMULQDQ)
                && known_answer()) return;   // stays loaded
            manager = NULL;
        }
    }
    dlclose(library);
}

static void __attribute__((noinline)) load_once(void) {
    static int state;   // 0 not tried, 1 being tried, 2 tried
    int expected = 0;
    if (__atomic_compare_exchange_n(&state, &expected, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        load();
        __atomic_store_n(&state, 2, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != 2) {}
}

int braid_gcm_available(void) { load_once(); return manager != NULL; }

static braid_gcm *expand(const uint8_t key[32]) {
    void *memory = NULL;
    size_t size = (sizeof(struct braid_gcm) + 63) & ~(size_t)63;
    if (posix_memalign(&memory, 64, size) != 0) return NULL;
    memset(memory, 0, size);
    IMB_AES256_GCM_PRE(manager, key, &((braid_gcm *)memory)->data);
    return memory;
}

braid_gcm *braid_gcm_new(const uint8_t key[32]) { return braid_gcm_available() ? expand(key) : NULL; }

void braid_gcm_free(braid_gcm *key) {
    if (!key) return;
    explicit_bzero(key, sizeof *key);
    free(key);
}

void braid_gcm_seal(const braid_gcm *key, const uint8_t nonce[12], braid_piece associated,
                    braid_piece head, braid_piece first, braid_piece second, uint8_t *out) {
    struct gcm_context_data context;
    const struct gcm_key_data *data = &key->data;
    IMB_AES256_GCM_INIT(manager, data, &context, nonce, associated.bytes, associated.count);
    if (head.count) IMB_AES256_GCM_ENC_UPDATE(manager, data, &context, out, head.bytes, head.count);
    out += head.count;
    if (first.count) IMB_AES256_GCM_ENC_UPDATE(manager, data, &context, out, first.bytes, first.count);
    out += first.count;
    if (second.count) IMB_AES256_GCM_ENC_UPDATE(manager, data, &context, out, second.bytes, second.count);
    out += second.count;
    IMB_AES256_GCM_ENC_FINALIZE(manager, data, &context, out, 16);
}

int braid_gcm_open(const braid_gcm *key, const uint8_t nonce[12], braid_piece associated,
                   uint8_t *record, size_t count) {
    struct gcm_context_data context;
    const struct gcm_key_data *data = &key->data;
    uint64_t computed[2], sent[2];
    size_t length = count - 16;
    IMB_AES256_GCM_INIT(manager, data, &context, nonce, associated.bytes, associated.count);
    if (length) IMB_AES256_GCM_DEC_UPDATE(manager, data, &context, record, record, length);
    IMB_AES256_GCM_DEC_FINALIZE(manager, data, &context, (uint8_t *)computed, 16);
    memcpy(sent, record + length, 16);
    // No branch depends on which byte differs.
    return ((computed[0] ^ sent[0]) | (computed[1] ^ sent[1])) == 0;
}

// Test case 15 of "The Galois/Counter Mode of Operation" (McGrew, Viega), sealed in three pieces of uneven
// length and opened again.
static int known_answer(void) {
    static const uint8_t key[32] = {
        0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
        0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
    static const uint8_t nonce[12] = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
    static const uint8_t plain[64] = {
        0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a,
        0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72,
        0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25,
        0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39, 0x1a, 0xaf, 0xd2, 0x55};
    static const uint8_t tag[16] = {
        0xb0, 0x94, 0xda, 0xc5, 0xd9, 0x34, 0x71, 0xbd, 0xec, 0x1a, 0x50, 0x22, 0x70, 0xe3, 0xcc, 0x6c};
    uint8_t out[80];
    braid_gcm *expanded = expand(key);
    if (!expanded) return 0;
    braid_gcm_seal(expanded, nonce, (braid_piece){NULL, 0}, (braid_piece){plain, 5},
                   (braid_piece){plain + 5, 30}, (braid_piece){plain + 35, 29}, out);
    int right = memcmp(out + 64, tag, 16) == 0
        && braid_gcm_open(expanded, nonce, (braid_piece){NULL, 0}, out, 80)
        && memcmp(out, plain, 64) == 0;
    braid_gcm_free(expanded);
    return right;
}

#else

int braid_gcm_available(void) { return 0; }
braid_gcm *braid_gcm_new(const uint8_t key[32]) { (void)key; return NULL; }
void braid_gcm_free(braid_gcm *key) { (void)key; }
void braid_gcm_seal(const braid_gcm *key, const uint8_t nonce[12], braid_piece associated,
                    braid_piece head, braid_piece first, braid_piece second, uint8_t *out) {
    (void)key; (void)nonce; (void)associated; (void)head; (void)first; (void)second; (void)out;
    abort();   // never reached: there is no key without the library
}
int braid_gcm_open(const braid_gcm *key, const uint8_t nonce[12], braid_piece associated,
                   uint8_t *record, size_t count) {
    (void)key; (void)nonce; (void)associated; (void)record; (void)count;
    abort();
}

#endif
