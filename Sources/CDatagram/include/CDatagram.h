#pragma once
// Batched datagram I/O and control messages that Glibc's Swift overlay does not show.
int braid_cdatagram_present(void);
