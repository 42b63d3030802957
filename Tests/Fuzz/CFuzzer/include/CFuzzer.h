// libFuzzer's entry for programs that have a main of their own (llvm.org/docs/LibFuzzer.html,
// "Using libFuzzer as a library"): runs `input` over the corpora and options in the arguments.
#pragma once
#include <stddef.h>
#include <stdint.h>
int LLVMFuzzerRunDriver(int *count, char ***arguments, int (*input)(const uint8_t *data, size_t size));
