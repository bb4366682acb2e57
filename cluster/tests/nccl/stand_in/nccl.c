/* A STAND-IN for tests, not NCCL: its C interface, over memory that the ranks of one machine share.
 *
 * It sums in rank order, and it is strict where NCCL hangs or computes nonsense. These are errors with messages: calls
 * of ranks that do not fit together, groups that are not closed, messages that nobody receives, memory of no GPU or of
 * another, calls before the last one is in its stream, and calls after an abort. It knows only non-blocking
 * communicators. */
#define _GNU_SOURCE
#include "ranks.h"
#include "stand_in.h"

#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, IN_PROGRESS = 7 };
enum { MAX_CALLS = 256, POLLS_UNTIL_LAUNCHED = 3 };

/* The first fields of NCCL's settings (ncclConfig_t), the same in every layout. */
typedef struct {
  size_t size;
  unsigned magic, version;
  int blocking;
} Config;

typedef struct {
  char internal[128];
} UniqueId;

typedef struct Comm {
  Ranks ranks;
  int gpu;
  atomic_int ready, aborted, error;
  Stream* stream;
  /* A closed group that is not in the stream yet. */
  struct Group* staged;
  int polls;
  int num_calls, num_of[NUM_KINDS];
} Comm;

typedef struct Group {
  Comm* comm;
  Stream* stream;
  int num_calls;
  Call calls[MAX_CALLS];
} Group;

static char last_error[WORDS_BYTES];
static _Thread_local int depth;
static _Thread_local Group* open_group;

static int refuse(int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(last_error, sizeof last_error, format, arguments);
  va_end(arguments);
  return code;
}

static int usable(const Comm* comm) {
  if (!comm) return refuse(INVALID_ARGUMENT, "there is no communicator");
  if (atomic_load(&comm->aborted)) return refuse(INVALID_USAGE, "a communicator was used after its abort");
  return SUCCESS;
}

int ncclGetVersion(int* version) {
  const char* asked = getenv("TERCET_STAND_IN_VERSION");
  return *version = asked ? atoi(asked) : 22907, SUCCESS;
}

int ncclGetUniqueId(UniqueId* id) {
  static int count;
  memset(id, 0, sizeof *id);
  snprintf(id->internal, sizeof id->internal, "/tercet-stand-in-%d-%d", getpid(), count++);
  return SUCCESS;
}

const char* ncclGetErrorString(int code) {
  return code == INVALID_USAGE ? "invalid usage" : code == INVALID_ARGUMENT ? "invalid argument" : "stand-in error";
}

const char* ncclGetLastError(Comm* comm) { return (void)comm, last_error; }

static void* meet(void* argument) {
  Comm* comm = argument;
  if (ranks_meet(&comm->ranks) == 0) atomic_store(&comm->ready, 1);
  else atomic_store(&comm->error, INVALID_USAGE);
  return NULL;
}

int ncclCommInitRankConfig(Comm** out, int size, UniqueId id, int rank, const Config* config) {
  if (config->magic != 0xcafebeef || config->size < sizeof *config || config->blocking != 0)
    return refuse(INVALID_ARGUMENT, "the settings are not those of a non-blocking communicator");
  if (current_gpu() < 0) return refuse(INVALID_USAGE, "no GPU was chosen");
  Comm* comm = calloc(1, sizeof *comm);
  comm->gpu = current_gpu();
  comm->ranks.given_up = &comm->aborted;
  if (ranks_open(&comm->ranks, id.internal, size, rank)) return refuse(INVALID_ARGUMENT, "no ranks like these");
  pthread_t thread;
  pthread_create(&thread, NULL, meet, comm);
  pthread_detach(thread);
  return *out = comm, IN_PROGRESS;
}

/* Like a kernel, a group that fails stays on the GPU until the communicator is aborted. */
static void run(void* argument) {
  Group* group = argument;
  Comm* comm = group->comm;
  if (ranks_run(&comm->ranks, group->calls, group->num_calls)) {
    atomic_store(&comm->error, INVALID_USAGE);
    while (!atomic_load(&comm->aborted)) usleep(100);
  }
  free(group);
}

int ncclCommGetAsyncError(Comm* comm, int* state) {
  if (usable(comm)) return usable(comm);
  if (depth) return refuse(INVALID_USAGE, "a group was opened and not closed");
  *state = atomic_load(&comm->error);
  if (*state) return refuse(SUCCESS, "%s", comm->ranks.shared->words);
  if (!atomic_load(&comm->ready)) return *state = IN_PROGRESS, SUCCESS;
  if (comm->staged && --comm->polls <= 0) {
    stream_enqueue(comm->staged->stream, run, comm->staged);
    comm->staged = NULL;
  }
  return *state = comm->staged ? IN_PROGRESS : SUCCESS, SUCCESS;
}

int ncclCommAbort(Comm* comm) {
  if (usable(comm)) return usable(comm);
  ranks_fail(&comm->ranks, "rank %d aborted the communicator", comm->ranks.rank);
  return atomic_store(&comm->aborted, 1), SUCCESS;
}

/* TERCET_STAND_IN_REPORT: a file to which a rank appends the number of its calls, so that a test sees there were any.
 * TERCET_STAND_IN_KINDS: a file to which it appends their number by kind. */
