//! Who sees which GPUs on each machine, and what its ranks compute on: the report's table about devices.

use tercet_configs::Device;
use tercet_protocol::says::doctor::{DeviceFacts, MachineFacts, RankFacts};

/// A line for each machine with its ranks; empty if no rank has looked.
pub fn devices<'a>(machines: impl Iterator<Item = (&'a str, &'a [&'a RankFacts], &'a MachineFacts)>) -> String {
    let heads = ["machine", "driver", "libtorch for", "driver's GPUs", "nvidia-smi", "libtorch", "computes on"];
    let rows = machines.filter_map(|(host, ranks, machine)| {
        let all: Vec<&DeviceFacts> = ranks.iter().filter_map(|rank| rank.device.as_ref()).collect();
        let first = *all.first()?;
        let seen = all.iter().map(|device| device.libtorch_gpus);
        Some([
            host.to_owned(),
            driver(first),
            first.libtorch_cuda.map_or("the CPU".into(), cuda),
            match (first.present_gpus, first.open_gpus) {
                (present, open) if present == open => present.to_string(),
                (present, open) => format!("{open} of {present}"),
            },
            machine.listed_gpus.to_string(),
            between(seen.clone().min().unwrap_or_default(), seen.max().unwrap_or_default()),
            computes_on(&all),
        ])
    });
    let rows: Vec<[String; 7]> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let lines = std::iter::once(heads.map(str::to_owned)).chain(rows);
    let lines: Vec<[String; 7]> = lines.collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |cells: &[String; 7]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    format!("\n{}", lines.iter().map(line).collect::<String>())
}

fn cuda(version: u32) -> String {
    if version == 0 { "CUDA".into() } else { format!("CUDA {}.{}", version / 1000, version % 1000 / 10) }
}

fn driver(device: &DeviceFacts) -> String {
    let speaks = device.driver_cuda.map(|version| format!(" ({})", cuda(version))).unwrap_or_default();
    match &device.driver {
        Some(version) => format!("{version}{speaks}"),
        None if device.has_driver => format!("unknown{speaks}"),
        None => "none".into(),
    }
}

fn between(least: usize, most: usize) -> String {
    if least == most { least.to_string() } else { format!("{least}-{most}") }
}

/// What its ranks compute on, and what was asked for where that leaves it open.
fn computes_on(all: &[&DeviceFacts]) -> String {
    let mut words: Vec<&str> = all
        .iter()
        .map(|device| match device.used {
            Some(Device::Cuda) => "cuda",
            Some(Device::Cpu) => "cpu",
            None => "nothing",
        })
        .collect();
    words.dedup();
    let asked = all.first().map(|device| device.asked.name()).unwrap_or_default();
    match words.join(", ") {
        used if used == asked => used,
        used => format!("{used} (device = \"{asked}\")"),
    }
}
