// A STAND-IN for tests, not CUDA: kernels by their names, called block by block.
#ifndef TERCET_STAND_IN_LAUNCH_H
#define TERCET_STAND_IN_LAUNCH_H

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace stand_in {

constexpr int MOST_THREADS = 1024;

// The block that this thread of the host is in.
struct Block {
  uint32_t x = 0, y = 0;
  int threads = 0;
};
inline thread_local Block block;

// What a kernel may not do, in CUDA's words and number.
struct Refused {
  int code;
};

// Where the host finds what a pointer of the GPU points to.
void* host_memory(const void* address);

// What a kernel is given: pointers are followed on the host.
template <class T>
T given(const void* argument) {
  T value = *static_cast<const T*>(argument);
  if constexpr (std::is_pointer_v<T>) {
    if (value) value = static_cast<T>(host_memory(value));
  }
  return value;
}

// Calls a kernel for the current block with arguments as cuLaunchKernel gets them.
using Call = std::function<void()>;
using Kernel = std::function<Call(void** arguments)>;

inline std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

struct Entry {
  template <class... T>
  Entry(const char* name, void (*kernel)(T...)) {
    kernels()[name] = [kernel](void** arguments) { return call(kernel, arguments, std::index_sequence_for<T...>()); };
  }

 private:
  template <class... T, size_t... I>
  static Call call(void (*kernel)(T...), void** arguments, std::index_sequence<I...>) {
    std::tuple<T...> values(given<T>(arguments[I])...);
    return [kernel, values] { std::apply(kernel, values); };
  }
};

}  // namespace stand_in

#endif
