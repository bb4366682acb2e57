// Matrix products of bfloat16 or float16 whose result is float32: CUDA has them, the CPU has not.
#include "stand_in.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

namespace stand_in {
namespace {

using at::Tensor;

void check(const char* op, c10::ScalarType dtype, const Tensor& a, const Tensor& b, const Tensor& out) {
  SameDevice same(op, false);
  same.check(a, "mat1", false);
  same.check(b, "mat2", false);
  same.check(out, "out", true);
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), "expected mat1 and mat2 to have the same dtype, but got: ",
              a.scalar_type(), " != ", b.scalar_type());
  const bool is_half = a.scalar_type() == at::kBFloat16 || a.scalar_type() == at::kHalf;
  TORCH_CHECK(dtype == a.scalar_type() || (dtype == at::kFloat && is_half),
              "out_dtype must be the same as input dtype or fp32 for fp16/bf16 inputs");
  TORCH_CHECK(out.scalar_type() == dtype, "out_dtype must be the same as the dtype of the provided out tensor");
}

Tensor& addmm_out(const Tensor& self, const Tensor& a, const Tensor& b, c10::ScalarType dtype, const at::Scalar& beta,
                  const at::Scalar& alpha, Tensor& out) {
  check("addmm_dtype_out", dtype, a, b, out);
  TORCH_CHECK(self.scalar_type() == dtype || self.scalar_type() == a.scalar_type(), "self dtype must match either out_dtype or mat1 dtype");
  SameDevice same("addmm_dtype_out", false);
  same.check(self, "self", false);
  same.check(out, "out", true);
  count(Kind::Launch, "addmm.dtype_out");
  const Silent quiet;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  HostView views;
  auto into = views.of(out);
  const auto summand = self.is_same(out) ? into : views.of(self).to(dtype);
  at::addmm_out(into, summand, views.of(a).to(dtype), views.of(b).to(dtype), beta, alpha);
  return out;
}

Tensor& mm_out(const Tensor& a, const Tensor& b, c10::ScalarType dtype, Tensor& out) {
  check("mm_dtype_out", dtype, a, b, out);
  count(Kind::Launch, "mm.dtype_out");
  const Silent quiet;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  HostView views;
  auto into = views.of(out);
  at::mm_out(into, views.of(a).to(dtype), views.of(b).to(dtype));
  return out;
}

Tensor addmm(const Tensor& self, const Tensor& a, const Tensor& b, c10::ScalarType dtype, const at::Scalar& beta,
             const at::Scalar& alpha) {
  auto out = at::empty({a.size(0), b.size(1)}, a.options().dtype(dtype));
  return addmm_out(self, a, b, dtype, beta, alpha, out);
}

Tensor mm(const Tensor& a, const Tensor& b, c10::ScalarType dtype) {
  auto out = at::empty({a.size(0), b.size(1)}, a.options().dtype(dtype));
  return mm_out(a, b, dtype, out);
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("addmm.dtype_out", addmm_out);
  library.impl("addmm.dtype", addmm);
  library.impl("mm.dtype_out", mm_out);
  library.impl("mm.dtype", mm);
}

}  // namespace
}  // namespace stand_in
