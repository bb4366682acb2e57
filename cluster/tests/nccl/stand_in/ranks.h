/* A STAND-IN for tests, not NCCL: how its ranks exchange data and notice that their calls do not fit together. */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MAX_RANKS = 8, AREA_BYTES = 1 << 18, BOX_BYTES = 1 << 16, WORDS_BYTES = 512 };

typedef enum { ALL_REDUCE = 1, REDUCE_SCATTER, ALL_GATHER, BROADCAST, LEAVE, SEND, RECV, NUM_KINDS } Kind;
extern const char* const kind_names[NUM_KINDS];

typedef struct {
  Kind kind;
  int type, op;
  int root; /* or the peer */
  size_t count;
  const void* send;
  void* recv;
  size_t done_bytes; /* of a message */
} Call;

/* A message on its way from one rank to another, a piece at a time. */
typedef struct {
  _Atomic uint64_t written, read;
  size_t count;
  int type;
  size_t len;
  char data[BOX_BYTES];
} Box;

typedef struct {
  atomic_int size, num_joined, failing, failed;
  char words[WORDS_BYTES];
  _Atomic uint64_t arrived[MAX_RANKS], num_collectives[MAX_RANKS];
  Call calls[MAX_RANKS];
  char areas[MAX_RANKS][AREA_BYTES];
  Box boxes[MAX_RANKS][MAX_RANKS]; /* from, to */
} Shared;

typedef struct {
  Shared* shared;
  int rank, size;
  char name[128];
  atomic_int* given_up;
} Ranks;

size_t element_bytes(int type);

/* These return 0 on success; otherwise `words` says what failed. */
int ranks_open(Ranks* ranks, const char* name, int size, int rank);
int ranks_meet(Ranks* ranks);
int ranks_run(Ranks* ranks, Call* calls, int num_calls);
int ranks_fail(Ranks* ranks, const char* format, ...);
