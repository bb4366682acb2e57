// Calls about a GPU itself: its allocator's cache, moments in its work, streams beside its own. They go through c10's
// interfaces, which are there in every build of libtorch.

#include "attempt.h"

#include <ATen/core/Tensor.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdint>

extern "C" {

// Gives memory that libtorch's allocator keeps for later back to the driver.
bool tercet_empty_cache(char* error, size_t error_len) {
  return attempt(error, error_len, [&] { c10::getDeviceAllocator(c10::kCUDA)->emptyCache(); });
}

// out receives a moment that was not marked yet.
bool tercet_moment_new(void** out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] { *out = new c10::Event(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT); });
}

void tercet_moment_free(void* moment) { delete static_cast<c10::Event*>(moment); }

// Marks the end of what a GPU's current stream was asked to do so far.
bool tercet_moment_mark(void* moment, int64_t index, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    static_cast<c10::Event*>(moment)->record(guard.getStream(device));
  });
}

// Marks the end of what a stream was asked to do so far.
bool tercet_moment_mark_in(void* moment, const void* stream, char* error, size_t error_len) {
  return attempt(error, error_len,
                 [&] { static_cast<c10::Event*>(moment)->record(*static_cast<const c10::Stream*>(stream)); });
}

// Returns when the GPU has come to a marked moment.
bool tercet_moment_wait(const void* moment, char* error, size_t error_len) {
  return attempt(error, error_len, [&] { static_cast<const c10::Event*>(moment)->synchronize(); });
}

// out receives a stream of a GPU beside the one that its work goes to.
bool tercet_stream_new(int64_t index, void** out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    *out = new c10::Stream(guard.getStreamFromGlobalPool(device, /*isHighPriority=*/false));
  });
}

void tercet_stream_free(void* stream) { delete static_cast<c10::Stream*>(stream); }

// What the stream is asked for from now on comes after what the GPU's current stream was asked for so far.
bool tercet_stream_follow(const void* stream, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    const auto& behind = *static_cast<const c10::Stream*>(stream);
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    c10::Event now(c10::kCUDA);
    now.record(guard.getStream(behind.device()));
    now.block(behind);
  });
}

// What the GPU's current stream is asked for from now on comes after what the stream was asked for so far.
bool tercet_stream_precede(const void* stream, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    const auto& before = *static_cast<const c10::Stream*>(stream);
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    c10::Event now(c10::kCUDA);
    now.record(before);
    now.block(guard.getStream(before.device()));
  });
}

// Copies a GPU's `from` into `into`, on the host, in a stream; the host does not wait.
bool tercet_stream_copy(const void* stream, at::Tensor* into, const at::Tensor* from, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    const c10::StreamGuard guard(*static_cast<const c10::Stream*>(stream));
    into->copy_(*from, /*non_blocking=*/true);
  });
}

// out receives whether the GPU has come to a marked moment.
bool tercet_moment_is_over(const void* moment, bool* out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] { *out = static_cast<const c10::Event*>(moment)->query(); });
}

// out receives the milliseconds between two moments to which the GPU has come.
bool tercet_moment_millis(const void* from, const void* to, double* out, char* error, size_t error_len) {
  return attempt(error, error_len,
                 [&] { *out = static_cast<const c10::Event*>(from)->elapsedTime(*static_cast<const c10::Event*>(to)); });
}

}
