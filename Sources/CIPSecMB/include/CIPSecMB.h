#pragma once
// Records on x86-64 by intel-ipsec-mb where the library was there at build time.
int braid_ipsecmb_available(void);
