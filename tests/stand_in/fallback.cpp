// Every operator that has no kernel of its own here: checked as CUDA's kernels check, then done by the CPU's kernel
// over the shadow.
#include "stand_in.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <unordered_map>
#include <unordered_set>

#include "operators.inc"

namespace stand_in {
namespace {

using Stack = torch::jit::Stack;
using Names = std::unordered_set<std::string>;

#define NAME(name) name,
// Their kernels go through TensorIterator or look for themselves; the others have the check that torchgen writes.
const Names UNCHECKED_NAMES = {UNCHECKED(NAME)};
const Names WITHOUT_CPU_NAMES = {WITHOUT_CPU(NAME)};
const Names WITHOUT_CUDA_NAMES = {WITHOUT_CUDA(NAME)};
#undef NAME

// What reads a result on the host to know its size.
const Names WAITING = {"nonzero", "nonzero.out", "masked_select", "masked_select.out", "_unique2", "unique_dim",
                       "unique_consecutive", "repeat_interleave.Tensor", "equal", "bincount", "histc", "is_nonzero"};

// What is known of an operator before it is called.
struct Facts {
  std::string name;
  bool iterates, waits, has_cpu, has_cuda, overwrites;
};

const Facts& facts_of(const c10::OperatorHandle& op) {
  static thread_local std::unordered_map<std::string, Facts> known;
  const auto& full = op.schema().operator_name();
  auto base = full.name.substr(full.name.find("::") + 2);
  auto name = full.overload_name.empty() ? base : base + "." + full.overload_name;
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  const Facts facts{name, UNCHECKED_NAMES.count(name) > 0, WAITING.count(name) > 0, WITHOUT_CPU_NAMES.count(name) == 0,
                    WITHOUT_CUDA_NAMES.count(name) == 0, base == "fill_" || base == "zero_" || base == "bernoulli_"};
  return known[name] = facts;
}

bool writes(const c10::Argument& argument) { return argument.alias_info() && argument.alias_info()->isWrite(); }

struct Call {
  const Facts& facts;
  HostView views;
  SameDevice same;
  // Written arguments that the CPU's kernel may resize: the device's tensor, and the host's in its place.
  std::vector<std::pair<at::Tensor, at::Tensor>> resizable;

  explicit Call(const Facts& facts) : facts(facts), same(facts.name, facts.iterates) {}

  at::Tensor to_host(const at::Tensor& tensor, const c10::Argument& argument) {
    if (!tensor.defined() || !tensor.is_cuda()) return tensor;
    if (writes(argument) && tensor.numel() == 0) {
      auto host = at::empty_like(tensor, tensor.options().device(at::kCPU));
      resizable.emplace_back(tensor, host);
      return host;
    }
    return views.of(tensor);
  }

  at::Tensor to_device(const at::Tensor& result) {
    if (!result.defined() || !same.device || !result.is_cpu()) return result;
    if (auto owner = views.back(result); owner.defined()) {
      return at::as_strided(owner, result.sizes(), result.strides(), result.storage_offset());
    }
    auto moved = at::empty_strided(result.sizes(), result.strides(), result.options().device(*same.device));
    HostView().of(moved).copy_(result);
    return moved;
  }
};

// The bytes that the device's tensors of a value take.
int64_t bytes_of_all(const c10::IValue& value) {
  auto of = [](const at::Tensor& tensor) { return tensor.defined() && tensor.is_cuda() ? bytes_of(tensor) : 0; };
  if (value.isTensor()) return of(value.toTensor());
  int64_t bytes = 0;
  if (value.isTensorList()) for (const at::Tensor& tensor : value.toTensorVector()) bytes += of(tensor);
  return bytes;
}

// Calls `each` with all tensors of a value, and puts what it returns in their place.
template <class Each>
void replace(c10::IValue& value, Each each) {
  if (value.isTensor()) {
    value = each(value.toTensor());
  } else if (value.isTensorList()) {
    c10::List<at::Tensor> all;
    for (const at::Tensor& tensor : value.toTensorVector()) all.push_back(each(tensor));
    value = all;
  } else if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> all;
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
      all.push_back(tensor && tensor->defined() ? std::optional(each(*tensor)) : tensor);
    }
    value = all;
  }
}

