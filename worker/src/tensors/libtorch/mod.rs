//! The few calls into libtorch that `tch` does not bind, through the C++ file beside this one.
//!
//! A failure here is a mistake in this crate (shapes that do not fit), so it panics with libtorch's message, as `tch`
//! does.

pub mod device;
mod flash;

use std::ffi::{CStr, c_char, c_void};
use std::ops::Range;
use std::ptr;

use tch::{Device, Kind, Tensor};
use tercet_configs::MatmulLibrary;

pub use flash::{FlashAttention, flash_attention};

/// Room for libtorch's message.
const MESSAGE_BYTES: usize = 4096;

/// A `torch::Tensor`, as `tch` hands it out.
type Handle = c_void;

unsafe extern "C" {
    fn tercet_layer_norm_backward(
        grad: *const Handle,
        input: *const Handle,
        mean: *const Handle,
        rstd: *const Handle,
        weight: *const Handle,
        bias: *const Handle,
        out: *mut *mut Handle,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
    fn tercet_product(
        a: *const Handle,
        b: *const Handle,
        sum: *mut Handle,
        beta: f32,
        onednn: bool,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
    fn tercet_parallel(
        count: i64,
        grain: i64,
        work: unsafe extern "C" fn(*const c_void, i64, i64),
        data: *const c_void,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
    fn tercet_device_memory(index: i64, out: *mut u64, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_settle_cuda(deterministic: bool, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_config(out: *mut c_char, out_len: usize, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_current_stream(index: i64, out: *mut *mut Handle, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_built_for_cuda(out: *mut i64, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_backward(
        outputs: *const *const Handle,
        grads: *const *const Handle,
        count: usize,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
    fn tercet_host_room(bytes: i64, out: *mut *mut Handle, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_send(into: *mut Handle, from: *const Handle, error: *mut c_char, error_len: usize) -> bool;
    fn tercet_norms(
        tensors: *const *const Handle,
        count: usize,
        out: *mut *mut Handle,
        error: *mut c_char,
        error_len: usize,
    ) -> bool;
}

/// What a layer norm's forward pass saves for its backward pass.
pub struct Normalised {
    /// The input, [T, d].
    pub input: Tensor,
    /// [T, 1].
    pub mean: Tensor,
    /// One over the standard deviation, [T, 1].
    pub rstd: Tensor,
}

/// Gradients of a layer norm's input [T, d], weight `[d]` and bias `[d]`, `grad` [T, d] being its output's.
pub fn layer_norm_backward(grad: &Tensor, saved: &Normalised, weight: &Tensor, bias: &Tensor) -> [Tensor; 3] {
    let mut out = [ptr::null_mut(); 3];
    checked(|error, len| {
        // SAFETY: all handles are of live tensors; `out` has room for the three that a successful call makes.
        unsafe {
            tercet_layer_norm_backward(
                handle(grad),
                handle(&saved.input),
                handle(&saved.mean),
                handle(&saved.rstd),
                handle(weight),
                handle(bias),
                out.as_mut_ptr(),
                error,
                len,
            )
        }
    });
    // SAFETY: the call made three tensors and gave them away.
    out.map(|made| unsafe { Tensor::from_ptr(made.cast()) })
}

/// `a`·`b`, [m, n] from [m, k] and [k, n]; float32 on a CPU by `library`.
pub fn product(library: MatmulLibrary, a: &Tensor, b: &Tensor) -> Tensor {
    let mut out = Tensor::empty([a.size()[0], b.size()[1]], (a.kind(), a.device()));
    set_product(library, &mut out, 0.0, a, b);
    out
}

/// Writes `a`·`b` over `out`; shapes as [`product`] has them. On a GPU `out` may be float32 where the others are
/// bfloat16.
pub fn product_into(library: MatmulLibrary, out: &mut Tensor, a: &Tensor, b: &Tensor) {
    set_product(library, out, 0.0, a, b);
}

/// Adds `a`·`b` to `sum`; shapes as [`product`] has them. On a GPU `sum` may be float32 where the others are bfloat16.
pub fn add_product(library: MatmulLibrary, sum: &mut Tensor, a: &Tensor, b: &Tensor) {
    set_product(library, sum, 1.0, a, b);
}

fn set_product(library: MatmulLibrary, sum: &mut Tensor, beta: f32, a: &Tensor, b: &Tensor) {
    let (sum, onednn) = (sum.as_mut_ptr().cast(), library == MatmulLibrary::Onednn);
    // SAFETY: all handles are of live tensors, and nothing else uses `sum` meanwhile.
    checked(|error, len| unsafe { tercet_product(handle(a), handle(b), sum, beta, onednn, error, len) });
}

/// Calls `work` with parts of 0..`count`, of at least `grain` each, on libtorch's threads.
pub fn parallel<W: Fn(Range<usize>) + Sync>(count: usize, grain: usize, work: W) {
    /// # Safety
    /// `data` points to a `W` that lives.
    unsafe extern "C" fn call<W: Fn(Range<usize>) + Sync>(data: *const c_void, begin: i64, end: i64) {
        // SAFETY: as the caller says; a `Sync` closure may be called from any thread.
        unsafe { (*data.cast::<W>())(begin as usize..end as usize) };
    }
    let data = (&raw const work).cast();
    // SAFETY: `work` outlives the call, which returns when all parts are done.
    checked(|error, len| unsafe { tercet_parallel(count as i64, grain as i64, call::<W>, data, error, len) });
}

/// Adds to the gradients of the leaves that `outputs` were computed from; each output comes with its own gradient.
pub fn backward(outputs: &[(&Tensor, &Tensor)]) {
    let roots: Vec<_> = outputs.iter().map(|(output, _)| handle(output)).collect();
    let grads: Vec<_> = outputs.iter().map(|(_, grad)| handle(grad)).collect();
    // SAFETY: both lists hold as many handles of live tensors as the count says.
    checked(|error, len| unsafe { tercet_backward(roots.as_ptr(), grads.as_ptr(), roots.len(), error, len) });
}

/// Makes libtorch compute on GPUs as Tercet promises:
///
/// - if `deterministic`, only by operations that give the same bits in every run; one that cannot is an error. New
///   memory is not filled for that, since nothing reads what it has not written;
/// - attention without cuDNN, which prepares itself for every new shape for about a second, and a step has hundreds;
/// - bfloat16 products are summed in float32, also where a product's parts are summed;
/// - float32 products are float32's, and not TF32's.
pub fn settle_cuda(deterministic: bool) {
    // SAFETY: the call only sets libtorch's own settings.
    checked(|error, len| unsafe { tercet_settle_cuda(deterministic, error, len) });
}

/// libtorch's version, CUDA's, and the settings of libtorch's build.
pub fn config() -> String {
    let mut text = [0 as c_char; 4 * MESSAGE_BYTES];
    // SAFETY: `text` has room for as many bytes as the call is told.
    checked(|error, len| unsafe { tercet_config(text.as_mut_ptr(), text.len(), error, len) });
    // SAFETY: the call leaves a text that ends within the buffer.
    unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned()
}

/// The CUDA that libtorch was built for, 1000 × major + 10 × minor; 0 if it does not tell, none of a build for the CPU
/// alone. No driver is asked.
pub fn built_for_cuda() -> Option<u32> {
    let mut out = 0;
    // SAFETY: the call writes one number.
    checked(|error, len| unsafe { tercet_built_for_cuda(&mut out, error, len) });
    u32::try_from(out).ok()
}

/// A GPU's memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct DeviceMemory {
    /// In tensors.
    pub held: u64,
    /// The most of that since the last call.
    pub peak: u64,
    /// What the driver has left.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// The memory of GPU `index`; begins a new peak.
pub fn device_memory(index: usize) -> DeviceMemory {
    let mut out = [0u64; 4];
    // SAFETY: `out` has room for the four numbers that the call writes.
    checked(|error, len| unsafe { tercet_device_memory(index as i64, out.as_mut_ptr(), error, len) });
    let [held, peak, free, total] = out;
    DeviceMemory { held, peak, free, total }
}

/// The address of the CUDA stream that the device's work goes to; 0, the default stream, of the CPU.
pub fn current_stream(device: Device) -> usize {
    let Device::Cuda(index) = device else { return 0 };
    let mut out = ptr::null_mut();
    // SAFETY: the call writes one handle.
    checked(|error, len| unsafe { tercet_current_stream(index as i64, &mut out, error, len) });
    out as usize
}

/// A tensor of any content on the host. Where there is a GPU, it lies in page-locked memory, if there is any: copies
/// from it need not wait, and copies to it are faster.
pub fn host_room(shape: &[i64], kind: Kind) -> Tensor {
    let bytes = shape.iter().product::<i64>() * kind.elt_size_in_bytes() as i64;
    let mut out = ptr::null_mut();
    // SAFETY: a successful call makes one tensor.
    checked(|error, len| unsafe { tercet_host_room(bytes, &mut out, error, len) });
    // SAFETY: the call made the tensor and gave it away.
    unsafe { Tensor::from_ptr(out.cast()) }.view_dtype(kind).view(shape)
}

/// The same with these bytes in it, which the calling thread copies by itself.
pub fn host_copy(bytes: &[u8]) -> Tensor {
    let room = host_room(&[bytes.len() as i64], Kind::Uint8);
    // SAFETY: the new tensor has room for as many bytes, in one piece, and nobody else knows it.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), room.data_ptr().cast(), bytes.len()) };
    room
}

/// Copies `from`, on the host, into `into`, on a device, behind what the device already has to do; the host does not
/// wait for it. Nobody writes to `from` any more; it may be dropped.
pub fn send(into: &mut Tensor, from: &Tensor) {
    // SAFETY: both handles are of live tensors; libtorch keeps page-locked memory until the copy is over, and has read
    // other memory when the call returns.
    checked(|error, len| unsafe { tercet_send(into.as_mut_ptr().cast(), handle(from), error, len) });
}

/// The 2-norms of `tensors`, each as it comes out in the tensors' own type. The host waits for the device once.
pub fn norms(tensors: &[Tensor]) -> Vec<f64> {
    let handles: Vec<_> = tensors.iter().filter(|tensor| tensor.numel() > 0).map(handle).collect();
    if handles.is_empty() {
        return vec![0.0; tensors.len()];
    }
    let mut out = ptr::null_mut();
    // SAFETY: the list holds as many handles of live tensors as the count says; a successful call makes one tensor.
    checked(|error, len| unsafe { tercet_norms(handles.as_ptr(), handles.len(), &mut out, error, len) });
    // SAFETY: the call made the tensor and gave it away.
    let found = unsafe { Tensor::from_ptr(out.cast()) };
    let mut found = Vec::<f64>::try_from(found).expect("64-bit numbers in one dimension").into_iter();
    tensors.iter().map(|tensor| if tensor.numel() == 0 { 0.0 } else { found.next().unwrap_or(f64::NAN) }).collect()
}

fn handle(tensor: &Tensor) -> *const Handle {
    tensor.as_ptr().cast()
}

fn checked(call: impl FnOnce(*mut c_char, usize) -> bool) {
    let mut message = [0 as c_char; MESSAGE_BYTES];
    if !call(message.as_mut_ptr(), MESSAGE_BYTES) {
        // SAFETY: a call that fails leaves a message that ends within the buffer.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) };
        panic!("libtorch: {}", message.to_string_lossy());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_together_have_the_bits_of_norms_one_by_one() {
        for kind in [Kind::Float, Kind::Double] {
            let all = Tensor::linspace(-3, 2, 200_003, (kind, Device::Cpu)).sin();
            let parts: Vec<Tensor> = [(0, 1), (1, 70_000), (70_001, 0), (70_001, 17), (70_018, 129_985)]
                .map(|(start, len)| all.narrow(0, start, len))
                .into();
            let expected: Vec<f64> = parts.iter().map(|part| part.norm().double_value(&[])).collect();
            assert_eq!(norms(&parts), expected);
        }
        assert!(norms(&[]).is_empty());
    }

    #[test]
    fn bytes_are_copied_as_they_are() {
        for bytes in [&[][..], &[7], &[0; 100_000]] {
            assert_eq!(Vec::<u8>::try_from(host_copy(bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_sent_arrives() {
        let mut room = host_room(&[2, 3], Kind::Int64);
        let _ = room.fill_(7);
        let mut into = Tensor::zeros([2, 3], (Kind::Int64, Device::Cpu));
        send(&mut into, &room);
        assert_eq!((into, room.kind()), (Tensor::full([2, 3], 7, (Kind::Int64, Device::Cpu)), Kind::Int64));
    }

    #[test]
    fn layer_norm_backward_is_autograds() {
        let options = (Kind::Double, Device::Cpu);
        let leaf = |shape: &[i64]| Tensor::linspace(-1, 2, shape.iter().product(), options).sin().view(shape).detach();
        let [input, weight, bias] = [leaf(&[3, 4]), leaf(&[4]), leaf(&[4])].map(|t| t.set_requires_grad(true));
        let grad = leaf(&[3, 4]) * 2.0;
        backward(&[(&input.layer_norm([4], Some(&weight), Some(&bias), 1e-5, true), &grad)]);
        let (_, mean, rstd) = tch::no_grad(|| input.native_layer_norm([4], Some(&weight), Some(&bias), 1e-5));
        let saved = Normalised { input: input.detach(), mean, rstd };
        let by_hand = layer_norm_backward(&grad, &saved, &weight.detach(), &bias.detach());
        for (leaf, gradient) in [input, weight, bias].iter().zip(by_hand) {
            assert!(leaf.grad().allclose(&gradient, 1e-12, 1e-12, false));
        }
    }

    #[test]
    fn products_are_libtorchs_by_every_library_in_every_type_and_layout() {
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5), (Kind::BFloat16, 1e-1)] {
            let filled = |shape: &[i64]| {
                let count = shape.iter().product();
                Tensor::linspace(-1, 2, count, (Kind::Double, Device::Cpu)).sin().view(shape).to_kind(kind)
            };
            let same = |ours: &Tensor, theirs: &Tensor| {
                let difference = (ours.to_kind(Kind::Double) - theirs.to_kind(Kind::Double)).abs();
                assert_eq!(ours.size(), theirs.size());
                assert!(difference.numel() == 0 || difference.max().double_value(&[]) < tolerance, "{kind:?}");
            };
            let (x, weight) = (filled(&[5, 7]), filled(&[3, 7]));
            for library in [MatmulLibrary::Onednn, MatmulLibrary::Blas] {
                for rows in [5, 1, 0] {
                    let x = x.narrow(0, 0, rows);
                    same(&product(library, &x, &weight.tr()), &x.matmul(&weight.tr()));
                }
                // A view of a larger buffer, as gradients are.
                let buffer = filled(&[40]);
                let mut sum = buffer.narrow(0, 2, 21).view([3, 7]);
                let grad = filled(&[5, 3]);
                let expected = &sum + grad.tr().matmul(&x);
                add_product(library, &mut sum, &grad.tr(), &x);
                same(&buffer.narrow(0, 2, 21).view([3, 7]), &expected);
            }
        }
    }

    #[test]
    #[should_panic(expected = "libtorch: ")]
    fn a_failure_carries_libtorchs_message() {
        let options = (Kind::Float, Device::Cpu);
        backward(&[(&Tensor::ones([2], options), &Tensor::ones([3], options))]);
    }
}
