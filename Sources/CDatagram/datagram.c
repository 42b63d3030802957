#include "CDatagram.h"
int braid_cdatagram_present(void) { return 1; }
