// The memory of the devices: address ranges, a first-fit allocator in each, and what libtorch's caching allocator
// tells.
//
// Addresses are four times the memory, so that memory which is split up is never refused for that reason alone. What
// was freed stays reserved until emptyCache, as with CUDA's caching allocator: the driver's free memory does not count
// it.
#include "stand_in.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace stand_in {
namespace {

constexpr size_t PAGE = 4096;
constexpr size_t BLOCK = 512;         // the caching allocator rounds to this
constexpr size_t SEGMENT = 2 << 20;   // and asks the driver for multiples of this
constexpr size_t RETURNED = 1 << 20;  // freed blocks of at least this go back to the host
constexpr size_t SPARE_ADDRESSES = 4;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

char* reserve(size_t bytes, int protection) {
  void* at = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TORCH_CHECK(at != MAP_FAILED, "stand-in: no address space");
  return static_cast<char*>(at);
}

std::string in_words(size_t bytes) {
  char text[40];
  const bool large = bytes >= size_t{1} << 30;
  std::snprintf(text, sizeof text, "%.2f %s", double(bytes) / double(1 << 20) / (large ? 1024 : 1), large ? "GiB" : "MiB");
  return text;
}

struct Arena {
  const size_t bytes = number("STAND_IN_MIB", 16 << 10) << 20;
  // What is given away beside tensors: the context, and what others ask the driver for.
  size_t other_bytes = number("STAND_IN_CONTEXT_MIB", 0) << 20;
  const size_t range = SPARE_ADDRESSES * bytes;
  const int index;
  char* shadow = reserve(range, PROT_READ | PROT_WRITE);
  char* base = number("STAND_IN_READABLE", 0) ? shadow : reserve(range, PROT_NONE);
  std::mutex lock;
  std::map<size_t, size_t> unused{{0, range}};  // offset -> bytes
  std::map<size_t, size_t> used;
  size_t reserved = 0, most = 0;
  c10::CachingDeviceAllocator::DeviceStats stats;

  explicit Arena(int index) : index(index) {}

  bool has(const void* address) const { return address >= base && address < base + range; }
  size_t held() const { return stats.allocated_bytes[0].current; }
  size_t unreserved() const { return bytes - std::min(bytes, other_bytes + reserved); }

  void change_reserved(size_t now) {
    auto& stat = stats.reserved_bytes[0];
    if (now > reserved) stat.increase(now - reserved); else stat.decrease(reserved - now);
    reserved = now;
  }

  void refuse(size_t wanted) {
    ++stats.num_ooms;
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", in_words(wanted), ". GPU ", index,
                     " has a total capacity of ", in_words(bytes), " of which ", in_words(unreserved()),
                     " is free. Including non-PyTorch memory, this process has ", in_words(other_bytes + reserved),
                     " memory in use. Of the allocated memory ", in_words(held()), " is allocated by PyTorch, and ",
                     in_words(reserved - std::min(reserved, held())),
                     " is reserved by PyTorch but unallocated. (A stand-in's words: there is no GPU.)");
  }

  void* take(size_t wanted) {
    const size_t size = round_up(wanted, BLOCK);
    std::lock_guard guard(lock);
    auto block = unused.begin();
    while (block != unused.end() && block->second < size) ++block;
    if (other_bytes + held() + size > bytes || block == unused.end()) refuse(wanted);
    const auto [at, len] = *block;
    unused.erase(block);
    if (len > size) unused[at + size] = len - size;
    used[at] = size;
    for (auto* stat : {&stats.allocated_bytes, &stats.active_bytes}) (*stat)[0].increase(size);
    stats.allocation[0].increase(1);
    most = std::max(most, held());
    const size_t needed = std::min(bytes - std::min(bytes, other_bytes), round_up(held(), SEGMENT));
    if (needed > reserved) change_reserved(needed);
    static const bool poison = number("STAND_IN_POISON", 1);
    if (poison) std::memset(shadow + at, 0xff, size);
    return base + at;
  }

