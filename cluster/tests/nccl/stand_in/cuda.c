/* A STAND-IN for tests, not CUDA's driver: the calls that the NCCL backend makes, with host memory as GPU memory.
 *
 * A stream is a thread with a queue. The default stream does everything at once, as libtorch does on a CPU. Events are
 * never freed: they are small, and a test is short. TERCET_STAND_IN_GPUS is the number of GPUs (default 4). */
#define _GNU_SOURCE
#include "stand_in.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OK = 0, INVALID_VALUE = 1, NO_DEVICE = 100, INVALID_CONTEXT = 201, NOT_READY = 600 };
enum { MAX_GPUS = 16, MAX_ALLOCATIONS = 1024, MEMORY_TYPE = 2, DEVICE_MEMORY = 2 };

typedef struct Task {
  void (*work)(void*);
  void* argument;
  struct Task* next;
} Task;

struct Stream {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  Task *first, *last;
};

typedef struct {
  atomic_int done;
} Event;

typedef struct {
  char* address;
  size_t bytes;
  int gpu;
} Allocation;

static Allocation allocations[MAX_ALLOCATIONS];
static pthread_mutex_t allocations_lock = PTHREAD_MUTEX_INITIALIZER;
static char contexts[MAX_GPUS];
static void* current;

static int num_gpus(void) {
  const char* asked = getenv("TERCET_STAND_IN_GPUS");
  return asked ? atoi(asked) : 4;
}

int current_gpu(void) { return current ? (int)((char*)current - contexts) : -1; }

int cuInit(unsigned flags) { return flags ? INVALID_VALUE : num_gpus() > 0 ? OK : NO_DEVICE; }
int cuDeviceGetCount(int* count) { return *count = num_gpus(), OK; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal < num_gpus() ? OK : NO_DEVICE; }
int cuDeviceGetName(char* name, int len, int device) { return snprintf(name, len, "stand-in GPU %d", device), OK; }

int cuDeviceGetUuid_v2(char* uuid, int device) {
  memset(uuid, 0, 16);
  return snprintf(uuid, 16, "stand-in %d", device), OK;
}

int cuDevicePrimaryCtxRetain(void** context, int device) { return *context = &contexts[device], OK; }
int cuCtxSetCurrent(void* context) { return current = context, OK; }

int cuGetErrorString(int error, const char** words) {
  *words = error == NO_DEVICE ? "no CUDA-capable device is detected" : "an error of the stand-in";
  return OK;
}

static void* stream_thread(void* argument) {
  Stream* stream = argument;
  for (;;) {
    pthread_mutex_lock(&stream->lock);
    while (!stream->first) pthread_cond_wait(&stream->changed, &stream->lock);
    Task* task = stream->first;
    stream->first = task->next;
    pthread_mutex_unlock(&stream->lock);
    task->work(task->argument);
    free(task);
  }
  return NULL;
}

void stream_enqueue(Stream* stream, void (*work)(void*), void* argument) {
  Task* task = malloc(sizeof *task);
  *task = (Task){work, argument, NULL};
  pthread_mutex_lock(&stream->lock);
  if (stream->first) stream->last->next = task; else stream->first = task;
  stream->last = task;
  pthread_cond_signal(&stream->changed);
  pthread_mutex_unlock(&stream->lock);
}

int cuStreamCreate(Stream** stream, unsigned flags) {
  (void)flags;
  if (!current) return INVALID_CONTEXT;
  *stream = calloc(1, sizeof **stream);
  pthread_mutex_init(&(*stream)->lock, NULL);
  pthread_cond_init(&(*stream)->changed, NULL);
  pthread_t thread;
  pthread_create(&thread, NULL, stream_thread, *stream);
  return pthread_detach(thread);
}

int cuStreamDestroy_v2(Stream* stream) { return (void)stream, OK; }

int cuEventCreate(Event** event, unsigned flags) {
  (void)flags;
  *event = malloc(sizeof **event);
  atomic_init(&(*event)->done, 1);
  return OK;
}

int cuEventDestroy_v2(Event* event) { return (void)event, OK; }
int cuEventQuery(Event* event) { return atomic_load(&event->done) ? OK : NOT_READY; }

static void mark(void* event) { atomic_store(&((Event*)event)->done, 1); }

static void await(void* event) {
  while (!atomic_load(&((Event*)event)->done)) usleep(20);
}

int cuEventRecord(Event* event, Stream* stream) {
  if (!stream) return mark(event), OK;
  atomic_store(&event->done, 0);
  stream_enqueue(stream, mark, event);
  return OK;
}

