//! Queries a machine's NVIDIA GPUs through `nvidia-smi`.
//!
//! It runs as another process, so nothing here loads CUDA. A query that hangs, as it often does with a broken driver or
//! GPU, is given up.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tercet_configs::VisibleDevices;
use tercet_protocol::says::doctor::{GpuFacts, RankFacts};

/// The time limit of a query. Without a persistence daemon the driver takes seconds to wake up eight GPUs.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// The fields of the query, in the order of [`parse`]. The field of throttle reasons has two names, by the driver's
/// age.
const FIELDS: [&str; 11] = [
    "index",
    "uuid",
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "clocks_throttle_reasons.active",
    "ecc.errors.uncorrected.volatile.total",
    "temperature.gpu",
    "power.limit",
    "power.default_limit",
];
const NEWER_NAME: (&str, &str) = ("clocks_throttle_reasons", "clocks_event_reasons");

/// All GPUs of this machine; none without an NVIDIA driver. An error if there is a driver that does not answer.
pub fn query() -> Result<Vec<GpuFacts>, String> {
    let fields = FIELDS.join(",");
    let answer = match ask(&fields) {
        // `nvidia-smi` is not installed, which is right if there is no GPU.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match std::path::Path::new("/proc/driver/nvidia/gpus").exists() {
                true => Err("there is an NVIDIA driver, but no nvidia-smi in PATH to ask it".into()),
                false => Ok(Vec::new()),
            };
        }
        Ok((false, _)) => ask(&fields.replace(NEWER_NAME.0, NEWER_NAME.1)),
        other => other,
    };
    match answer {
        Ok((true, text)) => parse(&text),
        Ok((false, text)) => Err(format!("nvidia-smi: {}", text.trim().lines().next().unwrap_or("failed"))),
        Err(error) => Err(format!("nvidia-smi: {error}")),
    }
}

/// Leaves of each machine's GPUs those that its ranks may use: nvidia-smi lists all, and what ails another job's is
/// nothing to this one. All stay where a rank may use any, or where it cannot be told which are meant: CUDA's numbers
/// are nvidia-smi's if the GPUs are of one model, or in the order of their slots.
pub fn keep_visible(facts: &mut [RankFacts]) {
    let by_slot = std::env::var("CUDA_DEVICE_ORDER").is_ok_and(|order| order == "PCI_BUS_ID");
    for first in 0..facts.len() {
        let Some(machine) = &facts[first].machine else { continue };
        let host = &facts[first].host;
        let listed = machine.listed_gpus.max(machine.gpus.len());
        let alike = machine.gpus.windows(2).all(|pair| pair[0].name == pair[1].name);
        let of_host = facts.iter().filter(|rank| rank.host == *host);
        let lists: Option<Vec<VisibleDevices>> = of_host
            .map(|rank| {
                let visible = VisibleDevices::read(rank.visible_devices.as_ref()?, Some(listed));
                (alike || by_slot || visible.numbers.is_none()).then_some(visible)
            })
            .collect();
        let (Some(lists), Some(machine)) = (lists, &mut facts[first].machine) else { continue };
        machine.gpus.retain(|gpu| lists.iter().any(|visible| visible.shows(gpu.index as usize, &gpu.uuid)));
    }
}

