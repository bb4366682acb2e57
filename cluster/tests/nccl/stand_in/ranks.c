/* A STAND-IN for tests, not NCCL: see ranks.h. */
#define _GNU_SOURCE
#include "ranks.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

enum { UINT8 = 1, INT64 = 4, FLOAT32 = 7, FLOAT64 = 8, BFLOAT16 = 9 };
enum { SUM = 0, MAX = 2, MIN = 3 };

const char* const kind_names[NUM_KINDS] = {"", "all-reduce", "reduce-scatter", "all-gather", "broadcast", "leave", "send", "receive"};

size_t element_bytes(int type) {
  return type == UINT8 ? 1 : type == BFLOAT16 ? 2 : type == FLOAT32 ? 4 : type == INT64 || type == FLOAT64 ? 8 : 0;
}

int ranks_fail(Ranks* ranks, const char* format, ...) {
  int none = 0;
  if (atomic_compare_exchange_strong(&ranks->shared->failing, &none, 1)) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ranks->shared->words, WORDS_BYTES, format, arguments);
    va_end(arguments);
    atomic_store(&ranks->shared->failed, 1);
  }
  return 1;
}

static int is_hopeless(Ranks* ranks) { return atomic_load(&ranks->shared->failed) || atomic_load(ranks->given_up); }

int ranks_open(Ranks* ranks, const char* name, int size, int rank) {
  if (size > MAX_RANKS || rank < 0 || rank >= size) return 1;
  const int file = shm_open(name, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared))) return 1;
  ranks->shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  ranks->rank = rank;
  ranks->size = size;
  snprintf(ranks->name, sizeof ranks->name, "%s", name);
  return ranks->shared == MAP_FAILED;
}

int ranks_meet(Ranks* ranks) {
  int none = 0;
  Shared* shared = ranks->shared;
  if (!atomic_compare_exchange_strong(&shared->size, &none, ranks->size) && none != ranks->size)
    return ranks_fail(ranks, "rank %d is one of %d, others of %d", ranks->rank, ranks->size, none);
  atomic_fetch_add(&shared->num_joined, 1);
  while (atomic_load(&shared->num_joined) < ranks->size) {
    if (is_hopeless(ranks)) return 1;
    usleep(100);
  }
  if (ranks->rank == 0) shm_unlink(ranks->name);
  return 0;
}

static int barrier(Ranks* ranks) {
  Shared* shared = ranks->shared;
  const uint64_t own = atomic_fetch_add(&shared->arrived[ranks->rank], 1) + 1;
  for (int rank = 0; rank < ranks->size; ++rank)
    while (atomic_load(&shared->arrived[rank]) < own) {
      if (is_hopeless(ranks)) return 1;
      sched_yield();
    }
  return 0;
}

static float widened(uint16_t half) {
  const uint32_t bits = (uint32_t)half << 16;
  float value;
  return memcpy(&value, &bits, 4), value;
}

