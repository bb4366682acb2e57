//! What a GPU's failure means, in the words in which CUDA, its libraries and NCCL report it: the exit code, and what to
//! do.
//!
//! CUDA's texts are those of `cudaGetErrorString` and `cuGetErrorString`, and the names of status codes that libtorch
//! puts into its own messages. Nothing else of them is promised to stay, so only short pieces are looked for.
//!
//! A kernel runs after the call that asked for it. Its failure shows at some later call, which is then named although
//! it did nothing wrong; the text says so wherever that may be the case.

use std::sync::OnceLock;

use tercet_configs::ExitCode;

/// The name of the GPU that this process computes on; none on a CPU.
static OWN: OnceLock<String> = OnceLock::new();

/// Records that this process computes on `gpu`, e.g. `GPU 3`, which messages about failures name from then on.
pub fn computes_on(gpu: String) {
    // A process has one device for all its life.
    let _ = OWN.set(gpu);
}

/// The GPU that [`computes_on`] has named.
pub fn own() -> Option<&'static str> {
    OWN.get().map(String::as_str)
}

/// A failure that was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardFailure<'a> {
    /// What it is.
    pub name: &'static str,
    /// The line of the text that says so.
    pub line: &'a str,
    /// What the process ends with.
    pub code: ExitCode,
    /// What to do.
    pub advice: &'static str,
    /// The operation that failed may be an earlier one than the one that is named.
    pub is_late: bool,
    /// Memory is used up: less may fit.
    pub is_memory: bool,
}

impl CardFailure<'_> {
    /// What to do, and what to beware of.
    pub fn remedy(&self) -> String {
        let late = if self.is_late {
            "; CUDA reports late, so the operation named need not be the culprit: with CUDA_LAUNCH_BLOCKING=1 it is"
        } else {
            ""
        };
        format!("{}{late}", self.advice)
    }
}

/// One kind of failure.
struct Kind {
    name: &'static str,
    /// Pieces of texts, any of which shows it.
    words: &'static [&'static str],
    code: ExitCode,
    advice: &'static str,
    is_late: bool,
}

const NO_MEMORY: &str = "out of memory";

const OF_A_GPU: &str = "set memory_budget=\"auto\", lower sub_batch_tokens or kept_graph_tokens, or let more ranks share \
                        the state (optimizer.shard_state); nvidia-smi shows whether another process uses this GPU";

const OF_A_HOST: &str = "lower sub_batch_tokens, set memory_budget, or have fewer ranks share this machine";

const TAKE_IT_OUT: &str = "do not use this GPU until it has been reset or replaced: take it, or its machine, out of \
                           the job (`dmesg` has NVIDIA's Xid, nvidia-smi -q its counts), then go on with --resume";

const OTHER_LIBTORCH: &str = "this libtorch has no code for this GPU, which is older or newer than the build supports; \
                              `make TORCH=cu126 setup build` takes the one with CUDA 12.6, which has code for older \
                              cards";

