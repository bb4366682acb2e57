/* A STAND-IN for tests, not CUDA and not NCCL: what the two halves of the library know of each other. */
#pragma once
#include <stddef.h>

typedef struct Stream Stream;

/* Has the stream do `work` after all it was asked before. */
void stream_enqueue(Stream* stream, void (*work)(void*), void* argument);

/* Whose memory the bytes are: a GPU's number; ANY_GPU's if malloc gave them, as libtorch's tensors; or NO_GPU's. */
enum { ANY_GPU = -1, NO_GPU = -2 };
int memory_owner(const void* address, size_t bytes);

/* The GPU that the process works with. */
int current_gpu(void);