  void give(void* address) {
    std::lock_guard guard(lock);
    const auto block = used.find(static_cast<char*>(address) - base);
    TORCH_CHECK(block != used.end(), "stand-in: freed twice");
    auto [at, size] = *block;
    used.erase(block);
    for (auto* stat : {&stats.allocated_bytes, &stats.active_bytes}) (*stat)[0].decrease(size);
    stats.allocation[0].decrease(1);
    // Whole pages only: what shares a page with the block may be in use.
    const size_t first_page = round_up(at, PAGE), end_page = (at + size) / PAGE * PAGE;
    if (size >= RETURNED) madvise(shadow + first_page, end_page - first_page, MADV_DONTNEED);
    auto next = unused.lower_bound(at);
    if (next != unused.end() && at + size == next->first) {
      size += next->second;
      next = unused.erase(next);
    }
    if (next != unused.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == at) {
        before->second += size;
        return;
      }
    }
    unused[at] = size;
  }
};

// Never destroyed: tensors may outlive static objects.
std::vector<Arena*>& arenas() {
  static auto* all = [] {
    auto* made = new std::vector<Arena*>;
    for (int i = 0; i < num_devices(); ++i) made->push_back(new Arena(i));
    return made;
  }();
  return *all;
}

void free_memory(void* address) {
  for (Arena* arena : arenas()) {
    if (arena->has(address)) return arena->give(address);
  }
}

struct Allocator final : c10::DeviceAllocator {
  at::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::kCUDA, current_device());
    if (bytes == 0) return {nullptr, nullptr, &free_memory, device};
    void* address = arenas().at(device.index())->take(bytes);
    return {address, address, &free_memory, device};
  }
  at::DeleterFnPtr raw_deleter() const override { return &free_memory; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to_shadow(to), to_shadow(from), bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {
    for (Arena* arena : arenas()) {
      std::lock_guard guard(arena->lock);
      arena->change_reserved(round_up(arena->held(), SEGMENT));
    }
  }
  void recordStream(const at::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex index) override {
    Arena& arena = *arenas().at(index);
    std::lock_guard guard(arena.lock);
    return arena.stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex index) override {
    Arena& arena = *arenas().at(index);
    std::lock_guard guard(arena.lock);
    for (auto* stat : {&arena.stats.allocated_bytes, &arena.stats.active_bytes, &arena.stats.reserved_bytes}) {
      (*stat)[0].reset_peak();
    }
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex index) override {
    Arena& arena = *arenas().at(index);
    std::lock_guard guard(arena.lock);
    return {arena.unreserved(), arena.bytes};
  }
};

}  // namespace

size_t number(const char* name, size_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

int owner_of(const void* address) {
  for (Arena* arena : arenas()) {
    if (arena->has(address)) return arena->index;
  }
  return -1;
}

void* to_shadow(const void* address) {
  if (!address) return nullptr;
  const int owner = owner_of(address);
  TORCH_CHECK(owner >= 0, "stand-in: not a device's address: ", address);
  const Arena& arena = *arenas()[owner];
  return arena.shadow + (static_cast<const char*>(address) - arena.base);
}

c10::DeviceAllocator* allocator() {
  static auto* the_one = new Allocator;
  return the_one;
}

namespace {
const bool registered = [] {
  c10::SetAllocator(c10::kCUDA, allocator(), 255);
  return true;
}();
}  // namespace

}  // namespace stand_in

// For the stand-in of NCCL and of CUDA's driver: where the host finds what lies at a device's address, and whose it is.
extern "C" void* stand_in_host_address(const void* address, int* owner) {
  *owner = stand_in::owner_of(address);
  return *owner < 0 ? nullptr : stand_in::to_shadow(address);
}

// For the stand-in of CUDA's driver: what it has given away, or has got back.
extern "C" void stand_in_given_away(int index, long bytes) {
  if (index < 0 || index >= stand_in::num_devices()) return;
  stand_in::Arena& arena = *stand_in::arenas()[index];
  std::lock_guard guard(arena.lock);
  arena.other_bytes += bytes;
}

// For counts.cpp: the most that tensors have ever held of a device, and what they hold.
extern "C" void stand_in_memory(int index, size_t* most, size_t* held) {
  stand_in::Arena& arena = *stand_in::arenas().at(index);
  std::lock_guard guard(arena.lock);
  *most = arena.most;
  *held = arena.held();
}