/// The kinds, the more telling before the more general.
const KINDS: [Kind; 11] = [
    Kind {
        name: NO_MEMORY,
        words: &[
            "CUDA out of memory",
            "CUDA error: out of memory",
            "cudaErrorMemoryAllocation",
            "CUDA_ERROR_OUT_OF_MEMORY",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "CUSOLVER_STATUS_ALLOC_FAILED",
            "CUDNN_STATUS_ALLOC_FAILED",
            "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            // NCCL's, behind "unhandled cuda error"; the number is left off by older ones.
            "Cuda failure 2 'out of memory'",
            "Cuda failure 'out of memory'",
            "Failed to CUDA calloc",
        ],
        code: ExitCode::Machine,
        advice: OF_A_GPU,
        is_late: false,
    },
    Kind {
        name: "a memory error of the GPU",
        words: &[
            "uncorrectable ECC error",
            "CUDA_ERROR_ECC_UNCORRECTABLE",
            "uncorrectable NVLink error",
            "hardware stack error",
            "over nvlink or a hardware error",
        ],
        code: ExitCode::Machine,
        advice: TAKE_IT_OUT,
        is_late: true,
    },
    Kind {
        name: "the GPU is lost",
        words: &[
            "GPU is lost",
            "fallen off the bus",
            "CUDA_ERROR_DEVICE_UNAVAILABLE",
            "CUDA-capable device(s) is/are busy or unavailable",
            "no CUDA-capable device is detected",
            "CUDA error: unknown error",
            "Cuda failure 999",
            "CUDA_ERROR_UNKNOWN",
        ],
        code: ExitCode::Machine,
        advice: "it has fallen off the bus (Xid 79), another process has it to itself, or the driver has crashed: look \
                 at `dmesg` and nvidia-smi, take the machine out of the job, then go on with --resume",
        is_late: true,
    },
    Kind {
        name: "the machine's GPUs are not ready",
        words: &[
            "system not yet initialized",
            "CUDA_ERROR_SYSTEM_NOT_READY",
            "unsupported display driver / cuda driver",
        ],
        code: ExitCode::Machine,
        advice: "NVIDIA's fabric manager is not running, or the driver was updated and not reloaded: look at \
                 `systemctl status nvidia-fabricmanager`, or reboot",
        is_late: false,
    },
    Kind {
        name: "the driver is too old",
        words: &[
            "CUDA driver version is insufficient",
            "CUDA_ERROR_INSUFFICIENT_DRIVER",
            "The NVIDIA driver on your system is too old",
            "PTX was compiled with an unsupported toolchain",
            "forward compatibility was attempted on non supported HW",
        ],
        code: ExitCode::Usage,
        advice: "the NVIDIA driver is older than this libtorch's CUDA needs (580 for CUDA 13.0, 525 for 12.6): `make \
                 TORCH=cu126 setup build`, or have a newer driver installed",
        is_late: false,
    },
    Kind {
        name: "no code for this GPU",
        words: &[
            "no kernel image is available",
            "CUDA_ERROR_NO_BINARY_FOR_GPU",
            "device kernel image is invalid",
            "CUBLAS_STATUS_ARCH_MISMATCH",
            "CUDNN_STATUS_ARCH_MISMATCH",
        ],
        code: ExitCode::Usage,
        advice: OTHER_LIBTORCH,
        is_late: false,
    },
    Kind {
        name: "a device-side assertion",
        words: &["device-side assert triggered", "CUDA_ERROR_ASSERT"],
        code: ExitCode::Bug,
        advice: "an index lies outside its tensor: a bug, or token ids that the model has no row for; the same step on a \
                 CPU (device=cpu) says which",
        is_late: true,
    },
    Kind {
        name: "an access outside the GPU's memory",
        words: &[
            "an illegal memory access was encountered",
            "CUDA_ERROR_ILLEGAL_ADDRESS",
            "misaligned address",
            "an illegal instruction was encountered",
            "invalid program counter",
            "operation not supported on global/shared address space",
        ],
        code: ExitCode::Bug,
        advice: "this is a bug, unless it happens on one GPU only and nowhere else: that GPU is then sick (`dmesg` has \
                 NVIDIA's Xid)",
        is_late: true,
    },
    Kind {
        name: "the GPU gave up",
        words: &[
            "unspecified launch failure",
            "CUDA_ERROR_LAUNCH_FAILED",
            "the launch timed out and was terminated",
            "CUBLAS_STATUS_EXECUTION_FAILED",
            "CUDNN_STATUS_EXECUTION_FAILED",
        ],
        code: ExitCode::Machine,
        advice: "a kernel was aborted, because of a faulty GPU or a faulty program: `dmesg` has NVIDIA's Xid; if this \
                 GPU fails repeatedly, take it out of the job; go on with --resume",
        is_late: true,
    },
    Kind {
        name: "cuBLAS or cuDNN does not start",
        words: &["CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED"],
        code: ExitCode::Machine,
        advice: "usually because the GPU has no memory left for it: set memory_budget=\"auto\", or lower \
                 sub_batch_tokens",
        is_late: true,
    },
    Kind {
        name: NO_MEMORY,
        words: &["can't allocate memory", "Cannot allocate memory", "out of memory", "std::bad_alloc"],
        code: ExitCode::Machine,
        advice: OF_A_HOST,
        is_late: false,
    },
];

