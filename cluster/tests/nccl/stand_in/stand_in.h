/* A STAND-IN for tests, not CUDA and not NCCL: what the two halves of the library share. */
#pragma once
#include <stddef.h>

typedef struct Stream Stream;

/* Has the stream do `work` after all earlier work. */
void stream_enqueue(Stream* stream, void (*work)(void*), void* argument);

/* The owner of these bytes: a GPU's number, ANY_GPU for other mapped memory, as of libtorch's tensors, or NO_GPU. */
enum { ANY_GPU = -1, NO_GPU = -2 };
int memory_owner(const void* address, size_t bytes);

/* Where the host finds what lies at an address of a GPU. Of libtorch's stand-in device (tests/stand_in) that is
 * elsewhere; all other memory here is the host's own. */
void* host_address(const void* address);

/* The GPU that the process works with. */
int current_gpu(void);
