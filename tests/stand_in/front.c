/* A STAND-IN for tests, not CUDA: the part that is preloaded.
 *
 * LD_PRELOAD goes to every process of a job, most of which have no libtorch. This part is small and needs nothing. It
 * has the few calls of CUDA's runtime that are looked up by name, and it loads the devices (NAME-device.so beside
 * NAME.so) where the program has a libtorch without CUDA. stand_in.h lists the variables. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, INSUFFICIENT_DRIVER = 35, NO_DEVICE = 100, INVALID_DEVICE = 101 };
enum { MULTIPROCESSORS = 16, MAJOR = 75, MINOR = 76, DEFAULT_CAPABILITY = 80, DEFAULT_VERSION = 13000 };

static int number(const char* name, int otherwise) {
  const char* text = getenv(name);
  return text && *text ? atoi(text) : otherwise;
}

/* CUDA_VISIBLE_DEVICES hides devices, as it does with CUDA: one stays visible for each name in it. */
int stand_in_num_devices(void) {
  if (number("STAND_IN_ERROR", OK) != OK) return 0;
  const int all = number("STAND_IN_GPUS", 1);
  const char* visible = getenv("CUDA_VISIBLE_DEVICES");
  if (!visible) return all;
  if (!*visible || *visible == '-') return 0;
  int count = 1;
  for (const char* at = visible; *at; ++at) count += *at == ',';
  return count < all ? count : all;
}

int stand_in_capability(void) { return number("STAND_IN_CAPABILITY", DEFAULT_CAPABILITY); }

static int failure(void) { return number("STAND_IN_ERROR", stand_in_num_devices() > 0 ? OK : NO_DEVICE); }

int cudaGetDeviceCount(int* count) { return *count = stand_in_num_devices(), failure(); }
int cudaDriverGetVersion(int* version) { return *version = number("STAND_IN_DRIVER", DEFAULT_VERSION), OK; }
int cudaRuntimeGetVersion(int* version) { return *version = DEFAULT_VERSION, OK; }
int cudaGetLastError(void) { return OK; }
int cudaPeekAtLastError(void) { return OK; }

int cudaDeviceGetAttribute(int* value, int attribute, int device) {
  if (failure() != OK) return failure();
  if (device < 0 || device >= stand_in_num_devices()) return INVALID_DEVICE;
  switch (attribute) {
    case MAJOR: return *value = stand_in_capability() / 10, OK;
    case MINOR: return *value = stand_in_capability() % 10, OK;
    case MULTIPROCESSORS: return *value = 108, OK;
    default: return *value = 0, INVALID_VALUE;
  }
}

int cudaDeviceGetPCIBusId(char* name, int len, int device) {
  return snprintf(name, len, "0000:%02x:00.0", device + 1), OK;
}

const char* cudaGetErrorString(int error) {
  switch (error) {
    case OK: return "no error";
    case INVALID_VALUE: return "invalid argument";
    case INSUFFICIENT_DRIVER: return "CUDA driver version is insufficient for CUDA runtime version";
    case NO_DEVICE: return "no CUDA-capable device is detected";
    case INVALID_DEVICE: return "invalid device ordinal";
    default: return "unrecognized error code";
  }
}

const char* cudaGetErrorName(int error) {
  switch (error) {
    case OK: return "cudaSuccess";
    case INVALID_VALUE: return "cudaErrorInvalidValue";
    case INSUFFICIENT_DRIVER: return "cudaErrorInsufficientDriver";
    case NO_DEVICE: return "cudaErrorNoDevice";
    case INVALID_DEVICE: return "cudaErrorInvalidDevice";
    default: return "unrecognized error code";
  }
}

enum { HAS_CPU = 1, HAS_CUDA = 2 };

static int look(struct dl_phdr_info* info, size_t bytes, void* found) {
  (void)bytes;
  if (strstr(info->dlpi_name, "/libtorch_cpu.so")) *(int*)found |= HAS_CPU;
  if (strstr(info->dlpi_name, "/libtorch_cuda.so")) *(int*)found |= HAS_CUDA;
  return 0;
}

__attribute__((constructor)) static void load_devices(void) {
  int libraries = 0;
  dl_iterate_phdr(look, &libraries);
  if (!(libraries & HAS_CPU)) return;
  if (libraries & HAS_CUDA) {
    fputs("stand-in of CUDA: this program has the real one, so the stand-in stays away\n", stderr);
    return;
  }
  Dl_info own;
  char path[PATH_MAX];
  if (!dladdr(&look, &own)) return;
  const int stem = (int)strlen(own.dli_fname) - (int)strlen(".so");
  snprintf(path, sizeof path, "%.*s-device.so", stem, own.dli_fname);
  if (!dlopen(path, RTLD_NOW | RTLD_GLOBAL)) {
    fprintf(stderr, "stand-in of CUDA: %s\n", dlerror());
    _Exit(1);
  }
}