/// The failure that `text` reports, if it is one of those known here. `text` may be libtorch's message with its trace,
/// or an unwrapped `Result` in Rust's notation.
pub fn failure_in(text: &str) -> Option<CardFailure<'_>> {
    KINDS.iter().find_map(|kind| {
        // Only one line is shown, because libtorch appends a trace of its own. Rust's notation has `\n` for a line
        // feed.
        let mut lines = text.lines().flat_map(|line| line.split("\\n"));
        let line = lines.find(|line| kind.words.iter().any(|words| line.contains(words)))?;
        Some(CardFailure {
            name: kind.name,
            line: line.rsplit("Torch(\"").next().unwrap_or(line),
            code: kind.code,
            advice: kind.advice,
            is_late: kind.is_late,
            is_memory: kind.name == NO_MEMORY,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of most of libtorch's messages about CUDA.
    const LATE: &str = "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace \
                        below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n";

    #[test]
    fn each_text_means_what_it_should() {
        const MEMORY: &str = "out of memory";
        for (text, name, code, is_late) in [
            (
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.06 GiB is \
                 free. Including non-PyTorch memory, this process has 78.08 GiB memory in use.",
                MEMORY,
                3,
                false,
            ),
            ("CUDA error: out of memory", MEMORY, 3, false),
            ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", MEMORY, 3, false),
            ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", MEMORY, 3, false),
            (
                "rank 1/8 gpu04: start_all_reduce: NCCL 2.29.7 failed in ncclAllReduce: unhandled cuda error (run with \
                 NCCL_DEBUG=INFO for details) (result 1): Cuda failure 2 'out of memory'",
                MEMORY,
                3,
                false,
            ),
            ("CUDA's driver: cuStreamCreate: out of memory (CUDA_ERROR_OUT_OF_MEMORY)", MEMORY, 3, false),
            ("CUDA error: uncorrectable ECC error encountered", "a memory error of the GPU", 3, true),
            (
                "CUDA error: uncorrectable NVLink error detected during the execution",
                "a memory error of the GPU",
                3,
                true,
            ),
            ("CUDA error: unspecified launch failure", "the GPU gave up", 3, true),
            ("CUDA error: the launch timed out and was terminated", "the GPU gave up", 3, true),
            (
                "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb, m, n, k)`",
                "the GPU gave up",
                3,
                true,
            ),
            ("CUDA error: an illegal memory access was encountered", "an access outside the GPU's memory", 101, true),
            ("CUDA error: misaligned address", "an access outside the GPU's memory", 101, true),
            ("CUDA error: device-side assert triggered", "a device-side assertion", 101, true),
            ("CUDA error: no kernel image is available for execution on the device", "no code for this GPU", 2, false),
            ("CUDA error: unknown error", "the GPU is lost", 3, true),
            ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "the GPU is lost", 3, true),
            (
                "Unable to determine the device handle for GPU 0000:81:00.0: GPU is lost. Reboot the system to recover this \
                 GPU",
                "the GPU is lost",
                3,
                true,
            ),
            ("NVRM: Xid (PCI:0000:81:00): 79, GPU has fallen off the bus.", "the GPU is lost", 3, true),
            (
                "CUDA error: CUDA driver version is insufficient for CUDA runtime version",
                "the driver is too old",
                2,
                false,
            ),
            ("CUDA error: system not yet initialized", "the machine's GPUs are not ready", 3, false),
            (
                "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
                "cuBLAS or cuDNN does not start",
                3,
                true,
            ),
        ] {
            // As libtorch says it, as it comes through an unwrapped `Result`, and as our own calls say it.
            let whole = format!("{text}\n{LATE}frame #0: f()\n");
            for told in [
                text.to_owned(),
                whole.clone(),
                format!("called `Result::unwrap()` on an `Err` value: Torch(\"{}\")", whole.replace('\n', "\\n")),
                format!("libtorch: {whole}"),
            ] {
                let found = failure_in(&told).unwrap_or_else(|| panic!("{told}"));
                assert_eq!((found.name, found.code.code(), found.is_late), (name, code, is_late), "{told}");
                assert_eq!(found.line.trim_start_matches("libtorch: "), text);
                assert_eq!(found.remedy().contains("CUDA_LAUNCH_BLOCKING"), is_late);
                assert_eq!(found.is_memory, name == MEMORY);
                assert!(!found.advice.contains("share this machine"), "a GPU has one rank: {}", found.advice);
            }
        }
    }

    #[test]
    fn a_hosts_memory_is_told_from_a_gpus() {
        for text in [
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.",
            "Cannot allocate memory (os error 12)",
            "std::bad_alloc",
        ] {
            let found = failure_in(text).unwrap();
            assert_eq!((found.name, found.code, found.line), ("out of memory", ExitCode::Machine, text));
            assert!(found.advice.contains("fewer ranks share this machine"));
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for text in [
            "index out of bounds: the len is 3 but the index is 3",
            "an unknown error",
            "Expected all tensors to be on the same device, but got mat2 is on cpu, different from other tensors on cuda:0",
        ] {
            assert_eq!(failure_in(text), None, "{text}");
        }
    }
}
