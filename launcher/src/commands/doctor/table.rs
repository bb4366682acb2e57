//! The report as people read it: a line for each machine, what connects them, and what to do.

use std::fmt::Write;

use tercet_protocol::says::doctor::{Finding, Level, LinkFacts, MachineFacts, RankFacts, Report};

use super::devices::devices;
use crate::plan::{counted, scaled};

/// The whole report.
pub fn table(report: &Report) -> String {
    let machines = machines(report);
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = writeln!(
        text,
        "{} on {}; {}\n",
        counted(report.world_size, "rank"),
        counted(machines.len(), "machine"),
        versions(report)
    );
    let width = machines.iter().map(|(host, _, _)| host.len()).max().unwrap_or(0).max("machine".len());
    let column = |cells: [&str; 8]| {
        let [host, ranks, cores, load, memory, gpus, products, verdict] = cells;
        format!("{host:width$}  {ranks:>9}  {cores:>5}  {load:>5}  {memory:>19}  {products:>14}  {verdict:8}  {gpus}\n")
    };
    text += &column(["machine", "ranks", "cores", "load", "memory free", "GPUs", "product a rank", "verdict"]);
    for (host, ranks, machine) in &machines {
        let memory = format!("{} of {}", gb(machine.available_bytes), gb(machine.memory_bytes));
        text += &column([
            host,
            &range(ranks),
            &machine.num_cores.to_string(),
            &format!("{:.1}", machine.load),
            &memory,
            &gpus(machine),
            &products(ranks),
            word(level_of(&report.findings, host)),
        ]);
    }
    text += &devices(machines.iter().map(|(host, ranks, machine)| (*host, ranks.as_slice(), machine)));
    text += &folder(&machines);
    text += &network(report);
    text.push('\n');
    for finding in &report.findings {
        let host = if finding.host.is_empty() { "all machines" } else { &finding.host };
        _ = writeln!(text, "{}: {host}: {}", word(finding.level), finding.text);
    }
    text + verdict(report.verdict)
}

type MachineRanks<'a> = (&'a str, Vec<&'a RankFacts>, MachineFacts);

/// In the order of their first ranks.
fn machines(report: &Report) -> Vec<MachineRanks<'_>> {
    let mut machines: Vec<MachineRanks> = Vec::new();
    for rank in &report.ranks {
        // Its first rank describes a machine: two may have one name, in different domains.
        let known = machines.iter_mut().rfind(|(host, _, _)| *host == rank.host && rank.machine.is_none());
        match known {
            Some((_, ranks, _)) => ranks.push(rank),
            None => machines.push((&rank.host, vec![rank], rank.machine.clone().unwrap_or_default())),
        }
    }
    machines
}

fn versions(report: &Report) -> String {
    let first = report.ranks.first().map(|rank| &rank.versions);
    let known = |name: &str| Some((name.to_owned(), first?.get(name)?));
    let named = ["tercet", "libtorch", "CUDA", "cuDNN", "NCCL"].into_iter().filter_map(known);
    let mut all: Vec<String> = named.map(|(name, version)| format!("{name} {version}")).collect();
    // Its text begins with its name.
    all.extend(first.and_then(|versions| versions.get("MPI")).cloned());
    all.join(", ")
}

fn range(ranks: &[&RankFacts]) -> String {
    match ranks {
        [one] => one.rank.to_string(),
        [first, .., last] if last.rank - first.rank + 1 == ranks.len() => format!("{}-{}", first.rank, last.rank),
        _ => ranks.len().to_string(),
    }
}

fn gb(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

fn gpus(machine: &MachineFacts) -> String {
    match machine.gpus.as_slice() {
        [] => "no GPU".into(),
        [first, ..] => format!("{} × {}", machine.gpus.len(), first.name),
    }
}

/// The slowest to the fastest rank's.
fn products(ranks: &[&RankFacts]) -> String {
    let rates: Vec<f64> = ranks.iter().filter_map(|rank| Some(rank.product.as_ref()?.flops_per_sec)).collect();
    match rates.iter().copied().reduce(f64::min) {
        Some(slowest) => scaled(slowest, "FLOP/s"),
        None => "-".into(),
    }
}

/// Rank 0 writes, so its machine's is shown.
fn folder(machines: &[MachineRanks]) -> String {
    let Some(folder) = machines.first().and_then(|(_, _, machine)| machine.folder.as_ref()) else {
        return String::new();
    };
    let rate = folder.write_bytes_per_sec.map(|rate| format!(", written at {}", scaled(rate, "B/s")));
    format!("\nrun folder {}: {} free{}\n", folder.path.display(), gb(folder.free_bytes), rate.unwrap_or_default())
}

fn network(report: &Report) -> String {
    if report.network.links.is_empty() {
        return String::new();
    }
    let kind = |name: &str, within: bool| {
        let of_kind = |link: &&LinkFacts| (link.from_host == link.to_host) == within;
        let mut rates: Vec<f64> = report.network.links.iter().filter(of_kind).map(|link| link.bytes_per_sec).collect();
        rates.sort_by(f64::total_cmp);
        let (slowest, middle) = (rates.first()?, rates.get(rates.len() / 2)?);
        let number = counted(rates.len(), "link");
        Some(format!("{number} {name}: median {}, slowest {}\n", scaled(*middle, "B/s"), scaled(*slowest, "B/s")))
    };
    let lines = [kind("within machines", true), kind("between machines", false)].into_iter().flatten();
    let all_reduce = scaled(report.network.all_reduce_bytes_per_sec, "B/s");
    format!("\n{}all-reduce: {all_reduce} a rank\n", lines.collect::<String>())
}

fn level_of(findings: &[Finding], host: &str) -> Level {
    findings.iter().filter(|finding| finding.host == host).map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Mistake => "mistake",
        Level::Sick => "sick",
    }
}

