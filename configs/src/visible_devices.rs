//! Reads `CUDA_VISIBLE_DEVICES` as CUDA does: which of a machine's NVIDIA GPUs a process sees.
//!
//! It is a list of numbers, or of UUIDs (`GPU-…`) or their beginnings. It ends at the first entry that is not the
//! number of an existing GPU, or not of the first entry's kind. If an entry occurs twice, no GPU is visible. A process
//! sees only the first MIG instance (`MIG-…`). Source: CUDA's programming guide, and how PyTorch counts devices without
//! starting CUDA.

/// What a list makes visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleDevices {
    /// The number of GPUs, or MIG instances, that a process sees, as far as the list tells: it may name more than
    /// exist.
    pub num: usize,
    /// Their numbers, if the list has numbers.
    pub numbers: Option<Vec<usize>>,
    /// Their UUIDs or the beginnings of these, if the list has such.
    uuids: Vec<String>,
    /// Why there are fewer than were probably meant.
    pub remark: Option<String>,
}

impl VisibleDevices {
    /// Reads a list. `num_present` is the number of the machine's GPUs, if it is known.
    pub fn read(list: &str, num_present: Option<usize>) -> Self {
        let list = list.trim();
        let of = |numbers: Vec<usize>, remark: Option<String>| Self {
            num: numbers.len(),
            numbers: Some(numbers),
            uuids: Vec::new(),
            remark,
        };
        if list.is_empty() {
            return of(Vec::new(), None);
        }
        let entries: Vec<&str> = list.split(',').map(str::trim).collect();
        if let Some(twice) =
            (1..entries.len()).find(|i| !entries[*i].is_empty() && entries[..*i].contains(&entries[*i]))
        {
            let remark = format!("names {} twice, and CUDA then shows no GPU at all", entries[twice]);
            return of(Vec::new(), Some(remark));
        }
        if let Some(kind) = ["GPU-", "MIG-"].into_iter().find(|kind| list.starts_with(kind)) {
            return Self::of_uuids(kind, &entries, num_present);
        }
        let mut numbers = Vec::new();
        for entry in &entries {
            match leading_number(entry) {
                Some(number) if num_present.is_none_or(|num| number < num) => numbers.push(number),
                Some(number) => {
                    let num = num_present.unwrap_or_default();
                    let there = match num {
                        0 => "there is none".to_owned(),
                        1 => "there is only GPU 0".to_owned(),
                        _ => format!("there are only GPUs 0 to {}", num - 1),
                    };
                    let remark = format!("names GPU {number}, but {there}: CUDA ignores it and what follows");
                    return of(numbers, Some(remark));
                }
                // -1 and NoDevFiles mean none.
                None => {
                    let end = ["-1", "NoDevFiles", "none", "void"].contains(entry) && numbers.is_empty();
                    let remark = (!end).then(|| format!("ends at {entry:?}, which is not a GPU's number"));
                    return of(numbers, remark);
                }
            }
        }
        of(numbers, None)
    }

    /// Whether somebody has hidden all GPUs on purpose: the list is empty, or begins with -1. What Slurm writes where a
    /// job has asked for no GPU (`NoDevFiles`) is nobody's purpose.
    pub fn hides_all(list: &str) -> bool {
        let first = list.split(',').next().unwrap_or_default().trim();
        list.trim().is_empty() || first == "-1"
    }

    /// Whether the list names the GPU with this number and this UUID.
    pub fn shows(&self, number: usize, uuid: &str) -> bool {
        let uuid = uuid.to_ascii_lowercase();
        match &self.numbers {
            Some(numbers) => numbers.contains(&number),
            None => self.uuids.iter().any(|own| uuid.starts_with(&own.to_ascii_lowercase())),
        }
    }