int ncclCommDestroy(Comm* comm) {
  if (usable(comm)) return usable(comm);
  const char* path = getenv("TERCET_STAND_IN_REPORT");
  FILE* report = path ? fopen(path, "a") : NULL;
  if (report) {
    fprintf(report, "%d\n", comm->num_calls);
    fclose(report);
  }
  path = getenv("TERCET_STAND_IN_KINDS");
  report = path ? fopen(path, "a") : NULL;
  if (report) {
    char line[256] = "";
    for (int kind = 1; kind < NUM_KINDS; ++kind)
      if (comm->num_of[kind])
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s %d ", kind_names[kind], comm->num_of[kind]);
    fprintf(report, "%s\n", line);
    fclose(report);
  }
  return atomic_store(&comm->aborted, 1), SUCCESS;
}

static int stage(Comm* comm, Group* group) {
  if (usable(comm)) return usable(comm);
  if (comm->staged || !atomic_load(&comm->ready))
    return refuse(INVALID_USAGE, "a call before the last one was found to be over");
  comm->staged = group;
  comm->polls = POLLS_UNTIL_LAUNCHED;
  return IN_PROGRESS;
}

int ncclGroupStart(void) { return ++depth, SUCCESS; }

int ncclGroupEnd(void) {
  if (!depth) return refuse(INVALID_USAGE, "a group was closed that was not opened");
  if (--depth || !open_group) return SUCCESS;
  Group* group = open_group;
  open_group = NULL;
  return stage(group->comm, group);
}

int ncclCommFinalize(Comm* comm) {
  if (usable(comm)) return usable(comm);
  if (depth) return refuse(INVALID_USAGE, "a group was opened and not closed");
  if (!comm->stream) return SUCCESS;
  Group* group = calloc(1, sizeof *group);
  *group = (Group){.comm = comm, .stream = comm->stream, .num_calls = 1};
  group->calls[0] = (Call){.kind = LEAVE};
  return stage(comm, group);
}

static int wrong_memory(const Comm* comm, const void* address, size_t bytes) {
  const int owner = memory_owner(address, bytes);
  if (owner == NO_GPU) return refuse(INVALID_ARGUMENT, "%p is not the memory of a GPU", address);
  if (owner != ANY_GPU && owner != comm->gpu)
    return refuse(INVALID_ARGUMENT, "memory of GPU %d, but the communicator's is %d", owner, comm->gpu);
  return SUCCESS;
}

static int add(Comm* comm, Stream* stream, Call call, size_t send_parts, size_t recv_parts) {
  if (usable(comm)) return usable(comm);
  const size_t bytes = call.count * element_bytes(call.type);
  if (!bytes || !stream) return refuse(INVALID_ARGUMENT, "an unknown type, no elements, or no stream");
  if (call.send && send_parts && wrong_memory(comm, call.send, bytes * send_parts)) return INVALID_ARGUMENT;
  if (call.recv && recv_parts && wrong_memory(comm, call.recv, bytes * recv_parts)) return INVALID_ARGUMENT;
  if (call.send) call.send = host_address(call.send);
  if (call.recv) call.recv = host_address(call.recv);
  comm->stream = stream;
  ++comm->num_calls;
  ++comm->num_of[call.kind];
  Group* group = open_group ? open_group : calloc(1, sizeof *group);
  group->comm = comm;
  group->stream = stream;
  if (group->num_calls == MAX_CALLS) return refuse(INVALID_USAGE, "more calls than the stand-in takes");
  group->calls[group->num_calls++] = call;
  if (!depth) return stage(comm, group);
  open_group = group;
  return SUCCESS;
}

int ncclAllReduce(const void* send, void* recv, size_t count, int type, int op, Comm* comm, Stream* stream) {
  return add(comm, stream, (Call){ALL_REDUCE, type, op, 0, count, send, recv, 0}, 1, 1);
}

int ncclReduceScatter(const void* send, void* recv, size_t count, int type, int op, Comm* comm, Stream* stream) {
  return add(comm, stream, (Call){REDUCE_SCATTER, type, op, 0, count, send, recv, 0}, comm ? comm->ranks.size : 1, 1);
}

int ncclAllGather(const void* send, void* recv, size_t count, int type, Comm* comm, Stream* stream) {
  return add(comm, stream, (Call){ALL_GATHER, type, 0, 0, count, send, recv, 0}, 1, comm ? comm->ranks.size : 1);
}

int ncclBroadcast(const void* send, void* recv, size_t count, int type, int root, Comm* comm, Stream* stream) {
  return add(comm, stream, (Call){BROADCAST, type, 0, root, count, send, recv, 0}, 1, 1);
}

int ncclSend(const void* send, size_t count, int type, int peer, Comm* comm, Stream* stream) {
  return add(comm, stream, (Call){SEND, type, 0, peer, count, send, NULL, 0}, 1, 0);
}

int ncclRecv(void* recv, size_t count, int type, int peer, Comm* comm, Stream* stream) {
  return add(comm, stream, (Call){RECV, type, 0, peer, count, NULL, recv, 0}, 0, 1);
}
