// Calls into libtorch that the `tch` crate does not bind. Those about devices themselves are in device.cpp.

#include "attempt.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/stack.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>
#include <cstring>
#include <vector>

namespace at::native {

// oneDNN's product, result = beta·result + alpha·mat1·mat2. libtorch exports it, but installs no header that declares
// it.
TORCH_API void mkldnn_matmul(const Tensor& mat1, const Tensor& mat2, const Tensor& result, float beta, float alpha);

}  // namespace at::native

namespace {

bool has_onednn(const at::Tensor& a) {
  return a.is_cpu() && a.scalar_type() == at::kFloat && a.numel() > 0 && at::globalContext().hasMKLDNN();
}

}  // namespace

extern "C" {

// out receives three new tensors: the gradients of input, weight and bias.
bool tercet_layer_norm_backward(const at::Tensor* grad, const at::Tensor* input, const at::Tensor* mean,
                                const at::Tensor* rstd, const at::Tensor* weight, const at::Tensor* bias,
                                at::Tensor** out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    const auto width = weight->sizes();
    auto [d_input, d_weight, d_bias] =
        at::native_layer_norm_backward(*grad, *input, width, *mean, *rstd, *weight, *bias, {true, true, true});
    out[0] = new at::Tensor(d_input);
    out[1] = new at::Tensor(d_weight);
    out[2] = new at::Tensor(d_bias);
  });
}

// Attention of queries to keys and values of texts that lie side by side; `starts` are int32 [texts + 1]. out receives
// four new tensors: the result, the logarithms of sums, and the two that dropout's masks follow from.
bool tercet_flash_attention(const at::Tensor* query, const at::Tensor* key, const at::Tensor* value,
                            const at::Tensor* starts_query, const at::Tensor* starts_key, int64_t longest_query,
                            int64_t longest_key, double dropout, double scale, at::Tensor** out, char* error,
                            size_t error_len) {
  return attempt(error, error_len, [&] {
    auto [output, log_sums, state, unused, mask] =
        at::_flash_attention_forward(*query, *key, *value, *starts_query, *starts_key, longest_query, longest_key,
                                     dropout, /*is_causal=*/false, /*return_debug_mask=*/false, scale);
    out[0] = new at::Tensor(output);
    out[1] = new at::Tensor(log_sums);
    out[2] = new at::Tensor(state);
    out[3] = new at::Tensor(unused);
  });
}

// sum = beta·sum + a·b, of matrices; in float32 on a CPU by oneDNN if `onednn`, and else as libtorch does it. On a GPU
// `sum` may be float32 where a and b are bfloat16: then nothing is rounded before it is added.
bool tercet_product(const at::Tensor* a, const at::Tensor* b, at::Tensor* sum, float beta, bool onednn, char* error,
                    size_t error_len) {
  return attempt(error, error_len, [&] {
    if (onednn && has_onednn(*a) && sum->numel() > 0) {
      at::native::mkldnn_matmul(*a, *b, *sum, beta, 1.0f);
    } else if (sum->scalar_type() != a->scalar_type()) {
      at::addmm_out(*sum, *sum, *a, *b, sum->scalar_type(), beta, 1);
    } else {
      at::addmm_out(*sum, *sum, *a, *b, beta, 1);
    }
  });
}

// out receives a GPU's bytes: held by tensors, at most held since the last call, free, and in all; begins a new peak.
bool tercet_device_memory(int64_t index, uint64_t* out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    auto* allocator = c10::getDeviceAllocator(c10::kCUDA);
    const auto held = allocator->getDeviceStats(index).allocated_bytes[0];
    const auto [free, total] = allocator->getMemoryInfo(index);
    out[0] = held.current;
    out[1] = held.peak;
    out[2] = free;
    out[3] = total;
    allocator->resetPeakStats(index);
  });
}

// How this process computes on GPUs; the Rust side says why.
bool tercet_settle_cuda(bool deterministic, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setSDPUseCuDNN(false);
    context.setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false, /*allow_splitk=*/true);
    context.setAllowTF32CuBLAS(false);
    context.setAllowTF32CuDNN(false);
  });
}

// Calls `work` with parts of 0..count of at least `grain` on libtorch's threads.
bool tercet_parallel(int64_t count, int64_t grain, void (*work)(const void*, int64_t, int64_t), const void* data,
                     char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) { work(data, begin, end); });
  });
}

// How libtorch was built, as text; what does not fit into `out` is left off.
bool tercet_config(char* out, size_t out_len, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    std::strncpy(out, at::show_config().c_str(), out_len - 1);
    out[out_len - 1] = '\0';
  });
}

// out receives the handle of the stream that a GPU's work goes to from this thread.
bool tercet_current_stream(int64_t index, void** out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    const auto stream = guard.getStream(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index)));
    *out = guard.getStreamNativeHandle(stream);
  });
}

// Adds to the leaves below `outputs` what the gradients `grads` of the outputs ask for.
bool tercet_backward(const at::Tensor* const* outputs, const at::Tensor* const* grads, size_t count, char* error,
                     size_t error_len) {
  return attempt(error, error_len, [&] {
    std::vector<at::Tensor> roots, seeds;
    for (size_t i = 0; i < count; ++i) {
      roots.push_back(*outputs[i]);
      seeds.push_back(*grads[i]);
    }
    torch::autograd::backward(roots, seeds);
  });
}

// out receives the CUDA that libtorch was built for, 1000 × major + 10 × minor; -1 of a build for the CPU alone, 0 of
// one that does not tell. Asks no driver.
bool tercet_built_for_cuda(int64_t* out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    *out = -1;
    if (!c10::impl::hasDeviceGuardImpl(c10::kCUDA)) return;
    try {
      *out = at::globalContext().versionCUDART();
    } catch (const c10::Error&) {
      *out = 0;
    }
  });
}

// out receives a tensor of `bytes` bytes, of any content, in the host's memory: page-locked where libtorch has a GPU's
// driver to ask for it. libtorch keeps such memory for the next one, and gives none away that a copy still reads.
bool tercet_host_room(int64_t bytes, at::Tensor** out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    static std::atomic<bool> is_lockable = at::globalContext().hasCUDA();
    if (is_lockable) {
      try {
        *out = new at::Tensor(at::empty({bytes}, at::TensorOptions(at::kByte).pinned_memory(true)));
        return;
      } catch (const c10::Error&) {
        is_lockable = false;  // from now on copies are slower
      }
    }
    *out = new at::Tensor(at::empty({bytes}, at::TensorOptions(at::kByte)));
  });
}

// Copies `from`, on the host, into `into`, on a device, behind the device's other work; the host does not wait.
bool tercet_send(at::Tensor* into, const at::Tensor* from, char* error, size_t error_len) {
  return attempt(error, error_len, [&] { into->copy_(*from, /*non_blocking=*/true); });
}

// out receives the 2-norms of `count` tensors of one device, as 64-bit numbers.
bool tercet_norms(const at::Tensor* const* tensors, size_t count, at::Tensor** out, char* error, size_t error_len) {
  return attempt(error, error_len, [&] {
    std::vector<at::Tensor> all;
    for (size_t i = 0; i < count; ++i) all.push_back(*tensors[i]);
    *out = new at::Tensor(at::stack(at::_foreach_norm(all, 2)).to(at::kDouble));
  });
}

}
