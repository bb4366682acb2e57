//! What a run asked of the stand-in's devices: calls of operators, waits for a device, copies between it and the host.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The kind of what is counted, its name, and how often.
type Table = BTreeMap<(String, String), i64>;

/// The counts of one run, or the difference of two.
#[derive(Debug, Clone, Default)]
pub struct Counts(Table);

impl Counts {
    /// The counts of all processes that wrote to FILE.PID, `file` being what STAND_IN_COUNTS was.
    pub fn read(file: &Path) -> Self {
        let (folder, name) = (file.parent().unwrap(), format!("{}.", file.file_name().unwrap().to_str().unwrap()));
        let mut table = Table::new();
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_name().to_str().is_some_and(|own| own.starts_with(&name)) {
                for line in fs::read_to_string(entry.path()).unwrap().lines() {
                    let (number, rest) = line.split_once(' ').unwrap();
                    let (kind, rest) = rest.split_once(' ').unwrap();
                    let (what, _place) = rest.rsplit_once(' ').unwrap();
                    *table.entry((kind.to_owned(), what.to_owned())).or_default() += number.parse::<i64>().unwrap();
                }
            }
        }
        assert!(!table.is_empty(), "{}: no process has used the stand-in", file.display());
        Self(table)
    }

    /// The sum of a kind, `launch`, `wait`, `copy` or `bytes`, over what `counts` says yes to.
    pub fn sum(&self, kind: &str, counts: impl Fn(&str) -> bool) -> i64 {
        self.0.iter().filter(|((own, what), _)| own == kind && counts(what)).map(|(_, number)| number).sum()
    }

    /// How often the operator was called.
    pub fn launches(&self, operator: &str) -> i64 {
        self.0.get(&("launch".to_owned(), operator.to_owned())).copied().unwrap_or(0)
    }

    /// The operators that were called.
    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter(|(kind, _)| kind == "launch").map(|(_, operator)| operator.as_str())
    }

    /// What libtorch was set to while operators were called, as `NAME=VALUE`: tests/stand_in/settings.cpp.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter(|(kind, _)| kind == "setting").map(|(_, setting)| setting.as_str())
    }

    /// The most bytes that tensors have held of a device.
    pub fn most_bytes(&self, device: usize) -> u64 {
        self.0[&("most".to_owned(), format!("bytes-of-device-{device}"))] as u64
    }

    /// These less those.
    #[must_use]
    pub fn less(&self, those: &Self) -> Self {
        let mut table = self.0.clone();
        for (key, number) in &those.0 {
            *table.entry(key.clone()).or_default() -= number;
        }
        table.retain(|_, number| *number != 0);
        Self(table)
    }

    /// A kind's counts in words, the most frequent first, of what `counts` says yes to.
    pub fn words(&self, kind: &str, counts: impl Fn(&str) -> bool) -> String {
        let mut counts: Vec<_> = self.0.iter().filter(|((own, what), _)| own == kind && counts(what)).collect();
        counts.sort_by_key(|(_, number)| -**number);
        counts.iter().map(|((_, what), number)| format!("{what} {number}")).collect::<Vec<_>>().join(", ")
    }
}
