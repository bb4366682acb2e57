// Attention as CUDA has it: which kernel libtorch would choose, and the flash kernel over texts that lie side by side,
// of which the CPU has none.
//
// It computes in float32 from all similarities of a text, and rounds at the end. Dropout's masks are drawn from a seed
// that the forward pass hands to the backward pass, as CUDA's kernel does.
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

Tensor host(HostView& views, const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  const auto host = tensor.is_cuda() ? views.of(tensor) : tensor;
  return host.scalar_type() == at::kDouble ? host : host.to(at::kFloat);
}

// One text's: rows that ask, [h, r, k], to tokens that answer, [h, n, k].
struct Similarities {
  Tensor log_sums, probabilities;
  // Of dropout; undefined without.
  Tensor factors;

  Similarities(const Tensor& query, const Tensor& key, double dropout, bool causal, double scale, at::Generator& generator) {
    auto scores = query.matmul(key.transpose(-2, -1)) * scale;
    if (causal) {
      const auto keeps = at::ones({scores.size(-2), scores.size(-1)}, at::kBool).tril();
      scores = scores.masked_fill(keeps.logical_not(), -INFINITY);
    }
    log_sums = scores.logsumexp(-1);
    probabilities = (scores - log_sums.unsqueeze(-1)).exp();
    if (dropout > 0) {
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

// Texts that lie side by side: rows that ask, [R, h, k], and tokens that answer, [T, h, k].
struct Texts {
  std::vector<int> asks, answers;

  Texts(HostView& views, const Tensor& starts_query, const Tensor& starts_key, int64_t longest_query, int64_t longest_key)
      : asks(host_of(views, starts_query)), answers(host_of(views, starts_key)) {
    TORCH_CHECK(asks.size() == answers.size() && asks.size() > 1, "cu_seqlens_k must have shape (batch_size + 1)");
    TORCH_CHECK(asks.front() == 0 && answers.front() == 0, "texts begin at row 0");
    TORCH_CHECK(asks.size() - 1 <= 65535, "CUDA error: invalid configuration argument");
    for (size_t i = 0; i + 1 < asks.size(); ++i) {
      TORCH_CHECK(asks[i + 1] - asks[i] <= longest_query && answers[i + 1] - answers[i] <= longest_key,
                  "a text is longer than max_seqlen says: the kernel would leave its end out");
    }
  }

  size_t size() const { return asks.size() - 1; }
  // [h, rows of text i, k] and [h, its tokens, k].
  Tensor asking(const Tensor& rows, size_t i) const { return of(rows, asks, i); }
  Tensor answering(const Tensor& rows, size_t i) const { return of(rows, answers, i); }

 private:
  static std::vector<int> host_of(HostView& views, const Tensor& starts) {
    TORCH_CHECK(starts.scalar_type() == at::kInt, "cu_seqlens must have dtype int32");
    TORCH_CHECK(starts.is_cuda(), "cu_seqlens must be on the device");
    TORCH_CHECK(starts.is_contiguous(), "cu_seqlens must be contiguous");
    const auto host = views.of(starts);
    const int* first = host.data_ptr<int>();
    return {first, first + host.numel()};
  }
  static Tensor of(const Tensor& rows, const std::vector<int>& starts, size_t i) {
    return rows.narrow(0, starts[i], starts[i + 1] - starts[i]).transpose(0, 1);
  }
};

// CUDA's backward pass holds sums of the queries' gradients in float32: as many as multiprocessors share a head where
// the order of addition is fixed, each text with 128 rows more, and a number for each row.
Tensor room_of_sums(const Tensor& query, int64_t texts) {
  constexpr int64_t multiprocessors = 108;
  const int64_t heads = query.size(1), size = query.size(2), unit = size > 128 ? 64 : 32;
  const int64_t shares = at::globalContext().deterministicAlgorithms() ? (multiprocessors + texts * heads - 1) / (texts * heads) : 1;
  const int64_t rounded = (size + unit - 1) / unit * unit;
  return at::empty({(query.size(0) + 128 * texts) * heads * (shares * rounded + 1)}, query.options().dtype(at::kFloat));
}

// CUDA leaves what lies behind the last text as it was, without a word.
void check_ends(const Texts& texts, const Tensor& query, const Tensor& key) {
  TORCH_CHECK(texts.asks.back() == query.size(0) && texts.answers.back() == key.size(0), "the last text ends elsewhere");
}

void check_flash(const Tensor& query, const Tensor& key, const Tensor& value) {
  TORCH_CHECK(key.sizes() == value.sizes() && query.size(1) == key.size(1) && query.size(2) == key.size(2),
              "shapes of query, key and value do not go together");
  TORCH_CHECK(stand_in_capability() >= 80, "FlashAttention only supports Ampere GPUs or newer.");
  TORCH_CHECK(query.scalar_type() == at::kBFloat16 || query.scalar_type() == at::kHalf,
              "FlashAttention only support fp16 and bf16 data type");
  for (const auto& part : {query, key, value}) {
    TORCH_CHECK(part.dim() == 3 && part.stride(-1) == 1, "Input tensor must have contiguous last dimension");
    TORCH_CHECK(part.scalar_type() == query.scalar_type(), "query, key and value must have the same dtype");
  }
  TORCH_CHECK(query.size(-1) % 8 == 0 && query.size(-1) <= 256, "head_size should be a multiple of 8, at most 256");
}

// CUDA sums a query's gradient over blocks of keys in the order in which they are done, unless it is told not to.
Tensor over_keys(const Tensor& d_scores, const Tensor& key) {
  if (!sums_in_any_order()) return d_scores.matmul(key);
  const auto order = any_order(key.size(-2));
  return d_scores.index_select(-1, order).matmul(key.index_select(-2, order));
}

// --- Forward and backward

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> flash(
    const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& starts_query,
    const std::optional<Tensor>& starts_key, c10::SymInt longest_query, c10::SymInt longest_key, double dropout, bool causal,
    bool, std::optional<double> scale, std::optional<c10::SymInt>, std::optional<c10::SymInt>, const std::optional<Tensor>&,
    const std::optional<Tensor>&, const std::optional<Tensor>&, std::optional<int64_t>) {
  const char* op = "_flash_attention_forward";
  check_devices(op, query, {{"key", key}, {"value", value}});
  check_flash(query, key, value);
  count(Kind::Launch, op);
  const Silent quiet;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  HostView views;
  const Texts texts(views, *starts_query, *starts_key, longest_query.expect_int(), longest_key.expect_int());
  check_ends(texts, query, key);
  const auto q = host(views, query), k = host(views, key), v = host(views, value);
  int64_t seed = 0;
  // Another one every time, as CUDA's generator moves on.
  if (dropout > 0) seed = at::empty({}, at::kLong).random_().item<int64_t>();
  auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
  auto output = at::empty_like(q, at::MemoryFormat::Contiguous);
  auto log_sums = at::empty({query.size(1), query.size(0)}, q.options());
  for (size_t i = 0; i < texts.size(); ++i) {
    const Similarities all(texts.asking(q, i), texts.answering(k, i), dropout, causal, scale_of(query, scale), generator);
    texts.asking(output, i).copy_(all.dropped(all.probabilities).matmul(texts.answering(v, i)));
    log_sums.narrow(1, texts.asks[i], all.log_sums.size(1)).copy_(all.log_sums);
  }
  // Two numbers of 64 bits without a sign, as CUDA has them.
  const auto state = at::empty({2}, at::kLong).fill_(seed).to(at::kUInt64).to(query.device());
  return {to_device(output, query), to_device(log_sums, query, at::kFloat), state,
          at::empty({}, at::kLong).fill_(0).to(at::kUInt64).to(query.device()), Tensor()};
}

std::tuple<Tensor, Tensor, Tensor> flash_backward(
    const Tensor& grad, const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& out, const Tensor& log_sums,
    const Tensor& starts_query, const Tensor& starts_key, c10::SymInt longest_query, c10::SymInt longest_key, double dropout,
    bool causal, const Tensor& state, const Tensor&, std::optional<double> scale, std::optional<c10::SymInt>,
    std::optional<c10::SymInt>) {
  const char* op = "_flash_attention_backward";
  check_devices(op, query, {{"key", key}, {"value", value}, {"grad_out", grad}, {"out", out}, {"logsumexp", log_sums}});
  check_flash(query, key, value);
  count(Kind::Launch, op);
  const Silent quiet;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  HostView views;
  const Texts texts(views, starts_query, starts_key, longest_query.expect_int(), longest_key.expect_int());
  check_ends(texts, query, key);
  const auto q = host(views, query), k = host(views, key), v = host(views, value), d = host(views, grad);
  const auto factor = scale_of(query, scale);
  const auto room = room_of_sums(query, texts.size());
  auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(views.of(state).data_ptr<uint64_t>()[0]));
  const auto d_query = at::empty_like(q, at::MemoryFormat::Contiguous), d_key = at::empty_like(k, at::MemoryFormat::Contiguous),
             d_value = at::empty_like(v, at::MemoryFormat::Contiguous);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto own_q = texts.asking(q, i), own_k = texts.answering(k, i), own_d = texts.asking(d, i);
    const Similarities all(own_q, own_k, dropout, causal, factor, generator);
    const auto& p = all.probabilities;
    const auto d_p = all.dropped(own_d.matmul(texts.answering(v, i).transpose(-2, -1)));
    const auto d_scores = p * (d_p - (d_p * p).sum(-1, true)) * factor;
    texts.asking(d_query, i).copy_(over_keys(d_scores, own_k));
    texts.answering(d_key, i).copy_(d_scores.transpose(-2, -1).matmul(own_q));
    texts.answering(d_value, i).copy_(all.dropped(p).transpose(-2, -1).matmul(own_d));
  }
  return {to_device(d_query, query), to_device(d_key, key), to_device(d_value, value)};
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("_fused_sdp_choice", choice);
  library.impl("_flash_attention_forward", flash);
  library.impl("_flash_attention_backward", flash_backward);
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
