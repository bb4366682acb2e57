// Attention as CUDA has it: which kernel is chosen, and the kernels, of which the CPU has none.
//
// All of them compute in float32 (float64 for float64) from all similarities, and round at the end. Dropout's mask is
// drawn from a seed that the forward pass hands to the backward pass, as CUDA's kernels do.
#include "stand_in.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/SDPBackend.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <torch/library.h>

#include <cmath>

namespace stand_in {
namespace {

using at::Tensor;
using at::SDPBackend;

// --- The choice

struct Asked {
  const Tensor &query, &key, &value;
  bool has_mask;
  double dropout;

  bool is_half() const { return query.scalar_type() == at::kBFloat16 || query.scalar_type() == at::kHalf; }
  bool same_width() const { return query.size(-1) == key.size(-1) && query.size(-1) == value.size(-1); }
  bool has_fast_last_dim() const {
    auto fast = [](const Tensor& t) { return t.stride(-1) == 1 || t.size(-1) == 1; };
    return fast(query) && fast(key) && fast(value);
  }
  bool is_possible() const {
    return query.dim() == 4 && query.size(2) > 0 && key.size(2) > 0 && has_fast_last_dim() && stand_in_capability() >= 80;
  }
  bool fits_flash() const {
    return at::globalContext().userEnabledFlashSDP() && is_possible() && is_half() && !has_mask && same_width() &&
           query.size(-1) <= 256;
  }
  bool fits_efficient() const {
    const int64_t unit = is_half() ? 8 : 4;
    return at::globalContext().userEnabledMemEfficientSDP() && is_possible() && (is_half() || query.scalar_type() == at::kFloat) &&
           query.size(-1) % unit == 0 && value.size(-1) % unit == 0;
  }
  bool fits_cudnn() const {
    const auto& context = at::globalContext();
    const bool deterministic = context.deterministicAlgorithms() && !context.deterministicAlgorithmsWarnOnly();
    return context.userEnabledCuDNNSDP() && is_possible() && is_half() && !deterministic && key.size(2) != 1 &&
           query.size(-1) % 8 == 0 && query.size(-1) <= 128;
  }
};

// CUDA's order, by which cuDNN comes first on Hopper and Blackwell and last elsewhere.
int64_t choice(const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& mask,
               double dropout, bool, std::optional<double>, bool) {
  const Asked asked{query, key, value, mask && mask->defined(), dropout};
  const int major = stand_in_capability() / 10;
  const bool cudnn_first = major == 9 || major == 10;
  auto chosen = SDPBackend::math;
  if (cudnn_first && asked.fits_cudnn()) chosen = SDPBackend::cudnn_attention;
  else if (asked.fits_flash()) chosen = SDPBackend::flash_attention;
  else if (asked.fits_efficient()) chosen = SDPBackend::efficient_attention;
  else TORCH_CHECK(at::globalContext().userEnabledMathSDP(), "No available kernel. Aborting execution.");
  return static_cast<int64_t>(chosen);
}

// --- Forward and backward

Tensor host(HostView& views, const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  const auto host = tensor.is_cuda() ? views.of(tensor) : tensor;
  return host.scalar_type() == at::kDouble ? host : host.to(at::kFloat);
}

struct Similarities {
  Tensor log_sums, probabilities;
  // Of dropout; undefined without.
  Tensor factors;

  Similarities(const Tensor& query, const Tensor& key, const Tensor& bias, double dropout, bool causal, double scale,
               int64_t seed) {
    auto scores = query.matmul(key.transpose(-2, -1)) * scale;
    if (bias.defined()) scores = scores + bias.to(scores.scalar_type());
    if (causal) {
      const auto keeps = at::ones({scores.size(-2), scores.size(-1)}, at::kBool).tril();
      scores = scores.masked_fill(keeps.logical_not(), -INFINITY);
    }
    log_sums = scores.logsumexp(-1);
    probabilities = (scores - log_sums.unsqueeze(-1)).exp();
    if (dropout > 0) {
      auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
      factors = at::empty_like(probabilities).bernoulli_(1 - dropout, generator) / (1 - dropout);
    }
  }

