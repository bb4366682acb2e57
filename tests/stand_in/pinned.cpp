// Pinned host memory, and copies that are under way.
//
// Everything else happens at once here, but a copy that does not block is over only when somebody has waited for its
// stream: memory that is copied to holds 0xff until then, and memory that is copied from must not have changed until
// then. So a program that reads too early, or fills a buffer again too early, does not get away with it. Nor does one
// that changes what a copy in a stream beside the default one still has to read: that copies as late as it may.
#include "stand_in.h"

#include <ATen/core/CachingHostAllocator.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

namespace stand_in {
namespace {

constexpr size_t ALIGNMENT = 4096;

struct Block {
  size_t size;
  std::thread::id made_by;
};

struct Pinned {
  std::mutex lock;
  std::map<const char*, Block> blocks;
};

Pinned& pinned() {
  static auto* all = new Pinned;
  return *all;
}

void free_pinned(void* address) {
  Pinned& all = pinned();
  {
    std::lock_guard guard(all.lock);
    all.blocks.erase(static_cast<char*>(address));
  }
  std::free(address);
}

struct PinnedAllocator final : at::HostAllocator {
  at::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &free_pinned, c10::kCPU};
    const size_t size = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void* address = std::aligned_alloc(ALIGNMENT, size);
    TORCH_CHECK(address, "CUDA error: out of memory (pinned)");
    Pinned& all = pinned();
    std::lock_guard guard(all.lock);
    all.blocks[static_cast<char*>(address)] = {size, std::this_thread::get_id()};
    return {address, address, &free_pinned, c10::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};

PinnedAllocator* the_allocator() {
  static auto* the_one = new PinnedAllocator;
  return the_one;
}

struct UnderWay {
  uint64_t moment;
  c10::StreamId stream;
  bool writes;
  // What is still to be copied; undefined in the default stream, whose later work comes after the copy.
  at::Tensor source;
  // Keeps the memory: like the caching allocator, nobody else gets it before the copy is over.
  c10::Storage storage;
  char* address;
  // What is there at the end of a write, or must be there still at the end of a read.
  std::vector<char> bytes;
};

std::mutex lock;
std::vector<UnderWay> under_way;
uint64_t last_moment = 0;

void begin(const at::Tensor& memory, bool writes, const void* bytes, const at::Tensor& source = {}) {
  const auto* from = static_cast<const char*>(bytes);
  auto* address = static_cast<char*>(const_cast<void*>(memory.const_data_ptr()));
  std::vector<char> kept(from, from + memory.nbytes());
  if (writes) std::memset(address, 0xff, memory.nbytes());
  std::lock_guard guard(lock);
  under_way.push_back({++last_moment, current_stream(), writes, source, memory.storage(), address, std::move(kept)});
}

}  // namespace

c10::Allocator* pinned_allocator() { return the_allocator(); }

namespace {

std::optional<Block> block_of(const void* address) {
  Pinned& all = pinned();
  std::lock_guard guard(all.lock);
  auto after = all.blocks.upper_bound(static_cast<const char*>(address));
  if (after == all.blocks.begin()) return {};
  const auto& [begin, block] = *std::prev(after);
  return static_cast<const char*>(address) < begin + block.size ? std::optional(block) : std::nullopt;
}

}  // namespace

bool is_pinned(const void* address) { return block_of(address).has_value(); }

bool is_made_by_this_thread(const void* pinned) {
  const auto block = block_of(pinned);
  return block && block->made_by == std::this_thread::get_id();
}

uint64_t moment() {
  std::lock_guard guard(lock);
  return last_moment;
}

void begin_reading(const at::Tensor& pinned) { begin(pinned, false, pinned.const_data_ptr()); }

void begin_writing(const at::Tensor& pinned, const at::Tensor& values) {
  begin(pinned, true, to_shadow(values.const_data_ptr()), current_stream() == 0 ? at::Tensor() : values);
}

namespace {

template <class IsOver>
void settle_where(IsOver is_over) {
  std::vector<UnderWay> over;
  {
    std::lock_guard guard(lock);
    auto lasts = [&](const UnderWay& copy) { return !is_over(copy); };
    auto first = std::stable_partition(under_way.begin(), under_way.end(), lasts);
    over.assign(std::make_move_iterator(first), std::make_move_iterator(under_way.end()));
    under_way.erase(first, under_way.end());
  }
  static const size_t millis = number("STAND_IN_COPY_MS", 0);
  bool changed = false;
  for (const UnderWay& copy : over) {
    if (copy.stream != 0) std::this_thread::sleep_for(std::chrono::milliseconds(millis));
    if (copy.source.defined()) std::memcpy(copy.address, to_shadow(copy.source.const_data_ptr()), copy.bytes.size());
    else if (copy.writes) std::memcpy(copy.address, copy.bytes.data(), copy.bytes.size());
    else changed |= std::memcmp(copy.address, copy.bytes.data(), copy.bytes.size()) != 0;
  }
  TORCH_CHECK(!changed, "stand-in: pinned memory was written to while a copy from it to a device was under way");
}

}  // namespace

void settle(uint64_t until, c10::StreamId stream) {
  settle_where([&](const UnderWay& copy) { return copy.moment <= until && copy.stream == stream; });
}

void settle() { settle(moment(), current_stream()); }

void settle_all() {
  settle_where([](const UnderWay&) { return true; });
}

namespace {
const bool registered = [] {
  at::setHostAllocator(c10::kCUDA, the_allocator(), 255);
  return true;
}();
}  // namespace

}  // namespace stand_in
