// A STAND-IN for tests, not CUDA: devices of libtorch's type CUDA on a libtorch that has only its CPU part.
//
// Each device has a range of addresses that nobody can read or write, the device addresses: code that follows a
// device's pointer is killed by SIGSEGV, as it would be with a GPU. What a device holds lies in a second range, the
// shadow, at a fixed distance from the first. Only this library looks at it. An operator runs the CPU's kernel on
// tensors over the shadow, after the checks that CUDA's kernels make.
//
// Variables of the environment; N is a number:
//
//   STAND_IN_GPUS=N         devices (1); CUDA_VISIBLE_DEVICES hides some
//   STAND_IN_MIB=N          memory of each (16384)
//   STAND_IN_CONTEXT_MIB=N  of which the driver's context takes so much (0)
//   STAND_IN_CAPABILITY=N   compute capability, 10 · major + minor (80): 90 makes attention prefer cuDNN
//   STAND_IN_DRIVER=N       the driver's version as CUDA writes it (13000)
//   STAND_IN_ERROR=N        the error of cudaGetDeviceCount: there are no devices
//   STAND_IN_READABLE=1     device addresses are the shadow: the host may read them
//   STAND_IN_POISON=0       new memory is as it is found, not filled with 0xff: NaN, or an absurd index
//   STAND_IN_ATOMICS=0      sums that CUDA makes with atomics have a fixed order, though nothing asked for one
//   STAND_IN_LARGEST=N      products of more multiplications are not done: a measurement of speed is none here
//   STAND_IN_COPY_MS=N      a copy in another stream than the default one takes so long (0)
//   STAND_IN_FAIL=OPERATOR:N:WORDS  the Nth call of the operator fails with these words
//   STAND_IN_COUNTS=FILE    a file to which each process, at its end, appends what it asked of the devices, as FILE.PID
//   STAND_IN_PLACES=1       the counts say where in the program: return addresses (places.py names them)
#ifndef TERCET_STAND_IN_H
#define TERCET_STAND_IN_H

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <string>
#include <vector>

// front.c
extern "C" int stand_in_num_devices(void);
extern "C" int stand_in_capability(void);

namespace stand_in {

inline int num_devices() {
  static const int count = stand_in_num_devices();
  return count;
}

// A number of the environment.
size_t number(const char* name, size_t otherwise);

// --- memory.cpp
void* to_shadow(const void* device_address);
// The device whose memory this is; -1: none.
int owner_of(const void* address);
c10::DeviceAllocator* allocator();

// --- pinned.cpp: host memory that is pinned, and copies that are under way between it and a device.
c10::Allocator* pinned_allocator();
bool is_pinned(const void* address);
// Whether this thread has asked for that memory: nobody has filled it while this thread did something else.
bool is_made_by_this_thread(const void* pinned);
// What was asked of the devices before now.
uint64_t moment();
// A copy from pinned memory has been asked for: until it is over nobody may write there.
void begin_reading(const at::Tensor& pinned);
// A copy to pinned memory has been asked for: nobody finds a device's `values` there until it is over. In another
// stream than the default one it has not been made before, so it copies what the device then has.
void begin_writing(const at::Tensor& pinned, const at::Tensor& values);
// All copies that were asked for in a stream until `moment` are over.
void settle(uint64_t moment, c10::StreamId stream);
// All copies that were asked for in the current stream are over; in all streams.
void settle();
void settle_all();

// --- runtime.cpp
c10::DeviceIndex current_device();
void set_device(c10::DeviceIndex index);
c10::StreamId current_stream();

// --- host.cpp: what a device's tensor holds, as a CPU tensor that lies over it.
class HostView {
 public:
  at::Tensor of(const at::Tensor& device_tensor);
  // The device's tensor that shares its memory with `result`; undefined if there is none.
  at::Tensor back(const at::Tensor& result) const;

 private:
  struct Pair {
    at::Tensor device;
    c10::Storage host;
  };
  std::vector<Pair> seen_;
};

// --- counts.cpp
enum class Kind { Launch, Wait, Copy };
// Counts, and fails where STAND_IN_FAIL says so.
void count(Kind kind, const std::string& what);
// Counts the bytes that an operator reads and writes.
void count_bytes(const std::string& what, int64_t bytes);
// The bytes that a tensor's elements take in memory.
int64_t bytes_of(const at::Tensor& tensor);
// What this library itself does with the devices is not the program's doing.
struct Silent {
  Silent();
  ~Silent();
};

// --- settings.cpp
// Notes what libtorch is set to now.
void note_settings();

// --- determinism.cpp
// Fails with CUDA's words if a deterministic algorithm is demanded and CUDA has none for this call.
void check_determinism(const std::string& op, const c10::FunctionSchema& schema, const c10::IValue* arguments);
// Whether CUDA sums in an order that is another one each time.
bool sums_in_any_order();
// 0..len in an order that is another one each time.
at::Tensor any_order(int64_t len);
// Puts an index_add's or scatter_add's terms (host tensors) into any order; other operators are left alone.
void shuffle_terms(const std::string& op, const c10::FunctionSchema& schema, c10::IValue* arguments);

// --- checks.cpp: what CUDA says of tensors on different devices.
class SameDevice {
 public:
  SameDevice(const std::string& op, bool iterates) : op_(op), iterates_(iterates) {}
  void check(const at::Tensor& tensor, const std::string& argument, bool is_written);
  // The device of the first tensor that is on one.
  std::optional<c10::Device> device;

 private:
  const std::string& op_;
  // Its kernel goes through TensorIterator or looks for itself: CPU tensors without dimensions may be read.
  bool iterates_;
  std::string first_;
};

}  // namespace stand_in

#endif
