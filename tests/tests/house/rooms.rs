//! worker/src has rooms, one above the other; a room imports what stands below it and never what stands above or
//! beside.

use std::collections::BTreeSet;

use super::imports::imports;
use super::source::{Kind, files, from_root, root, tokens};

/// The rooms, from the outside in.
///
/// `preflight` and `record` stand above `checkpoint`: the one looks at the folder that checkpoints go to, the other
/// says which was written. Both stand above `step`, as does `checkpoint`: a record is of a step, and a checkpoint holds
/// the optimizer. `machine` stands above `tensors`: a GPU's memory is libtorch's to tell.
const ROOMS: [&[&str]; 12] = [
    &["commands"],
    &["run"],
    &["retrieval"],
    &["agreement"],
    &["record", "preflight"],
    &["checkpoint"],
    &["step"],
    &["scoring"],
    &["model"],
    &["ops"],
    &["machine"],
    &["tensors", "files"],
];

/// What a room may not import though it stands below: the order is a line, and what a room is about is less than that.
/// Searching knows no training run and no step. Ranks agree before there is a record or a step. A record takes of
/// training what a step tells, and a look at the machines takes nothing of it.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("retrieval", &["record", "preflight", "checkpoint", "step", "scoring"]),
    ("agreement", &["record", "step", "scoring"]),
    ("record", &["scoring", "model", "ops"]),
    ("preflight", &["step", "scoring", "model"]),
    ("checkpoint", &["scoring"]),
];

/// Files of no room. They know all rooms: what can be asked for, and what each error ends a process with.
const DOORS: [&str; 3] = ["lib.rs", "main.rs", "errors.rs"];

/// Imports that are known to lead upward. The list only shrinks.
const KNOWN: &[(&str, &str)] = &[];

/// Files of the rooms that know no ranks which import the cluster crate nevertheless, with good reason: a rank binds
/// itself to the cores and to the GPU that the host's other ranks leave it, names its GPU in messages about failures,
/// and gives signs of life at the beginning of each phase and wait.
const RANKS_OF_A_HOST: [&str; 4] = ["machine/card.rs", "machine/cores.rs", "machine/device.rs", "machine/phase.rs"];

/// The rooms that know no ranks.
const WITHOUT_RANKS: [&str; 3] = ["model", "ops", "machine"];

/// How far in a room is.
fn depth(room: &str) -> usize {
    let found = ROOMS.iter().position(|rooms| rooms.contains(&room));
    found
        .unwrap_or_else(|| panic!("worker/src/{room} is a room that ROOMS in tests/tests/house/rooms.rs does not have"))
}

/// A file as it is called from worker/src on.
fn in_worker(file: &str) -> &str {
    file.strip_prefix("worker/src/").unwrap()
}

fn room(file: &str) -> &str {
    file.split_once('/').map_or(file, |(room, _)| room)
}

#[test]
fn a_room_imports_only_what_stands_below_it() {
    let (mut upward, mut told) = (BTreeSet::new(), String::new());
    let all = imports(&root().join("worker/src/lib.rs"));
    for ((from, to), named) in &all {
        let (from, to) = (in_worker(from), in_worker(to));
        if DOORS.contains(&from) || room(from) == room(to) {
            continue;
        }
        if DOORS.contains(&to) || depth(room(from)) >= depth(room(to)) {
            upward.insert((from, room(to)));
            if !KNOWN.contains(&(from, room(to))) {
                told += &format!("worker/src/{from} imports {to}: {named:?}\n");
            }
        }
    }
    let mended: Vec<_> = KNOWN.iter().filter(|known| !upward.contains(known)).collect();
    assert!(
        told.is_empty() && mended.is_empty(),
        "imports that lead upward (tests/tests/house/rooms.rs has the order):\n{told}and imports in KNOWN there that are \
         gone: {mended:?}"
    );
}

#[test]
fn a_room_imports_nothing_that_it_is_not_about() {
    let mut told = String::new();
    for ((from, to), named) in &imports(&root().join("worker/src/lib.rs")) {
        let (from, to) = (in_worker(from), in_worker(to));
        let forbidden = FORBIDDEN.iter().find(|(own, _)| *own == room(from)).map_or(&[][..], |(_, rooms)| rooms);
        if forbidden.contains(&room(to)) {
            told += &format!("worker/src/{from} imports {to}: {named:?}\n");
        }
    }
    assert!(told.is_empty(), "imports that FORBIDDEN in tests/tests/house/rooms.rs excludes:\n{told}");
    // A room that is no longer below, or that another name replaced, would forbid nothing.
    for (own, rooms) in FORBIDDEN {
        assert!(rooms.iter().all(|other| depth(other) > depth(own)), "{own} may import none of {rooms:?} anyway");
    }
}

#[test]
fn model_ops_and_machine_know_no_ranks() {
    let mut found = Vec::new();
    for path in files(".rs") {
        let Some(file) = from_root(&path).strip_prefix("worker/src/").map(str::to_owned) else { continue };
        if WITHOUT_RANKS.contains(&room(&file)) {
            let text = std::fs::read_to_string(&path).unwrap();
            if tokens(&text).iter().any(|token| token.kind == Kind::Word && token.text == "tercet_cluster") {
                found.push(file);
            }
        }
    }
    assert_eq!(found, RANKS_OF_A_HOST, "files of these rooms that import the cluster crate");
}
