#include "CIPSecMB.h"
int braid_ipsecmb_available(void) { return 0; }
