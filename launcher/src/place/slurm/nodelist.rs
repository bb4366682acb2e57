//! Slurm's lists of nodes, `gpu[01-03,7],login`, written out: in containers `scontrol`, which does the same, is mostly
//! missing.

/// More nodes than any machine has.
const MAX_NODES: usize = 1 << 16;

/// The nodes of a list, in its order; `None` for what is no list.
pub fn expand(list: &str) -> Option<Vec<String>> {
    let mut nodes = Vec::new();
    for part in parts(list)? {
        let more = expand_part(part)?;
        if nodes.len() + more.len() > MAX_NODES {
            return None;
        }
        nodes.extend(more);
    }
    Some(nodes)
}

/// What stands between the commas that are in no brackets.
fn parts(list: &str) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut inside) = (Vec::new(), 0, false);
    for (at, sign) in list.char_indices() {
        match sign {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            '[' | ']' => return None,
            ',' if !inside => {
                parts.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[begin..]);
    (!inside).then_some(parts)
}

/// `x[1-2]y[0-1]` is x1y0, x1y1, x2y0, x2y1.
fn expand_part(part: &str) -> Option<Vec<String>> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let Some((before, rest)) = part.split_once('[') else {
        return (plain(part) && !part.is_empty()).then(|| vec![part.to_owned()]);
    };
    let (inside, after) = rest.split_once(']')?;
    let middles = inside.split(',').map(range).collect::<Option<Vec<_>>>()?.concat();
    let ends = if after.is_empty() { vec![String::new()] } else { expand_part(after)? };
    if !plain(before) || middles.len() * ends.len() > MAX_NODES {
        return None;
    }
    Some(middles.iter().flat_map(|middle| ends.iter().map(move |end| format!("{before}{middle}{end}"))).collect())
}

/// `08-11` is 08, 09, 10, 11; `7` is itself.
fn range(text: &str) -> Option<Vec<String>> {
    let number = |digits: &str| match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse::<usize>().ok(),
        false => None,
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (width, from, to) = (first.len(), number(first)?, number(last)?);
    (from <= to && to - from < MAX_NODES).then(|| (from..=to).map(|number| format!("{number:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Slurm 22.05's `scontrol show hostnames` writes them.
    #[test]
    fn lists_are_written_out() {
        for (list, expected) in [
            ("gpu01", "gpu01"),
            ("gpu[01-03,7],x[1-2]y[0-1],plain", "gpu01 gpu02 gpu03 gpu7 x1y0 x1y1 x2y0 x2y1 plain"),
            ("n[098-101]", "n098 n099 n100 n101"),
            ("n[01-3]", "n01 n02 n03"),
            ("n[9-011]", "n9 n10 n11"),
            ("a[0-1][2-3]", "a02 a03 a12 a13"),
            ("[1-2]", "1 2"),
            ("gpu01.site,a-b_c", "gpu01.site a-b_c"),
            ("a[1,3-4]-ib", "a1-ib a3-ib a4-ib"),
        ] {
            assert_eq!(expand(list).unwrap().join(" "), expected, "{list}");
        }
    }

    #[test]
    fn what_is_no_list_is_none() {
        for list in ["", "n[3-1]", "n[]", "n[1-3", "n1]", "n[[1]]", "a b", "a,,b", "n[1-x]", "n[1-99999999]", "$(id)"] {
            assert_eq!(expand(list), None, "{list:?}");
        }
        assert_eq!(expand("n[0-999][0-999]"), None);
    }
}
