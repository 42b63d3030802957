#pragma once
// Between struct braid_address and the kernel's address structures.
#include "CDatagram.h"
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static inline void braid_to_in6(const struct braid_address *a, struct in6_addr *out) {
    uint64_t words[2] = { htobe64(a->high), htobe64(a->low) };
    memcpy(out, words, sizeof words);
}

static inline void braid_from_in6(const struct in6_addr *in, uint16_t port, struct braid_address *out) {
    uint64_t words[2];
    memcpy(words, in, sizeof words);
    *out = (struct braid_address){ be64toh(words[0]), be64toh(words[1]), port, 0 };
}

static inline socklen_t braid_to_sockaddr(const struct braid_address *a, struct sockaddr_storage *out) {
    if (a->is_ipv4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out;
        memset(v4, 0, sizeof *v4);
        v4->sin_family = AF_INET;
        v4->sin_port = htons(a->port);
        v4->sin_addr.s_addr = htonl((uint32_t)a->low);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    memset(v6, 0, sizeof *v6);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(a->port);
    braid_to_in6(a, &v6->sin6_addr);
    return sizeof *v6;
}

static inline void braid_from_sockaddr(const struct sockaddr_storage *in, struct braid_address *out) {
    if (in->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)in;
        braid_from_in6(&v6->sin6_addr, ntohs(v6->sin6_port), out);
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)in;
        int known = in->ss_family == AF_INET;
        *out = (struct braid_address){ .is_ipv4 = 1 };
        if (known) { out->low = ntohl(v4->sin_addr.s_addr); out->port = ntohs(v4->sin_port); }
    }
}
