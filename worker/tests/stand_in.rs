//! What the stand-in of a CUDA device catches, and what it allows: one mistake after another, in processes of their own
//! (this test program again, on the device). Also what it must have of a real one, because the worker relies on it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use tch::{Device, Kind, TchError, Tensor};
use tercet_tests::stand_in::StandIn;

/// The variable that says which mistake a process is to make.
const MISTAKE: &str = "TERCET_TEST_MISTAKE";
const GPU: (Kind, Device) = (Kind::Float, Device::Cuda(0));
const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

const MIXED: &str = "Expected all tensors to be on the same device";

/// A try: its name, what it does, and what is said of it; nothing is said of what is allowed.
type Try = (&'static str, fn() -> Result<Tensor, TchError>, &'static str);

fn four(options: (Kind, Device)) -> Tensor {
    Tensor::ones([4], options)
}

fn square(options: (Kind, Device)) -> Tensor {
    Tensor::ones([4, 4], options)
}

fn indices(device: Device) -> Tensor {
    Tensor::arange(3, (Kind::Int64, device))
}

fn mask(device: Device) -> Tensor {
    Tensor::ones([4], (Kind::Bool, device))
}

/// All but what kills a process.
const TRIES: [Try; 22] = [
    ("add", || four(GPU).f_add(&four(CPU)), MIXED),
    ("add into", || four(GPU).f_add_out(&four(CPU), &four(GPU)), MIXED),
    ("a number of the host", || four(GPU).f_mul(&Tensor::ones([0; 0], CPU)), ""),
    ("a number of the host, first", || Tensor::ones([0; 0], CPU).f_mul(&four(GPU)), ""),
    ("mm", || square(GPU).f_mm(&square(CPU)), "got mat2 is on cpu, different from other tensors on cuda:0"),
    ("linear", || square(GPU).f_linear(&square(GPU), Some(&four(CPU))), MIXED),
    ("layer norm", || square(GPU).f_layer_norm([4], Some(&four(CPU)), Some(&four(GPU)), 1e-5, true), MIXED),
    ("index by the host's", || four(GPU).f_index(&[Some(indices(Device::Cpu))]), ""),
    ("index_select", || four(GPU).f_index_select(0, &indices(Device::Cpu)), MIXED),
    // A check of shapes comes first here, and finds the same in other words.
    (
        "index_add",
        || four(GPU).f_index_add(0, &indices(Device::Cuda(0)), &Tensor::ones([3], CPU)),
        "in the same device",
    ),
    ("gather", || four(GPU).f_gather(0, &indices(Device::Cpu), false), MIXED),
    ("cat", || Tensor::f_cat(&[four(GPU), four(CPU)], 0), MIXED),
    ("masked_fill", || four(GPU).f_masked_fill_tensor(&mask(Device::Cpu), &Tensor::zeros([0; 0], CPU)), MIXED),
    ("where", || four(GPU).f_where_self(&mask(Device::Cuda(0)), &four(CPU)), MIXED),
    ("two devices", || four(GPU).f_add(&four((Kind::Float, Device::Cuda(1)))), MIXED),
    ("a device that is not there", || Tensor::f_ones([4], (Kind::Float, Device::Cuda(7))), "invalid device ordinal"),
    ("too much memory", || Tensor::f_empty([1 << 40], GPU), "CUDA out of memory. Tried to allocate"),
    ("what is in new memory", || Ok(assert_nan(&Tensor::empty([4], GPU))), ""),
    ("backward", || Ok(gradient()), ""),
    ("what CUDA has not", || four(GPU).f_to_mkldnn(None::<Kind>), "CUDA has no kernel for it"),
    ("bfloat16 products in float32", || wide_product(), ""),
    ("copies that nobody waits for", || Ok(pinned_copies()), ""),
];

fn assert_nan(tensor: &Tensor) -> Tensor {
    let sum = tensor.sum(Kind::Float);
    assert!(sum.double_value(&[]).is_nan());
    sum
}

fn gradient() -> Tensor {
    let w = square(GPU).set_requires_grad(true);
    w.mm(&w).sum(Kind::Float).backward();
    assert_eq!(w.grad().sum(Kind::Float).double_value(&[]), 128.0);
    w.grad()
}

fn wide_product() -> Result<Tensor, TchError> {
    let half = square((Kind::BFloat16, Device::Cuda(0)));
    let sum = square(GPU);
    let out = sum.f_addmm_dtype_out(&sum, &half, &half, Kind::Float)?;
    assert_eq!((out.kind(), out.double_value(&[3, 3])), (Kind::Float, 5.0));
    Ok(out)
}

/// A copy to pinned memory is there when somebody has waited, and not before.
fn pinned_copies() -> Tensor {
    let host = four(GPU).internal_to_copy(CPU, true);
    assert!(host.is_pinned(Device::Cuda(0)) && !four(CPU).is_pinned(Device::Cuda(0)));
    assert!(host.double_value(&[0]).is_nan(), "the copy was over at once");
    tch::Cuda::synchronize(0);
    assert_eq!(host.double_value(&[0]), 1.0);
    host
}

fn child(mistake: &str) -> Option<Output> {
    let devices = StandIn::new(2)?;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["stand_in::one_mistake", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    Some(command.env(MISTAKE, mistake).envs(devices.variables()).output().unwrap())
}

#[test]
fn mistakes_with_devices_are_caught_in_cudas_words() {
    let Some(output) = child("all but what kills") else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("all tried"), "{text}");
}

/// The driver of a GPU would say so, or the processor.
#[test]
fn the_host_cannot_touch_a_devices_memory() {
    for mistake in ["read", "write"] {
        let Some(output) = child(mistake) else { return };
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{mistake}: {output:?}");
    }
}

/// A buffer that is filled again while a copy from it is under way.
#[test]
fn a_buffer_that_is_used_too_early_is_noticed() {
    let Some(output) = child("too early") else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("pinned memory was written to while a copy from it"), "{text}");
}

#[test]
#[ignore = "a process of the other tests"]
fn one_mistake() {
    let Ok(mistake) = std::env::var(MISTAKE) else { return };
    let memory = || four(GPU).data_ptr().cast::<f32>();
    match mistake.as_str() {
        // SAFETY: the addresses are a device's, and nobody may follow them: that is what is tried.
        "read" => println!("{}", unsafe { memory().read_volatile() }),
        // SAFETY: as above.
        "write" => unsafe { memory().write_volatile(1.0) },
        "too early" => {
            let mut pinned = four(CPU).pin_memory(Device::Cuda(0));
            let _on_device = pinned.internal_to_copy(GPU, true);
            let _ = pinned.fill_(2.0);
            tch::Cuda::synchronize(0);
        }
        _ => {
            for (name, attempt, words) in TRIES {
                let said = attempt().err().map_or(String::new(), |error| error.to_string());
                assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{name}: {said}, not {words:?}");
            }
            println!("all tried");
        }
    }
}
