// Counts what the program asks of the devices, by operator and, if wanted, by the place in the program that asks.
//
// A place is the return addresses that lie in the program itself and not in libraries, as offsets that nm knows.
#include "stand_in.h"

#include <execinfo.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>

extern "C" void stand_in_memory(int index, size_t* most, size_t* held);

namespace stand_in {
namespace {

thread_local int silent = 0;

struct Range {
  uintptr_t base = 0, end = 0;
};

Range program() {
  static const Range range = [] {
    Range found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* to) {
          auto& found = *static_cast<Range*>(to);
          found.base = info->dlpi_addr;
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& part = info->dlpi_phdr[i];
            if (part.p_type == PT_LOAD) found.end = std::max(found.end, info->dlpi_addr + part.p_vaddr + part.p_memsz);
          }
          return 1;  // the program is the first
        },
        &found);
    return found;
  }();
  return range;
}

std::string place() {
  void* frames[96];
  const int len = backtrace(frames, 96);
  const Range range = program();
  std::string text;
  for (int i = 0; i < len; ++i) {
    const auto address = reinterpret_cast<uintptr_t>(frames[i]);
    if (address < range.base || address >= range.end) continue;
    char offset[20];
    std::snprintf(offset, sizeof offset, " %zx", static_cast<size_t>(address - range.base - 1));
    text += offset;
  }
  // The autograd engine's threads: the program's thread waits for them where it was last seen.
  static std::mutex lock;
  static std::string last = " 0";
  std::lock_guard guard(lock);
  if (text.empty()) return " ~" + last;
  return last = text;
}

// STAND_IN_FAIL=OPERATOR:N:WORDS
struct Failure {
  std::string op, words;
  int64_t call = 0;
  std::atomic<int64_t> seen = 0;

  Failure() {
    const char* text = std::getenv("STAND_IN_FAIL");
    if (!text) return;
    const std::string all = text;
    const auto first = all.find(':'), second = all.find(':', first + 1);
    if (second == std::string::npos) return;
    op = all.substr(0, first);
    call = std::atoll(all.c_str() + first + 1);
    words = all.substr(second + 1);
  }

  void meet(const std::string& what) {
    if (op != what || ++seen != call) return;
    const bool memory = words.rfind("CUDA out of memory", 0) == 0;
    if (memory) TORCH_CHECK_WITH(OutOfMemoryError, false, words);
    TORCH_CHECK(false, words);
  }
};

struct Counts {
  const char* file = std::getenv("STAND_IN_COUNTS");
  const bool has_places = number("STAND_IN_PLACES", 0);
  std::mutex lock;
  std::map<std::string, int64_t> of;
  Failure failure;
};

Counts& counts() {
  static auto* all = new Counts;
  return *all;
}

__attribute__((destructor)) void write() {
  Counts& all = counts();
  if (!all.file) return;
  std::ofstream out(std::string(all.file) + "." + std::to_string(getpid()), std::ios::app);
  for (const auto& [key, number] : all.of) out << number << ' ' << key << '\n';
  for (int i = 0; i < num_devices(); ++i) {
    size_t most, held;
    stand_in_memory(i, &most, &held);
    out << most << " most bytes-of-device-" << i << " 0\n" << held << " held bytes-of-device-" << i << " 0\n";
  }
}

}  // namespace

Silent::Silent() { ++silent; }
Silent::~Silent() { --silent; }

void count(Kind kind, const std::string& what) {
  if (silent) return;
  Counts& all = counts();
  all.failure.meet(what);
  if (!all.file) return;
  if (kind == Kind::Launch) note_settings();
  const char* names[] = {"launch", "wait", "copy"};
  const std::string key = std::string(names[static_cast<int>(kind)]) + ' ' + what + (all.has_places ? place() : " 0");
  std::lock_guard guard(all.lock);
  ++all.of[key];
}

void count_bytes(const std::string& what, int64_t bytes) {
  if (silent || bytes == 0) return;
  Counts& all = counts();
  if (!all.file) return;
  std::lock_guard guard(all.lock);
  all.of["bytes " + what + " 0"] += bytes;
}

int64_t bytes_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return 0;
  // What is read several times over lies there once.
  return std::min<int64_t>(tensor.numel() * tensor.itemsize(), tensor.storage().nbytes());
}

}  // namespace stand_in

// kernels.cpp, which sees nothing of libtorch.
extern "C" void stand_in_launch(const char* kernel, int64_t bytes) {
  const std::string name = std::string("tercet::") + kernel;
  stand_in::count(stand_in::Kind::Launch, name);
  stand_in::count_bytes(name, bytes);
}