int cuStreamWaitEvent(Stream* stream, Event* event, unsigned flags) {
  (void)flags;
  if (stream) stream_enqueue(stream, await, event); else await(event);
  return OK;
}

/* Tells libtorch's stand-in devices, if the process has them, what is given away of a GPU's memory, or taken back. */
static void tell(int gpu, long bytes) {
  typedef void Tell(int, long);
  Tell* told = (Tell*)dlsym(RTLD_DEFAULT, "stand_in_given_away");
  if (told) told(gpu, bytes);
}

int cuMemAlloc_v2(char** address, size_t bytes) {
  if (!current) return INVALID_CONTEXT;
  *address = malloc(bytes ? bytes : 1);
  pthread_mutex_lock(&allocations_lock);
  int free_one = 0;
  while (free_one < MAX_ALLOCATIONS && allocations[free_one].address) ++free_one;
  if (free_one == MAX_ALLOCATIONS) abort();
  allocations[free_one] = (Allocation){*address, bytes, current_gpu()};
  pthread_mutex_unlock(&allocations_lock);
  tell(current_gpu(), (long)bytes);
  return OK;
}

int cuMemFree_v2(char* address) {
  pthread_mutex_lock(&allocations_lock);
  for (int i = 0; i < MAX_ALLOCATIONS; ++i)
    if (allocations[i].address == address) {
      tell(allocations[i].gpu, -(long)allocations[i].bytes);
      allocations[i].address = NULL;
    }
  pthread_mutex_unlock(&allocations_lock);
  return free(address), OK;
}

/* What libtorch's stand-in device says of an address, if the process has that device. */
static void* device_memory(const void* address, int* owner) {
  typedef void* Ask(const void*, int*);
  static Ask* ask;
  static atomic_int looked;
  if (!atomic_load(&looked)) {
    ask = (Ask*)dlsym(RTLD_DEFAULT, "stand_in_host_address");
    atomic_store(&looked, 1);
  }
  return ask ? ask(address, owner) : NULL;
}

void* host_address(const void* address) {
  int owner;
  void* elsewhere = device_memory(address, &owner);
  return elsewhere ? elsewhere : (void*)address;
}

int cuMemcpyHtoD_v2(char* to, const void* from, size_t bytes) { return memcpy(host_address(to), from, bytes), OK; }
int cuMemcpyDtoH_v2(void* to, const char* from, size_t bytes) { return memcpy(to, host_address(from), bytes), OK; }

typedef struct {
  char* to;
  const char* from;
  size_t bytes;
} Copy;

static void copy(void* argument) {
  Copy* one = argument;
  memcpy(host_address(one->to), host_address(one->from), one->bytes);
  free(one);
}

int cuMemcpyDtoDAsync_v2(char* to, const char* from, size_t bytes, Stream* stream) {
  if (!bytes || memory_owner(to, bytes) == NO_GPU || memory_owner(from, bytes) == NO_GPU) return INVALID_VALUE;
  Copy* one = malloc(sizeof *one);
  *one = (Copy){to, from, bytes};
  if (stream) stream_enqueue(stream, copy, one); else copy(one);
  return OK;
}

static int is_own_stack(const char* address) {
  pthread_attr_t attributes;
  void* low;
  size_t bytes;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &low, &bytes);
  pthread_attr_destroy(&attributes);
  return address >= (char*)low && address < (char*)low + bytes;
}

static int is_mapped(const char* address, size_t bytes) {
  const uintptr_t page = sysconf(_SC_PAGESIZE), first = (uintptr_t)address & ~(page - 1);
  return msync((void*)first, (uintptr_t)address + bytes - first, MS_ASYNC) == 0;
}

int memory_owner(const void* pointer, size_t bytes) {
  const char* address = pointer;
  int owner = ANY_GPU;
  if (device_memory(address, &owner)) return owner;
  owner = ANY_GPU;
  pthread_mutex_lock(&allocations_lock);
  for (int i = 0; i < MAX_ALLOCATIONS; ++i) {
    const Allocation* one = &allocations[i];
    if (one->address && address >= one->address && address < one->address + one->bytes)
      owner = address + bytes <= one->address + one->bytes ? one->gpu : NO_GPU;
  }
  pthread_mutex_unlock(&allocations_lock);
  if (owner == ANY_GPU && (is_own_stack(address) || !is_mapped(address, bytes))) owner = NO_GPU;
  return owner;
}

int cuPointerGetAttribute(unsigned* kind, int attribute, const void* address) {
  if (attribute != MEMORY_TYPE || memory_owner(address, 1) == NO_GPU) return INVALID_VALUE;
  return *kind = DEVICE_MEMORY, OK;
}
