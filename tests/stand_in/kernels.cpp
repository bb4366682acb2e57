// A STAND-IN for tests, not CUDA: NVRTC and the part of the driver that the worker's own kernels need. It "compiles"
// one text only, the one that it was built with, and runs that block by block on the host.
//
//   STAND_IN_NVRTC=WORDS    the compiler refuses every text with these words
//
// It sees nothing of libtorch. Together with the devices of this folder it finds their memory and counts launches;
// alone, memory is the host's.
#include "threads.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels.inc"

extern "C" void* stand_in_host_address(const void* address, int* owner) __attribute__((weak));
extern "C" void stand_in_launch(const char* kernel, int64_t bytes) __attribute__((weak));

namespace stand_in {
namespace {

enum { OK = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };
constexpr int NVRTC_ERROR_COMPILATION = 6;

constexpr char IMAGE[] = "kernels of a stand-in of CUDA";
constexpr int MOST_CONTEXTS = 16, DEPTH = 16;

thread_local int contexts[DEPTH], depth = 0;

const char* words(int error) {
  switch (error) {
    case INVALID_VALUE: return "invalid argument";
    case INVALID_IMAGE: return "device kernel image is invalid";
    case INVALID_CONTEXT: return "invalid device context";
    case NOT_FOUND: return "named symbol not found";
    case ILLEGAL_ADDRESS: return "an illegal memory access was encountered";
    default: return "unknown error";
  }
}

struct Program {
  std::string text, log;
};

// The bytes that a kernel reads and writes, by its arguments as the text declares them.
int64_t bytes_of(const std::string& name, void** arguments, int64_t row_blocks) {
  auto number = [&](int i) { return *static_cast<int64_t*>(arguments[i]); };
  auto width = [&](int i) { return static_cast<int64_t>(*static_cast<int*>(arguments[i])); };
  auto is_given = [&](int i) { return *static_cast<void**>(arguments[i]) != nullptr; };
  auto is = [&](const char* kernel) { return name.rfind(kernel, 0) == 0; };
  const int64_t element = name.find("bf16") != std::string::npos ? 2 : name.find("f64") != std::string::npos ? 8 : 4;
  // x and residual become sum and output; a row's mean and rstd; three vectors of weights.
  if (is("norm_forward")) return row_blocks * (4 * element * width(8) + 8) + 12 * width(8);
  // Sum and gradient become the residual's gradient and, with dropout, that of x; sums of rows.
  if (is("norm_backward")) {
    return number(8) * ((3 + is_given(6)) * element * width(9) + 8) + 4 * width(9) * (3 * row_blocks + 1);
  }
  if (is("gelu_forward")) return 2 * element * number(3) * width(4) + 4 * width(4);
  if (is("gelu_backward")) return 4 * element * number(5) * width(6) + 4 * width(6) * (row_blocks + 1);
  if (is("add_sums")) return 4 * width(2) * width(3) * (number(1) + 2);
  if (is("dropout")) return 2 * element * number(1);
  if (is("adamw")) return (7 * 4 + (is_given(4) ? 2 : 0)) * number(5);
  return 0;
}

}  // namespace

void* host_memory(const void* address) {
  if (!stand_in_host_address) return const_cast<void*>(address);
  int owner = -1;
  void* found = stand_in_host_address(address, &owner);
  if (!found || owner + 1 != contexts[depth - 1]) throw Refused{ILLEGAL_ADDRESS};
  return found;
}

}  // namespace stand_in

using namespace stand_in;

extern "C" {

int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, OK; }
int cuDevicePrimaryCtxRetain(void** context, int device) {
  if (device < 0 || device >= MOST_CONTEXTS) return INVALID_VALUE;
  return *context = reinterpret_cast<void*>(static_cast<intptr_t>(device + 1)), OK;
}
int cuCtxPushCurrent_v2(void* context) {
  if (!context || depth == DEPTH) return INVALID_CONTEXT;
  return contexts[depth++] = static_cast<int>(reinterpret_cast<intptr_t>(context)), OK;
}
int cuCtxPopCurrent_v2(void** context) {
  if (depth == 0) return INVALID_CONTEXT;
  return *context = reinterpret_cast<void*>(static_cast<intptr_t>(contexts[--depth])), OK;
}
int cuGetErrorString(int error, const char** text) { return *text = words(error), OK; }

int cuModuleLoadData(void** module, const void* image) {
  if (depth == 0) return INVALID_CONTEXT;
  if (std::memcmp(image, IMAGE, sizeof IMAGE) != 0) return INVALID_IMAGE;
  return *module = const_cast<char*>(IMAGE), OK;
}

int cuModuleGetFunction(void** function, void*, const char* name) {
  const auto found = kernels().find(name);
  if (found == kernels().end()) return NOT_FOUND;
  return *function = &*found, OK;
}

int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned threads_x,
                   unsigned threads_y, unsigned threads_z, unsigned, void*, void** arguments, void**) {
  if (depth == 0) return INVALID_CONTEXT;
  const bool is_flat = grid_z == 1 && threads_y == 1 && threads_z == 1;
  if (!is_flat || !grid_x || !grid_y || !threads_x || threads_x > MOST_THREADS || threads_x % 32) return INVALID_VALUE;
  const auto& [name, kernel] = *static_cast<std::pair<const std::string, Kernel>*>(function);
  try {
    if (stand_in_launch) stand_in_launch(name.c_str(), bytes_of(name, arguments, grid_x));
    const Call call = kernel(arguments);
    const int64_t blocks = static_cast<int64_t>(grid_x) * grid_y;
#pragma omp parallel for if (blocks > 8)
    for (int64_t i = 0; i < blocks; ++i) {
      block = {static_cast<u32>(i % grid_x), static_cast<u32>(i / grid_x), static_cast<int>(threads_x)};
      call();
    }
  } catch (const Refused& refused) {
    return refused.code;
  } catch (...) {
    return 719;
  }
  return OK;
}

// A version that no NVRTC has.
int nvrtcVersion(int* major, int* minor) { return *major = 0, *minor = 13, OK; }
int nvrtcCreateProgram(Program** program, const char* text, const char*, int, const char* const*, const char* const*) {
  return *program = new Program{text, {}}, OK;
}
int nvrtcCompileProgram(Program* program, int, const char* const*) {
  const char* refusal = std::getenv("STAND_IN_NVRTC");
  if (refusal && *refusal) program->log = refusal;
  else if (program->text != TEXT) program->log = "stand-in: another text than the one it was built with";
  return program->log.empty() ? int{OK} : NVRTC_ERROR_COMPILATION;
}
int nvrtcGetProgramLogSize(Program* program, size_t* bytes) { return *bytes = program->log.size() + 1, OK; }
int nvrtcGetProgramLog(Program* program, char* log) {
  return std::memcpy(log, program->log.c_str(), program->log.size() + 1), OK;
}
int nvrtcGetCUBINSize(Program*, size_t* bytes) { return *bytes = sizeof IMAGE, OK; }
int nvrtcGetCUBIN(Program*, char* image) { return std::memcpy(image, IMAGE, sizeof IMAGE), OK; }
int nvrtcDestroyProgram(Program** program) { return delete *program, *program = nullptr, OK; }

}
