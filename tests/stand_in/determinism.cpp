// Determinism as CUDA has it: what throws where deterministic algorithms are demanded, and what comes out differently
// every time where they are not.
//
// The table is that of the documentation of torch.use_deterministic_algorithms (2.13), less what a text encoder has no
// use for (pooling, interpolation, padding of pictures). Operators that the documentation says to be deterministic in
// that mode by another kernel are not in it: index_add, index_put, scatter, scatter_add, gather's and index_select's
// backward.
#include "stand_in.h"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <unordered_map>

namespace stand_in {
namespace {

// An argument by its name.
struct Arguments {
  const c10::FunctionSchema& schema;
  const c10::IValue* values;

  const c10::IValue& operator[](const char* name) const {
    const auto& all = schema.arguments();
    const auto found = std::find_if(all.begin(), all.end(), [&](const c10::Argument& a) { return a.name() == name; });
    TORCH_INTERNAL_ASSERT(found != all.end());
    return values[found - all.begin()];
  }
};

struct Alert {
  // What CUDA's kernel calls itself.
  const char* caller;
  std::function<bool(const Arguments&)> applies;
};

bool always(const Arguments&) { return true; }

bool is_fractional(const Arguments& given) {
  const auto& tensor = given["self"].toTensor();
  return tensor.is_floating_point() || tensor.is_complex();
}

// With and without `.out`, and in place.
const std::unordered_map<std::string, Alert>& alerts() {
  static const auto* all = [] {
    auto* made = new std::unordered_map<std::string, Alert>;
    auto add = [&](std::initializer_list<const char*> names, const char* caller, std::function<bool(const Arguments&)> when) {
      for (const char* name : names) (*made)[name] = {caller, when};
    };
    add({"cumsum", "cumsum.out", "cumsum_"}, "cumsum_cuda_kernel", is_fractional);
    add({"put_"}, "put_", always);
    add({"histc", "histc.out"}, "_histc_cuda with floating point input", is_fractional);
    add({"bincount"}, "_bincount_cuda", [](const Arguments& given) { return !given["weights"].isNone(); });
    add({"median.dim", "median.dim_values"}, "median CUDA with indices output", always);
    add({"scatter_reduce.two", "scatter_reduce.two_out", "scatter_reduce_.two"}, "scatter_reduce_cuda_prod_",
        [](const Arguments& given) { return given["reduce"].toStringRef() == "prod"; });
    add({"index_reduce", "index_reduce.out", "index_reduce_"}, "index_reduce_cuda", always);
    add({"_embedding_bag_dense_backward"}, "embedding_bag_backward_cuda_max",
        [](const Arguments& given) { return given["mode"].toInt() == 2; });
    add({"nll_loss2d_forward", "nll_loss2d_forward.output"}, "nll_loss2d_forward_out_cuda_template", always);
    add({"nll_loss2d_backward", "nll_loss2d_backward.grad_input"}, "nll_loss2d_backward_out_cuda_template", always);
    add({"_ctc_loss_backward"}, "ctc_loss_backward_gpu", always);
    return made;
  }();
  return *all;
}

bool starts_with(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }

}  // namespace

void check_determinism(const std::string& op, const c10::FunctionSchema& schema, const c10::IValue* values) {
  if (!at::globalContext().deterministicAlgorithms()) return;
  const auto found = alerts().find(op);
  if (found == alerts().end() || !found->second.applies({schema, values})) return;
  at::globalContext().alertNotDeterministic(found->second.caller);
}

bool sums_in_any_order() {
  static const bool wanted = number("STAND_IN_ATOMICS", 1);
  return wanted && !at::globalContext().deterministicAlgorithms();
}

at::Tensor any_order(int64_t len) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  std::vector<int64_t> order(len);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  return at::tensor(order, at::kLong);
}

void shuffle_terms(const std::string& op, const c10::FunctionSchema& schema, c10::IValue* values) {
  const bool index_add = starts_with(op, "index_add"), scatter_add = starts_with(op, "scatter_add");
  if (!(index_add || scatter_add) || !sums_in_any_order()) return;
  const Arguments given{schema, values};
  const auto& terms = given[index_add ? "source" : "src"].toTensor();
  const auto& index = given["index"].toTensor();
  if (!terms.is_floating_point() || index.dim() == 0 || terms.dim() == 0) return;
  const int64_t dim = at::maybe_wrap_dim(given["dim"].toInt(), terms.dim());
  const auto order = any_order(index_add ? index.numel() : index.size(dim));
  auto& all = schema.arguments();
  for (size_t i = 0; i < all.size(); ++i) {
    const auto& name = all[i].name();
    if (name == "index") values[i] = index.index_select(index_add ? 0 : dim, order);
    // scatter_add reads only as much of src as there is index.
    else if (name == "source") values[i] = terms.index_select(dim, order);
    else if (name == "src") values[i] = terms.narrow(dim, 0, index.size(dim)).index_select(dim, order);
  }
}

}  // namespace stand_in
