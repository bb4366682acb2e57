// What libtorch is set to while operators are called. Most of it changes nothing here, where the CPU's kernels compute,
// so tests ask for it.
//
// Lines of STAND_IN_COUNTS, of the kind "setting": one for each NAME=VALUE that has held during any call.
#include "stand_in.h"

#include <ATen/Context.h>
#include <c10/core/AllocatorConfig.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <mutex>
#include <set>

namespace stand_in {
namespace {

std::mutex lock;

std::set<std::string>& seen() {
  static auto* all = new std::set<std::string>;
  return *all;
}

__attribute__((destructor)) void write() {
  const char* file = std::getenv("STAND_IN_COUNTS");
  if (!file) return;
  std::ofstream out(std::string(file) + "." + std::to_string(getpid()), std::ios::app);
  for (const auto& setting : seen()) out << "1 setting " << setting << " 0\n";
}

}  // namespace

void note_settings() {
  const auto& context = at::globalContext();
  const char* workspace = std::getenv("CUBLAS_WORKSPACE_CONFIG");
  const std::pair<const char*, int> switches[] = {
      {"deterministic", context.deterministicAlgorithms()},
      {"fills-new-memory", context.deterministicFillUninitializedMemory()},
      {"cudnn-attention", context.userEnabledCuDNNSDP()},
      // By libtorch's numbers: 0 allows partial sums in the products' own type, 1 wants float32.
      {"bf16-partial-sums", static_cast<int>(context.allowBF16ReductionCuBLAS())},
      {"tf32-products", context.allowTF32CuBLAS()},
      {"tf32-cudnn", context.allowTF32CuDNN()},
      {"expandable-segments", c10::CachingAllocator::AcceleratorAllocatorConfig::use_expandable_segments()},
  };
  std::lock_guard guard(lock);
  for (const auto& [name, value] : switches) seen().insert(std::string(name) + '=' + std::to_string(value));
  seen().insert(std::string("cublas-workspace=") + (workspace ? workspace : ""));
}

}  // namespace stand_in
