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
    /// Why there are fewer than were probably meant.
    pub remark: Option<String>,
}

impl VisibleDevices {
    /// Reads a list. `num_present` is the number of the machine's GPUs, if it is known.
    pub fn read(list: &str, num_present: Option<usize>) -> Self {
        let list = list.trim();
        let none = |remark: Option<String>| Self { num: 0, numbers: Some(Vec::new()), remark };
        if list.is_empty() {
            return none(None);
        }
        let entries: Vec<&str> = list.split(',').map(str::trim).collect();
        if let Some(twice) =
            (1..entries.len()).find(|i| !entries[*i].is_empty() && entries[..*i].contains(&entries[*i]))
        {
            return none(Some(format!("names {} twice, and CUDA then shows no GPU at all", entries[twice])));
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
                        1 => "there is GPU 0 alone".to_owned(),
                        _ => format!("there are 0 to {}", num - 1),
                    };
                    let remark = format!("names GPU {number}, but {there}: it ends there");
                    return Self { num: numbers.len(), numbers: Some(numbers), remark: Some(remark) };
                }
                // -1 and NoDevFiles mean none.
                None => {
                    let end = ["-1", "NoDevFiles", "none", "void"].contains(entry) && numbers.is_empty();
                    let remark = (!end).then(|| format!("ends at {entry:?}, which is no GPU's number"));
                    return Self { num: numbers.len(), numbers: Some(numbers), remark };
                }
            }
        }
        Self { num: numbers.len(), numbers: Some(numbers), remark: None }
    }

    fn of_uuids(kind: &str, entries: &[&str], num_present: Option<usize>) -> Self {
        let num_listed = entries.iter().take_while(|entry| entry.starts_with(kind)).count();
        let stranger =
            entries.get(num_listed).map(|entry| format!("ends at {entry:?}, which is not written as {kind}…"));
        if kind == "MIG-" {
            let more = (num_listed > 1)
                .then(|| format!("names {num_listed} MIG instances, of which CUDA shows the first alone"));
            return Self { num: 1, numbers: None, remark: more.or(stranger) };
        }
        let num = num_listed.min(num_present.unwrap_or(num_listed));
        let more = (num < num_listed).then(|| format!("names {num_listed} GPUs, but there are {num}"));
        Self { num, numbers: None, remark: more.or(stranger) }
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
    fn what_was_probably_meant_otherwise_has_a_remark() {
        for (list, expected) in [
            ("0,0", "names 0 twice"),
            ("0,9", "names GPU 9, but there are 0 to 7"),
            ("0,x,1", "ends at \"x\""),
            ("MIG-a,MIG-b", "of which CUDA shows the first alone"),
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