bool is_too_large(const std::string& name, const std::vector<c10::IValue>& given) {
  static const char* text = std::getenv("STAND_IN_LARGEST");
  if (!text || (name != "mm.out" && name != "addmm.out")) return false;
  const bool adds = name == "addmm.out";
  const auto a = given[adds].toTensor(), b = given[adds + 1].toTensor();
  return double(a.size(0)) * a.size(1) * b.size(1) > std::atof(text);
}

void fallback(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  Call call(facts_of(op));
  const auto& arguments = schema.arguments();
  const size_t begin = stack->size() - arguments.size();
  const auto& name = call.facts.name;
  count(Kind::Launch, name);
  if (call.facts.waits) {
    count(Kind::Wait, name);
    settle();
  }
  int64_t bytes = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const int64_t own = bytes_of_all((*stack)[begin + i]);
    const bool only_written = writes(arguments[i]) && (arguments[i].kwarg_only() || call.facts.overwrites);
    bytes += own * (writes(arguments[i]) && !only_written ? 2 : 1);
  }
  const struct Counted {
    const std::string& name;
    int64_t& bytes;
    ~Counted() { count_bytes(name, bytes); }
  } counted{name, bytes};
  const Silent quiet;

  TORCH_CHECK_NOT_IMPLEMENTED(call.facts.has_cuda, "Could not run 'aten::", name,
                              "' with arguments from the 'CUDA' backend. (stand-in: CUDA has no kernel for it)");
  TORCH_CHECK_NOT_IMPLEMENTED(call.facts.has_cpu, "stand-in: aten::", name,
                              " has no kernel for the CPU that could stand in for CUDA's: write one in tests/stand_in");
  check_determinism(name, schema, stack->data() + begin);
  // The first pass only checks: the device is the first CUDA tensor's, wherever among the arguments that is.
  for (size_t i = 0; i < arguments.size(); ++i) {
    replace((*stack)[begin + i], [&](const at::Tensor& tensor) {
      call.same.check(tensor, arguments[i].name(), writes(arguments[i]));
      return tensor;
    });
  }
  auto& device = call.same.device;
  const std::vector<c10::IValue> given(stack->begin() + begin, stack->end());
  for (size_t i = 0; i < arguments.size(); ++i) {
    c10::IValue& value = (*stack)[begin + i];
    if (value.isDevice()) {
      if (!device) device = value.toDevice();
      value = c10::Device(c10::kCPU);
    } else if (value.isGenerator()) {
      value = c10::IValue();
    } else {
      replace(value, [&](const at::Tensor& tensor) { return call.to_host(tensor, arguments[i]); });
    }
  }
  if (device && !device->has_index()) device = c10::Device(c10::kCUDA, current_device());
  const c10::OptionalDeviceGuard guard(device);
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (is_too_large(name, given)) {
    // The product's place is left as it is found.
    const auto out = given.back();
    stack->erase(stack->begin() + begin, stack->end());
    stack->push_back(out);
    return;
  }
  shuffle_terms(name, schema, stack->data() + begin);
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);

  for (auto& [device_tensor, host] : call.resizable) {
    if (host.numel() == 0 && host.sizes() == device_tensor.sizes()) continue;
    device_tensor.resize_(host.sizes());
    if (host.numel() > 0) HostView().of(device_tensor).copy_(host);
  }
  const auto& returns = schema.returns();
  const size_t results = stack->size() - returns.size();
  for (size_t i = 0; i < returns.size(); ++i) {
    c10::IValue& value = (*stack)[results + i];
    if (!writes(returns[i])) {
      replace(value, [&](const at::Tensor& tensor) {
        const auto moved = call.to_device(tensor);
        if (moved.defined() && moved.is_cuda() && !call.views.back(tensor).defined()) bytes += bytes_of(moved);
        return moved;
      });
      continue;
    }
    // What was written is returned as it was given.
    for (size_t j = 0; j < arguments.size(); ++j) {
      if (writes(arguments[j]) && *arguments[j].alias_info() == *returns[i].alias_info()) value = given[j];
    }
  }
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

#define REGISTER(name) library.impl(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());
// Without this the composite kernels would be taken, which make several operators of what is one with CUDA.
TORCH_LIBRARY_IMPL(aten, CUDA, library) { SHADOWED(REGISTER) }
#undef REGISTER

}  // namespace
}  // namespace stand_in
