#pragma once
// AES-256-GCM records on x86-64 by intel-ipsec-mb: init, update and finalize, so that a record's pieces
// are sealed from where they lie. The library is opened at run time (libIPSec_MB.so.1); built without its
// header, or run without the library or the processor's instructions, `braid_gcm_available` says 0.
#include <stddef.h>
#include <stdint.h>

/// Overwrites the stack below the caller.
void braid_wipe_stack(void);

/// Whether this processor has instructions for AES and carry-less multiplication.
int braid_cpu_has_aes(void);
/// Whether the functions below may be used. Loads the library once and checks it with a known answer.
int braid_gcm_available(void);

typedef struct braid_gcm braid_gcm;   // an expanded key
/// NULL where unavailable or out of memory.
braid_gcm *braid_gcm_new(const uint8_t key[32]);
/// Wipes and frees the key.
void braid_gcm_free(braid_gcm *key);

typedef struct { const uint8_t *bytes; size_t count; } braid_piece;

/// Seals head ‖ first ‖ second to out, then the 16-byte tag. `out` may be where `head` lies; the other
/// pieces must not overlap it.
void braid_gcm_seal(const braid_gcm *key, const uint8_t nonce[12], braid_piece associated,
                    braid_piece head, braid_piece first, braid_piece second, uint8_t *out);
/// Opens count bytes (ciphertext and tag, at least 16) in place; 1 where authentic, else 0.
int braid_gcm_open(const braid_gcm *key, const uint8_t nonce[12], braid_piece associated,
                   uint8_t *record, size_t count);
