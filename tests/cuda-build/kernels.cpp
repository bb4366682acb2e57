// Whether this libtorch has a CUDA kernel for each operator of a list. It needs no GPU and no driver.
//
//   kernels < operators.txt
//
// Names are those of the dispatcher, without aten:: (addmm.out). Ends with 1 if one is missing, with a line for each.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <iostream>
#include <string>

namespace {

// The operator's kernel for CUDA, or one that is made of other operators.
const char* what_is_missing(const std::string& line) {
  const auto dot = line.find('.');
  const auto name = (line.find("::") == std::string::npos ? "aten::" : "") + line.substr(0, dot);
  const auto overload = dot == std::string::npos ? std::string() : line.substr(dot + 1);
  const auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!found) return "libtorch has no such operator";
  return found->hasComputedKernelForDispatchKey(c10::DispatchKey::CUDA) ? nullptr : "no kernel for CUDA";
}

}  // namespace

int main() {
  int num_operators = 0, num_missing = 0;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.empty() || line[0] == '#') continue;
    ++num_operators;
    if (const char* what = what_is_missing(line)) {
      ++num_missing;
      std::cerr << line << ": " << what << "\n";
    }
  }
  // hasCUDA() asks for a GPU, this one for the library alone.
  const auto& hooks = at::detail::getCUDAHooks();
  const bool has_cuda = hooks.hasCUDART();
  std::cout << "CUDA runtime " << (has_cuda ? std::to_string(hooks.versionCUDART()) : "missing") << ", " << num_operators
            << " operators, " << num_missing << " without a kernel for CUDA\n";
  return has_cuda && num_operators > 0 && num_missing == 0 ? 0 : 1;
}