/// Runs nvidia-smi, and returns whether it succeeded and what it wrote.
fn ask(fields: &str) -> io::Result<(bool, String)> {
    let mut command = Command::new("nvidia-smi");
    command.arg(format!("--query-gpu={fields}")).arg("--format=csv,noheader,nounits");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let started = Instant::now();
    // Its output for a machine's GPUs fits into a pipe, so it never waits for its reader.
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > TIME_LIMIT {
            child.kill()?;
            let _ = child.wait();
            return Err(io::Error::other(format!("has not answered within {} s", TIME_LIMIT.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text)?;
    }
    Ok((status.success(), text))
}

/// The GPUs in nvidia-smi's comma-separated lines.
pub fn parse(text: &str) -> Result<Vec<GpuFacts>, String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Result<GpuFacts, String> {
    let values: Vec<&str> = line.split(',').map(str::trim).collect();
    let &[index, uuid, name, driver, memory, used, reasons, errors, temperature, limit, default_limit] =
        values.as_slice()
    else {
        return Err(format!("nvidia-smi wrote {line:?}: {} values are expected", FIELDS.len()));
    };
    // "[N/A]" and "[Not Supported]" are not numbers.
    let mib = |value: &str| value.parse::<u64>().ok().map(|mib| mib << 20);
    Ok(GpuFacts {
        index: index.parse().map_err(|_| format!("nvidia-smi wrote {line:?}: a GPU's number is expected first"))?,
        uuid: uuid.to_owned(),
        name: name.to_owned(),
        driver: driver.to_owned(),
        memory_bytes: mib(memory),
        used_bytes: mib(used),
        throttle_reasons: reasons.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()),
        uncorrected_errors: errors.parse().ok(),
        temperature: temperature.parse().ok(),
        power_limit: limit.parse().ok(),
        default_power_limit: default_limit.parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use tercet_protocol::says::doctor::MachineFacts;

    use super::*;

    #[test]
    fn lines_become_gpus_and_what_is_not_supported_is_unknown() {
        let text = "0, GPU-8932f937-d72c, NVIDIA A100-SXM4-80GB, 535.161.08, 81920, 4, 0x0000000000000001, 0, 31, 400.00, 400.00\n\
                    1, GPU-3c31, NVIDIA GeForce RTX 4090, 550.54.14, 24564, 812, [N/A], [N/A], 44, 450.00, [Not Supported]\n\n";
        let gpus = parse(text).unwrap();
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[0].uuid.as_str(), gpus[1].uuid.as_str()), ("GPU-8932f937-d72c", "GPU-3c31"));
        assert_eq!((gpus[0].name.as_str(), gpus[0].driver.as_str()), ("NVIDIA A100-SXM4-80GB", "535.161.08"));
        assert_eq!((gpus[0].memory_bytes, gpus[0].used_bytes), (Some(81920 << 20), Some(4 << 20)));
        assert_eq!((gpus[0].throttle_reasons, gpus[0].uncorrected_errors), (Some(1), Some(0)));
        assert_eq!((gpus[0].power_limit, gpus[0].default_power_limit), (Some(400.0), Some(400.0)));
        assert_eq!((gpus[1].throttle_reasons, gpus[1].uncorrected_errors), (None, None));
        assert_eq!((gpus[1].index, gpus[1].temperature, gpus[1].default_power_limit), (1, Some(44.0), None));
    }

    #[test]
    fn other_text_is_an_error_with_the_line() {
        for text in ["No devices were found", "x, GPU-1, A100, 535, 1, 1, 0x0, 0, 30, 400, 400"] {
            assert!(parse(text).unwrap_err().contains(text), "{text}");
        }
    }

    /// A machine of four GPUs whose two ranks have these lists.
    fn shown(lists: [Option<&str>; 2], models: [&str; 4]) -> Vec<u64> {
        let gpu = |index: usize| GpuFacts {
            index: index as u64,
            uuid: format!("GPU-{index}{index}"),
            name: models[index].into(),
            ..GpuFacts::default()
        };
        let machine = MachineFacts { gpus: (0..4).map(gpu).collect(), listed_gpus: 4, ..MachineFacts::default() };
        let mut facts: Vec<RankFacts> = (0..2)
            .map(|rank| RankFacts {
                rank,
                host: "a".into(),
                visible_devices: lists[rank].map(str::to_owned),
                machine: (rank == 0).then(|| machine.clone()),
                ..RankFacts::default()
            })
            .collect();
        keep_visible(&mut facts);
        let machine = facts.swap_remove(0).machine.unwrap();
        assert_eq!(machine.listed_gpus, 4);
        machine.gpus.iter().map(|gpu| gpu.index).collect()
    }

    #[test]
    fn a_neighbours_gpu_is_not_ours() {
        let alike = ["A100"; 4];
        assert_eq!(shown([Some("2,3"), Some("2,3")], alike), [2, 3]);
        assert_eq!(shown([Some("1"), Some("0")], alike), [0, 1]);
        assert_eq!(shown([Some("GPU-33"), Some("GPU-0")], alike), [0, 3]);
        assert_eq!(shown([Some(""), Some("")], alike), [0; 0]);
        assert_eq!(shown([None, Some("1")], alike), [0, 1, 2, 3]);
        // By speed, as CUDA counts unlike GPUs, the second may be any.
        assert_eq!(shown([Some("1"), Some("1")], ["A100", "A100", "T4", "A100"]), [0, 1, 2, 3]);
        assert_eq!(shown([Some("GPU-1"), Some("GPU-1")], ["A100", "A100", "T4", "A100"]), [1]);
    }
}