/* To the nearest, ties to even. */
static uint16_t narrowed(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

#define COMBINED(a, b) (op == SUM ? (a) + (b) : op == MAX ? ((a) > (b) ? (a) : (b)) : ((a) < (b) ? (a) : (b)))
#define COMBINE(TYPE)                                                     \
  for (size_t i = 0; i < count; ++i) {                                    \
    const TYPE a = ((const TYPE*)from)[i], b = ((TYPE*)into)[i];          \
    ((TYPE*)into)[i] = COMBINED(b, a);                                    \
  }                                                                       \
  break

static void combine(void* into, const void* from, size_t count, int type, int op) {
  switch (type) {
    case UINT8: COMBINE(uint8_t);
    case INT64: COMBINE(int64_t);
    case FLOAT32: COMBINE(float);
    case FLOAT64: COMBINE(double);
    default:
      for (size_t i = 0; i < count; ++i) {
        const float a = widened(((const uint16_t*)from)[i]), b = widened(((uint16_t*)into)[i]);
        ((uint16_t*)into)[i] = narrowed(COMBINED(b, a));
      }
  }
}

/* Adds all ranks' `send` in rank order, into `recv` if it is not null. */
static int reduce(Ranks* ranks, const Call* call, const char* send, char* recv) {
  const size_t size = element_bytes(call->type), bytes = call->count * size;
  for (size_t at = 0; at < bytes; at += AREA_BYTES) {
    const size_t len = bytes - at < AREA_BYTES ? bytes - at : AREA_BYTES;
    memcpy(ranks->shared->areas[ranks->rank], send + at, len);
    if (barrier(ranks)) return 1;
    if (recv) {
      memcpy(recv + at, ranks->shared->areas[0], len);
      for (int rank = 1; rank < ranks->size; ++rank)
        combine(recv + at, ranks->shared->areas[rank], len / size, call->type, call->op);
    }
    if (barrier(ranks)) return 1;
  }
  return 0;
}

static int broadcast(Ranks* ranks, const Call* call, int root, const char* send, char* recv) {
  const size_t bytes = call->count * element_bytes(call->type);
  for (size_t at = 0; at < bytes; at += AREA_BYTES) {
    const size_t len = bytes - at < AREA_BYTES ? bytes - at : AREA_BYTES;
    if (ranks->rank == root) memcpy(ranks->shared->areas[root], send + at, len);
    if (barrier(ranks)) return 1;
    memmove(recv + at, ranks->shared->areas[root], len);
    if (barrier(ranks)) return 1;
  }
  return 0;
}

static int do_all_fit(Ranks* ranks, const Call* call) {
  for (int from = 0; from < ranks->size; ++from) {
    const Box* box = &ranks->shared->boxes[from][ranks->rank];
    if (atomic_load(&box->written) != atomic_load(&box->read))
      return ranks_fail(ranks, "a message of rank %d was never received by rank %d", from, ranks->rank);
  }
  ranks->shared->calls[ranks->rank] = *call;
  atomic_fetch_add(&ranks->shared->num_collectives[ranks->rank], 1);
  if (barrier(ranks)) return 1;
  const Call* first = &ranks->shared->calls[0];
  for (int rank = 1; rank < ranks->size; ++rank) {
    const Call* one = &ranks->shared->calls[rank];
    if (one->kind != first->kind || one->type != first->type || one->op != first->op || one->root != first->root ||
        one->count != first->count)
      return ranks_fail(ranks, "calls differ: rank 0 %s of %zu of type %d (op %d, root %d), rank %d %s of %zu of type %d "
                        "(op %d, root %d)", kind_names[first->kind], first->count, first->type, first->op, first->root, rank,
                        kind_names[one->kind], one->count, one->type, one->op, one->root);
  }
  return barrier(ranks);
}

static int collective(Ranks* ranks, const Call* call) {
  if (do_all_fit(ranks, call)) return 1;
  const size_t bytes = call->count * element_bytes(call->type);
  const char* send = call->send;
  char* recv = call->recv;
  switch (call->kind) {
    case ALL_REDUCE: return reduce(ranks, call, send, recv);
    case BROADCAST: return broadcast(ranks, call, call->root, send, recv);
    case REDUCE_SCATTER:
      for (int owner = 0; owner < ranks->size; ++owner)
        if (reduce(ranks, call, send + owner * bytes, owner == ranks->rank ? recv : NULL)) return 1;
      return 0;
    case ALL_GATHER:
      for (int owner = 0; owner < ranks->size; ++owner)
        if (broadcast(ranks, call, owner, send, recv + owner * bytes)) return 1;
      return 0;
    default: return 0;
  }
}

/* Moves one piece. Returns 1 if it did, 0 if it could not yet, -1 on an error. */
static int move(Ranks* ranks, Call* call) {
  const int is_send = call->kind == SEND;
  Box* box = is_send ? &ranks->shared->boxes[ranks->rank][call->root] : &ranks->shared->boxes[call->root][ranks->rank];
  const size_t bytes = call->count * element_bytes(call->type), rest = bytes - call->done_bytes;
  /* Read first: what a peer sent before it entered a collective is in the box by then. */
  const uint64_t theirs = atomic_load(&ranks->shared->num_collectives[call->root]);
  const int is_full = atomic_load(&box->written) != atomic_load(&box->read);
  if (is_send == is_full) {
    if (theirs > atomic_load(&ranks->shared->num_collectives[ranks->rank])) {
      ranks_fail(ranks, "calls differ: rank %d exchanges messages with rank %d, which is in a collective", ranks->rank,
                 call->root);
      return -1;
    }
    return 0;
  }
  if (is_send) {
    box->len = rest < BOX_BYTES ? rest : BOX_BYTES;
    box->count = call->count;
    box->type = call->type;
    memcpy(box->data, (const char*)call->send + call->done_bytes, box->len);
    call->done_bytes += box->len;
    atomic_fetch_add(&box->written, 1);
    return 1;
  }
  if (box->count != call->count || box->type != call->type) {
    ranks_fail(ranks, "messages differ: rank %d sends %zu of type %d, rank %d receives %zu of type %d", call->root,
               box->count, box->type, ranks->rank, call->count, call->type);
    return -1;
  }
  memcpy((char*)call->recv + call->done_bytes, box->data, box->len);
  call->done_bytes += box->len;
  atomic_fetch_add(&box->read, 1);
  return 1;
}

/* Exchanges all messages of a group at once. */
static int exchange(Ranks* ranks, Call* calls, int num_calls) {
  for (;;) {
    int is_over = 1, moved = 0;
    for (int i = 0; i < num_calls; ++i) {
      Call* call = &calls[i];
      if (call->kind < SEND || call->done_bytes == call->count * element_bytes(call->type)) continue;
      is_over = 0;
      const int step = move(ranks, call);
      if (step < 0) return 1;
      moved |= step;
    }
    if (is_over) return 0;
    if (is_hopeless(ranks)) return 1;
    if (!moved) sched_yield();
  }
}

int ranks_run(Ranks* ranks, Call* calls, int num_calls) {
  if (exchange(ranks, calls, num_calls)) return 1;
  for (int i = 0; i < num_calls; ++i)
    if (calls[i].kind < SEND && collective(ranks, &calls[i])) return 1;
  return 0;
}
