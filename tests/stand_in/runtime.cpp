// What libtorch asks about devices: which is the current one, streams and events. Streams have numbers and nothing
// else: all work is done at once, but for the copies of pinned.cpp.
#include "stand_in.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <array>
#include <atomic>
#include <chrono>

namespace stand_in {
namespace {

constexpr size_t MAX_DEVICES = 64;
constexpr int POOL = 32;

thread_local c10::DeviceIndex current = 0;
thread_local std::array<c10::StreamId, MAX_DEVICES> current_streams{};

double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

struct Event {
  double ms;
  uint64_t moment;
  c10::StreamId stream;
};

c10::Device with_index(c10::Device device) {
  return device.has_index() ? device : c10::Device(c10::kCUDA, current);
}

c10::Stream next_stream(c10::Device device) {
  static std::atomic<int> next = 0;
  return c10::Stream(c10::Stream::UNSAFE, with_index(device), 1 + next++ % POOL);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before(c10::kCUDA, current);
    set_device(device.index());
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, current}; }
  void setDevice(c10::Device device) const override { set_device(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { current = device.index(); }

  c10::Stream getStream(c10::Device device) const override {
    const auto found = with_index(device);
    return c10::Stream(c10::Stream::UNSAFE, found, current_streams[found.index()]);
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, with_index(device));
  }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return next_stream(device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return next_stream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const auto before = getStream(stream.device());
    current_streams[stream.device_index()] = stream.id();
    return before;
  }
  // The default stream's handle in CUDA, and here every stream's.
  void* getStreamNativeHandle(const c10::Stream) const override { return nullptr; }
  bool queryStream(const c10::Stream& stream) const override { return settle(moment(), stream.id()), true; }
  void synchronizeStream(const c10::Stream& stream) const override {
    count(Kind::Wait, "synchronizeStream");
    settle(moment(), stream.id());
  }
  void synchronizeDevice(const c10::DeviceIndex) const override {
    count(Kind::Wait, "synchronizeDevice");
    settle_all();
  }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (!*event) *event = new Event;
    *static_cast<Event*>(*event) = {now_ms(), moment(), stream.id()};
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override { delete static_cast<Event*>(event); }
  void block(void* event, const c10::Stream&) const override { come_to(event); }
  bool queryEvent(void* event) const override { return come_to(event), true; }
  void synchronizeEvent(void* event) const override {
    if (event) count(Kind::Wait, "synchronizeEvent");
    come_to(event);
  }
  double elapsedTime(void* from, void* to, const c10::DeviceIndex) const override {
    TORCH_CHECK(from && to, "Both events must be recorded before calculating elapsed time.");
    return static_cast<Event*>(to)->ms - static_cast<Event*>(from)->ms;
  }

  c10::DeviceIndex deviceCount() const noexcept override { return static_cast<c10::DeviceIndex>(num_devices()); }

 private:
  static void come_to(void* event) {
    if (!event) return;
    const auto& [ms, moment, stream] = *static_cast<Event*>(event);
    settle(moment, stream);
  }
};

}  // namespace

c10::DeviceIndex current_device() { return current; }

c10::StreamId current_stream() { return current_streams[current]; }

void set_device(c10::DeviceIndex index) {
  TORCH_CHECK(index >= 0 && index < num_devices(), "CUDA error: invalid device ordinal");
  current = index;
}

static c10::impl::DeviceGuardImplRegistrar guard_registered(c10::kCUDA, new Guard);

}  // namespace stand_in