fn verdict(level: Level) -> &'static str {
    match level {
        Level::Ok => "all machines are fit\n",
        Level::Warning => "fit, but see the warnings\n",
        Level::Mistake => "not fit: correct what was asked for\n",
        Level::Sick => "not fit: repair or leave out the sick machines\n",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let machine = json!({"num_cores": 64, "load": 0.5, "memory_bytes": 4u64 << 30, "available_bytes": 3u64 << 30,
                             "gpus": [{"name": "A100"}, {"name": "A100"}], "listed_gpus": 2,
                             "folder": {"path": "runs/a", "free_bytes": 1u64 << 40, "write_bytes_per_sec": 5e8}});
        let device = json!({"asked": "auto", "used": "cuda", "has_driver": true, "driver": "580.65.06", "driver_cuda": 13000,
                            "present_gpus": 8, "open_gpus": 2, "libtorch_cuda": 13000, "libtorch_gpus": 2});
        let rank = |rank: usize, host: &str, first: bool| {
            json!({"rank": rank, "host": host, "device": device, "versions": {"tercet": "0.1.0", "libtorch": "2.13.0", "MPI": "Open MPI v4"},
                   "machine": first.then(|| machine.clone()), "product": {"flops_per_sec": 1e13 + rank as f64}})
        };
        let link = |from: &str, to: &str, rate: f64| json!({"from_host": from, "to_host": to, "bytes_per_sec": rate});
        serde_json::from_value(json!({
            "world_size": 4, "verdict": "sick",
            "findings": [{"level": "sick", "host": "gpu02", "text": "GPU 1: 3 uncorrected memory errors"}],
            "ranks": [rank(0, "gpu01", true), rank(1, "gpu01", false), rank(2, "gpu02", true), rank(3, "gpu02", false)],
            "network": {"all_reduce_bytes_per_sec": 1e9, "links": [link("gpu01", "gpu01", 5e9), link("gpu01", "gpu02", 2e9)]},
        }))
        .unwrap()
    }

    #[test]
    fn each_machine_has_a_line_with_its_verdict_and_each_finding_one() {
        let table = table(&report());
        let line =
            |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{table}"));
        let words = |start: &str| line(start).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words("4 ranks").ends_with("on 2 machines; tercet 0.1.0, libtorch 2.13.0, Open MPI v4"), "{table}");
        assert_eq!(words("gpu01"), "gpu01 0-1 64 0.5 3.0 GiB of 4.0 GiB 10.0 TFLOP/s ok 2 × A100");
        assert_eq!(words("gpu02"), "gpu02 2-3 64 0.5 3.0 GiB of 4.0 GiB 10.0 TFLOP/s sick 2 × A100");
        let of_devices = table.lines().skip_while(|line| !line.contains("computes on")).take(3);
        let of_devices: Vec<Vec<&str>> = of_devices.map(|line| line.split("  ").map(str::trim).collect()).collect();
        let cells = |line: usize| of_devices[line].iter().filter(|cell| !cell.is_empty()).copied().collect::<Vec<_>>();
        let seen = ["580.65.06 (CUDA 13.0)", "CUDA 13.0", "2 of 8", "2", "2", "cuda (device = \"auto\")"];
        assert_eq!(cells(0)[1..3], ["driver", "libtorch for"]);
        assert_eq!((cells(1)[0], &cells(1)[1..], cells(2)[0]), ("gpu01", &seen[..], "gpu02"));
        assert_eq!(line("sick:"), "sick: gpu02: GPU 1: 3 uncorrected memory errors");
        assert_eq!(line("run folder"), "run folder runs/a: 1024.0 GiB free, written at 500 MB/s");
        assert_eq!(line("1 link between"), "1 link between machines: median 2.00 GB/s, slowest 2.00 GB/s");
        assert!(table.ends_with("not fit: repair or leave out the sick machines\n"));
    }
}
