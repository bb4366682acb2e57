//! Numbers as people read them.

/// `1,200,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a prefix: `27.3 M`, `1.20 G`.
pub fn scaled(number: f64, unit: &str) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut value = number;
    let mut prefix = 0;
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    let decimals = match value {
        _ if prefix == 0 && value.fract() == 0.0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {}{unit}", PREFIXES[prefix]).trim_end().to_owned()
}

/// `12.4 s`, `1 h 10 min`, `3.2 days`.
pub fn duration(secs: f64) -> String {
    match secs {
        s if s < 1.0 => format!("{:.0} ms", 1000.0 * s),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// `3.4 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `1 step`, `2 steps`.
pub fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_short() {
        assert_eq!(grouped(1_200_000_000), "1,200,000,000");
        assert_eq!((grouped(0), grouped(999), grouped(1000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(scaled(1.2e9, "B"), "1.20 GB");
        assert_eq!(
            (scaled(27_345_678.0, ""), scaled(999.0, ""), scaled(999_900.0, "B")),
            ("27.3 M".into(), "999".into(), "1.00 MB".into())
        );
        assert_eq!(
            (duration(0.25), duration(90.0), duration(4_000.0)),
            ("250 ms".into(), "90.0 s".into(), "67 min".into())
        );
        assert_eq!((duration(10_000.0), duration(1e6)), ("2.8 h".into(), "11.6 days".into()));
        assert_eq!(percent(0.0345), "3.5 %");
    }
}
