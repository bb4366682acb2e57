// What CUDA says of tensors on different devices.
#include "stand_in.h"

namespace stand_in {

void SameDevice::check(const at::Tensor& tensor, const std::string& argument, bool is_written) {
  if (!tensor.defined()) return;
  // index and index_put take their lists of indices from the CPU as well.
  if (!tensor.is_cuda() && argument == "indices") return;
  if (tensor.dim() == 0 && tensor.is_cpu() && iterates_ && !is_written) return;
  if (!device) {
    device = tensor.device();
    first_ = argument;
    return;
  }
  if (tensor.device() == *device) return;
  TORCH_CHECK(!iterates_, "Expected all tensors to be on the same device, but found at least two devices, ", *device, " and ",
              tensor.device(), "! (stand-in: ", op_, ", arguments ", first_, " and ", argument, ")");
  TORCH_CHECK(false, "Expected all tensors to be on the same device, but got ", argument, " is on ", tensor.device(),
              ", different from other tensors on ", *device, " (when checking argument in method wrapper_CUDA_", op_, ")");
}

}  // namespace stand_in
