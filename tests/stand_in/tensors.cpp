// The operators of memory that a device must do itself: to make tensors, to look at them otherwise, to copy them.
#include "stand_in.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_local_scalar_dense_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <cstring>

namespace stand_in {
namespace {

using at::Tensor;
constexpr c10::DispatchKeySet KEYS(c10::DispatchKey::CUDA);

c10::Device with_index(std::optional<c10::Device> device) {
  const auto given = device.value_or(c10::Device(c10::kCUDA));
  const c10::Device found(c10::kCUDA, given.has_index() ? given.index() : current_device());
  TORCH_CHECK(given.is_cuda() && found.index() < num_devices(), "CUDA error: invalid device ordinal");
  return found;
}

// --- Memory

Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
             std::optional<c10::Device> device, std::optional<bool> pinned, std::optional<c10::MemoryFormat> format) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::DeviceGuard guard(with_index(device));
  return at::detail::empty_generic(size, allocator(), KEYS, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                     std::optional<c10::Layout>, std::optional<c10::Device> device, std::optional<bool> pinned) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  const c10::DeviceGuard guard(with_index(device));
  return at::detail::empty_strided_generic(size, stride, allocator(), KEYS, c10::dtype_or_default(dtype));
}

// libtorch's own copies what was there by the host.
const Tensor& resize(const Tensor& self, c10::SymIntArrayRef sizes, std::optional<c10::MemoryFormat>) {
  const auto size = C10_AS_INTARRAYREF_SLOW(sizes);
  auto* impl = self.unsafeGetTensorImpl();
  const size_t bytes = at::detail::computeStorageNbytesContiguous(size, self.itemsize(), self.storage_offset());
  auto* storage = self.storage().unsafeGetStorageImpl();
  if (bytes > storage->nbytes()) {
    const c10::DeviceGuard guard(self.device());
    auto larger = allocator()->allocate(bytes);
    if (storage->nbytes() > 0) std::memcpy(to_shadow(larger.get()), to_shadow(storage->data()), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(larger));
    storage->set_nbytes(bytes);
  }
  impl->set_sizes_contiguous(size);
  return self;
}

Tensor& set_storage(Tensor& self, at::Storage storage, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  return at::native::set_storage_cpu_(self, std::move(storage), offset, size, stride);
}

// --- Views

Tensor as_strided(const Tensor& self, c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}

// --- Copies

enum class Way { ToDevice, ToHost, Within, Between };

Way way_of(const Tensor& to, const Tensor& from) {
  if (!from.is_cuda()) return Way::ToDevice;
  if (!to.is_cuda()) return Way::ToHost;
  return to.device() == from.device() ? Way::Within : Way::Between;
}

const char* name_of(Way way) {
  return way == Way::ToDevice ? "host-to-device" : way == Way::ToHost ? "device-to-host" : "device-to-device";
}

// A copy that does not block: bytes as they are, between pinned memory and a device.
bool is_under_way(Way way, const Tensor& to, const Tensor& from) {
  if (way != Way::ToDevice && way != Way::ToHost) return false;
  const Tensor& host = way == Way::ToDevice ? from : to;
  return to.scalar_type() == from.scalar_type() && to.is_contiguous() && from.is_contiguous() && to.sizes() == from.sizes() &&
         is_pinned(host.const_data_ptr());
}

Tensor& copy(Tensor& self, const Tensor& source, bool non_blocking) {
  if (self.is_same(source)) return self;
  const auto way = way_of(self, source);
  bool later = false;
  if (self.numel() > 0) {
    const bool converts = self.scalar_type() != source.scalar_type();
    if (way == Way::Within) {
      count(Kind::Launch, converts ? "copy_ (converts)" : "copy_");
    } else {
      later = non_blocking && is_under_way(way, self, source);
      const std::string name = name_of(way);
      const bool made_late = later && way == Way::ToDevice && is_made_by_this_thread(source.const_data_ptr());
      const char* blocks = converts ? " (blocks, converts)" : " (blocks)";
      count(Kind::Copy, name + (!later ? blocks : made_late ? " (made late)" : " (under way)"));
      // From memory that is not pinned the driver waits even where it is not asked to.
      if (way != Way::Between && !later) {
        count(Kind::Wait, name);
        settle();
      }
    }
    if (way == Way::Within) count_bytes("copy_", bytes_of(source) + bytes_of(self));
  }
  const Silent quiet;
  HostView views;
  auto host = [&](const Tensor& tensor) { return tensor.is_cuda() ? views.of(tensor) : tensor; };
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (later && way == Way::ToHost) {
    begin_writing(self, source);
    return self;
  }
  host(self).copy_(host(source));
  if (later) begin_reading(source);
  return self;
}

at::Scalar local_scalar(const Tensor& self) {
  count(Kind::Wait, "_local_scalar_dense");
  settle();
  return at::native::_local_scalar_dense_cpu(HostView().of(self));
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("resize_", resize);
  library.impl("set_.source_Storage", [](Tensor& self, at::Storage s) -> Tensor& { return at::native::set_(self, s); });
  library.impl("set_.source_Storage_storage_offset", set_storage);
  library.impl("set_.source_Tensor", at::native::set_tensor_);
  library.impl("as_strided", as_strided);
  library.impl("view", [](const Tensor& self, c10::IntArrayRef size) { return at::native::view(self, size); });
  library.impl("_reshape_alias", [](const Tensor& self, c10::IntArrayRef size, c10::IntArrayRef stride) {
    return at::native::_reshape_alias(self, size, stride);
  });
  // As an operator: the composite one asks a table of kernels that has none for CUDA.
  library.impl("copy_", copy);
  library.impl("_local_scalar_dense", local_scalar);
}

}  // namespace
}  // namespace stand_in
