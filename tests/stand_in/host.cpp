// What a device's tensor holds, as a CPU tensor over the shadow: of the same sizes, strides and offset, and tensors
// that share a storage share it here as well.
#include "stand_in.h"

namespace stand_in {

at::Tensor HostView::of(const at::Tensor& tensor) {
  const c10::Storage& storage = tensor.storage();
  c10::Storage host;
  for (const Pair& pair : seen_) {
    if (pair.device.storage().unsafeGetStorageImpl() == storage.unsafeGetStorageImpl()) host = pair.host;
  }
  if (!host) {
    void* memory = to_shadow(storage.data());
    host = c10::Storage(c10::Storage::use_byte_size_t(), storage.nbytes(), at::DataPtr(memory, c10::kCPU), nullptr, false);
    seen_.push_back({tensor, host});
  }
  auto view = at::detail::make_tensor<c10::TensorImpl>(std::move(host), c10::DispatchKeySet(c10::DispatchKey::CPU),
                                                       tensor.dtype());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  return view;
}

at::Tensor HostView::back(const at::Tensor& result) const {
  for (const Pair& pair : seen_) {
    if (pair.host.unsafeGetStorageImpl() == result.storage().unsafeGetStorageImpl()) return pair.device;
  }
  return {};
}

}  // namespace stand_in
