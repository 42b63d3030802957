#ifndef COUNTED_MALLOC_H
#define COUNTED_MALLOC_H

/* Calls of malloc, calloc, realloc and the aligned kinds since the program began. */
unsigned long counted_allocations(void);

#endif