    fn of_uuids(kind: &str, entries: &[&str], num_present: Option<usize>) -> Self {
        let num_listed = entries.iter().take_while(|entry| entry.starts_with(kind)).count();
        let stranger =
            entries.get(num_listed).map(|entry| format!("ends at {entry:?}, which is not written as {kind}…"));
        if kind == "MIG-" {
            let more = (num_listed > 1)
                .then(|| format!("names {num_listed} MIG instances, of which CUDA shows only the first"));
            // `MIG-GPU-UUID/…` names its GPU; a UUID of its own tells nothing of it, so it may be in any.
            let of_gpu = entries[0].strip_prefix("MIG-").filter(|rest| rest.starts_with("GPU-"));
            let gpu = of_gpu.map_or("", |rest| rest.split('/').next().unwrap_or(rest)).to_owned();
            return Self { num: 1, numbers: None, uuids: vec![gpu], remark: more.or(stranger) };
        }
        let num = num_listed.min(num_present.unwrap_or(num_listed));
        let more = (num < num_listed).then(|| format!("names {num_listed} GPUs, but there are {num}"));
        let uuids = entries[..num].iter().map(|entry| (*entry).to_owned()).collect();
        Self { num, numbers: None, uuids, remark: more.or(stranger) }
    }
}

/// Reads a number as C's `strtoul`, and so CUDA, does: `2nd` is 2.
fn leading_number(entry: &str) -> Option<usize> {
    let digits = entry.trim_start_matches('+');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn num(list: &str, num_present: usize) -> usize {
        VisibleDevices::read(list, Some(num_present)).num
    }

    #[test]
    fn gpus_are_counted_as_cuda_counts_them() {
        for (list, expected) in [
            ("0,3", 2),
            (" 1 , 0 ", 2),
            ("", 0),
            ("-1", 0),
            ("NoDevFiles", 0),
            ("1,-1,2", 1),
            ("0,8,1", 1),
            ("0,0", 0),
            ("0,1,0", 0),
            ("GPU-8932f937,GPU-3c31", 2),
            ("GPU-8932f937,GPU-8932f937", 0),
            ("GPU-8932f937,1", 1),
            ("MIG-a,MIG-b", 1),
            ("MIG-GPU-a/1/0", 1),
            ("2gpu,1", 2),
        ] {
            assert_eq!(num(list, 8), expected, "{list:?}");
        }
        assert_eq!((num("0", 0), num("GPU-a,GPU-b", 1)), (0, 1));
        let unknown = VisibleDevices::read("5,6", None);
        assert_eq!((unknown.num, unknown.numbers, unknown.remark), (2, Some(vec![5, 6]), None));
    }

    #[test]
    fn a_list_shows_the_gpus_that_it_names() {
        let shown = |list: &str| {
            let visible = VisibleDevices::read(list, Some(3));
            let uuids = ["GPU-8932f937-d72c", "GPU-3c31aaaa-0000", "GPU-3d00bbbb-0000"];
            (0..3).filter(|number| visible.shows(*number, uuids[*number])).collect::<Vec<_>>()
        };
        for (list, expected) in [
            ("2,0", &[0, 2][..]),
            ("", &[]),
            ("0,7,1", &[0]),
            ("GPU-3c31,GPU-8932F937-D72C", &[0, 1]),
            ("MIG-GPU-3d00bbbb-0000/1/0", &[2]),
            ("MIG-a1b2", &[0, 1, 2]),
        ] {
            assert_eq!(shown(list), expected, "{list:?}");
        }
        assert!(["", " ", "-1", "-1,0"].iter().all(|list| VisibleDevices::hides_all(list)));
        assert!(!["NoDevFiles", "0", "0,-1", "0,0", "x"].iter().any(|list| VisibleDevices::hides_all(list)));
    }

    #[test]
    fn what_was_probably_meant_otherwise_has_a_remark() {
        for (list, expected) in [
            ("0,0", "names 0 twice"),
            ("0,9", "names GPU 9, but there are only GPUs 0 to 7"),
            ("0,x,1", "ends at \"x\""),
            ("MIG-a,MIG-b", "of which CUDA shows only the first"),
            ("GPU-a,1", "ends at \"1\""),
        ] {
            let remark = VisibleDevices::read(list, Some(8)).remark.unwrap();
            assert!(remark.contains(expected), "{list:?}: {remark}");
        }
        for list in ["", "-1", "NoDevFiles", "3,2", "GPU-a,GPU-b"] {
            assert_eq!(VisibleDevices::read(list, Some(8)).remark, None, "{list:?}");
        }
    }
}
