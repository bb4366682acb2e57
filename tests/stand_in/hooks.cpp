// What the CPU part of libtorch asks its CUDA part for: generators, pinned memory, versions.
#include "stand_in.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/detail/CUDAHooksInterface.h>

namespace stand_in {
namespace {

// Only its seed is used: operators that draw do so with the CPU's generator, which torch::manual_seed seeds as well.
struct Generator final : c10::GeneratorImpl {
  explicit Generator(c10::DeviceIndex index)
      : GeneratorImpl(c10::Device(c10::kCUDA, index), c10::DispatchKeySet(c10::DispatchKey::CUDA)) {}
  uint64_t seed_ = c10::default_rng_seed_val, offset_ = 0;
  void set_current_seed(uint64_t seed) override { seed_ = seed, offset_ = 0; }
  void set_offset(uint64_t offset) override { offset_ = offset; }
  uint64_t get_offset() const override { return offset_; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override { return seed_; }
  void set_state(const c10::TensorImpl&) override { TORCH_CHECK(false, "stand-in: a generator's state"); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { TORCH_CHECK(false, "stand-in: a generator's state"); }
  GeneratorImpl* clone_impl() const override { return new Generator(device().index()); }
};

}  // namespace
}  // namespace stand_in

namespace at {

// The registry wants this name.
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  static DeviceIndex or_current(DeviceIndex index) { return index < 0 ? stand_in::current_device() : index; }

  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return stand_in::num_devices() > 0; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  // Of the library, not of the machine.
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasCuDNN() const override { return true; }
  bool hasCuBLASLt() const override { return true; }
  bool compiledWithCuDNN() const override { return true; }
  int getNumGPUs() const override { return stand_in::num_devices(); }
  DeviceIndex deviceCount() const override { return static_cast<DeviceIndex>(stand_in::num_devices()); }
  DeviceIndex current_device() const override { return stand_in::num_devices() > 0 ? stand_in::current_device() : -1; }
  DeviceIndex getCurrentDevice() const override { return stand_in::current_device(); }
  void setCurrentDevice(DeviceIndex index) const override { stand_in::set_device(index); }
  DeviceIndex exchangeDevice(DeviceIndex index) const override {
    const auto before = stand_in::current_device();
    stand_in::set_device(index);
    return before;
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override { return exchangeDevice(index); }
  void deviceSynchronize(DeviceIndex) const override {
    stand_in::count(stand_in::Kind::Wait, "deviceSynchronize");
    stand_in::settle_all();
  }
  Allocator* getCUDADeviceAllocator() const override { return stand_in::allocator(); }
  Allocator* getPinnedMemoryAllocator() const override { return stand_in::pinned_allocator(); }
  bool isPinnedPtr(const void* address) const override { return stand_in::is_pinned(address); }
  Device getDeviceFromPtr(void* address) const override {
    const int owner = stand_in::owner_of(address);
    TORCH_CHECK(owner >= 0, "The specified pointer resides on host memory and is not registered with any CUDA device.");
    return Device(kCUDA, static_cast<DeviceIndex>(owner));
  }
  const Generator& getDefaultGenerator(DeviceIndex index) const override {
    static const auto* all = [] {
      auto* made = new std::vector<Generator>;
      for (int i = 0; i < stand_in::num_devices(); ++i) made->push_back(make_generator<stand_in::Generator>(i));
      return made;
    }();
    return all->at(or_current(index));
  }
  Generator getNewGenerator(DeviceIndex index) const override {
    return make_generator<stand_in::Generator>(or_current(index));
  }
  long versionCUDART() const override { return 13000; }
  long versionCuDNN() const override { return 92000; }
  long versionRuntimeCuDNN() const override { return 92000; }
  std::string showConfig() const override {
    return "  - CUDA Runtime 13.0\n  - CuDNN 92.0\n  - A STAND-IN of CUDA, for tests\n";
  }
};

REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace at