  Tensor dropped(const Tensor& t) const { return factors.defined() ? t * factors : t; }
};

void check_devices(const char* op, const Tensor& query, std::initializer_list<std::pair<const char*, Tensor>> others) {
  const std::string name = op;
  SameDevice same(name, false);
  same.check(query, "query", false);
  for (const auto& [argument, tensor] : others) same.check(tensor, argument, false);
}

double scale_of(const Tensor& query, std::optional<double> scale) {
  return scale.value_or(1.0 / std::sqrt(static_cast<double>(query.size(-1))));
}

Tensor to_device(const Tensor& host, const Tensor& like, std::optional<at::ScalarType> type = {}) {
  return host.to(type.value_or(like.scalar_type())).to(like.device());
}

struct Forward {
  Tensor output, log_sums, seed;
};

Forward forward(const char* op, const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& bias,
                double dropout, bool causal, std::optional<double> scale) {
  check_devices(op, query, {{"key", key}, {"value", value}, {"attn_bias", bias}});
  count(Kind::Launch, op);
  const Silent quiet;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  HostView views;
  int64_t seed = 0;
  // Another one every time, as CUDA's generator moves on.
  if (dropout > 0) seed = at::empty({}, at::kLong).random_().item<int64_t>();
  const Similarities all(host(views, query), host(views, key), host(views, bias), dropout, causal, scale_of(query, scale),
                         seed);
  // [B, h, L, k], rows of all heads beside each other, as the kernels write them.
  const auto output = all.dropped(all.probabilities).matmul(host(views, value)).transpose(1, 2).contiguous().transpose(1, 2);
  return {to_device(output, query), to_device(all.log_sums, query, at::kFloat),
          at::empty({}, at::kLong).fill_(seed).to(query.device())};
}

// CUDA sums a query's gradient over blocks of keys in the order in which they are done, unless it is told not to.
Tensor over_keys(const Tensor& d_scores, const Tensor& key) {
  if (!sums_in_any_order()) return d_scores.matmul(key);
  const auto order = any_order(key.size(-2));
  return d_scores.index_select(-1, order).matmul(key.index_select(-2, order));
}

std::tuple<Tensor, Tensor, Tensor> backward(const char* op, const Tensor& grad, const Tensor& query, const Tensor& key,
                                            const Tensor& value, const Tensor& bias, const Tensor& seed, double dropout,
                                            bool causal, std::optional<double> scale) {
  if (!grad.defined()) return {};
  check_devices(op, query, {{"key", key}, {"value", value}, {"attn_bias", bias}, {"grad_out", grad}});
  count(Kind::Launch, op);
  const Silent quiet;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  HostView views;
  const auto q = host(views, query), k = host(views, key), v = host(views, value), d = host(views, grad);
  const auto factor = scale_of(query, scale);
  const Similarities all(q, k, host(views, bias), dropout, causal, factor, views.of(seed).item<int64_t>());
  const auto& p = all.probabilities;
  const auto d_value = all.dropped(p).transpose(-2, -1).matmul(d);
  const auto d_p = all.dropped(d.matmul(v.transpose(-2, -1)));
  const auto d_scores = p * (d_p - (d_p * p).sum(-1, true)) * factor;
  return {to_device(over_keys(d_scores, k), query), to_device(d_scores.transpose(-2, -1).matmul(q), key),
          to_device(d_value, value)};
}

// --- libtorch's three

std::tuple<Tensor, Tensor, Tensor, Tensor> efficient(const Tensor& query, const Tensor& key, const Tensor& value,
                                                     const std::optional<Tensor>& bias, bool, double dropout, bool causal,
                                                     std::optional<double> scale) {
  const auto done = forward("_scaled_dot_product_efficient_attention", query, key, value, bias.value_or(Tensor()), dropout,
                            causal, scale);
  return {done.output, done.log_sums, done.seed, done.seed};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> efficient_backward(
    const Tensor& grad, const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& bias, const Tensor&,
    const Tensor&, const Tensor& seed, const Tensor&, double dropout, std::array<bool, 4>, bool causal,
    std::optional<double> scale) {
  auto [d_query, d_key, d_value] = backward("_scaled_dot_product_efficient_attention_backward", grad, query, key, value,
                                            bias, seed, dropout, causal, scale);
  return {d_query, d_key, d_value, Tensor()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor> flash(
    const Tensor& query, const Tensor& key, const Tensor& value, double dropout, bool causal, bool, std::optional<double> scale) {
  const auto done = forward("_scaled_dot_product_flash_attention", query, key, value, Tensor(), dropout, causal, scale);
  return {done.output, done.log_sums, Tensor(), Tensor(), query.size(2), key.size(2), done.seed, done.seed, Tensor()};
}

std::tuple<Tensor, Tensor, Tensor> flash_backward(const Tensor& grad, const Tensor& query, const Tensor& key,
                                                  const Tensor& value, const Tensor&, const Tensor&, const Tensor&,
                                                  const Tensor&, c10::SymInt, c10::SymInt, double dropout, bool causal,
                                                  const Tensor& seed, const Tensor&, std::optional<double> scale) {
  return backward("_scaled_dot_product_flash_attention_backward", grad, query, key, value, Tensor(), seed, dropout, causal,
                  scale);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor> cudnn(
    const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& bias, bool, double dropout,
    bool causal, bool, std::optional<double> scale) {
  const auto done =
      forward("_scaled_dot_product_cudnn_attention", query, key, value, bias.value_or(Tensor()), dropout, causal, scale);
  return {done.output, done.log_sums, Tensor(), Tensor(), query.size(2), key.size(2), done.seed, done.seed, Tensor()};
}

std::tuple<Tensor, Tensor, Tensor> cudnn_backward(const Tensor& grad, const Tensor& query, const Tensor& key,
                                                  const Tensor& value, const Tensor&, const Tensor&, const Tensor& seed,
                                                  const Tensor&, const Tensor& bias, const Tensor&, const Tensor&,
                                                  c10::SymInt, c10::SymInt, double dropout, bool causal,
                                                  std::optional<double> scale) {
  return backward("_scaled_dot_product_cudnn_attention_backward", grad, query, key, value, bias, seed, dropout, causal,
                  scale);
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("_fused_sdp_choice", choice);
  library.impl("_scaled_dot_product_efficient_attention", efficient);
  library.impl("_scaled_dot_product_efficient_attention_backward", efficient_backward);
  library.impl("_scaled_dot_product_flash_attention", flash);
  library.impl("_scaled_dot_product_flash_attention_backward", flash_backward);
  library.impl("_scaled_dot_product_cudnn_attention", cudnn);
  library.impl("_scaled_dot_product_cudnn_attention_backward", cudnn_backward);
}

}  // namespace

// For the table below, which is at::native's.
int64_t chosen_attention(const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& mask,
                         double dropout, bool causal, std::optional<double> scale, bool grouped) {
  return choice(query, key, value, mask, dropout, causal, scale, grouped);
}

}  // namespace stand_in

namespace at::native {
// scaled_dot_product_attention asks this table and not the operator.
REGISTER_CUDA_DISPATCH(_fused_sdp_choice_stub, &stand_in::chosen_attention)
}
