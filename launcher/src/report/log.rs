//! A run's train.log: how often and on how many ranks it was started, and what it warned of.

use std::path::Path;

use super::files::read_if_there;

/// Warnings that are kept; the others are counted.
const MOST: usize = 40;

/// What a log says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The number of ranks of each start.
    pub starts: Vec<usize>,
    /// The first warnings, without their time.
    pub warnings: Vec<String>,
    /// How many warnings there are.
    pub num_warnings: usize,
}

impl Log {
    /// Reads the file; empty without one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Ok(read_if_there(path)?.map(|text| Self::of(&text)).unwrap_or_default())
    }

    fn of(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines() {
            // `2026-01-31T12:00:00.000000Z  INFO text`
            let mut words = line.splitn(2, ' ');
            let Some(rest) = words.next().and(words.next()).map(str::trim_start) else { continue };
            if let Some(warning) = rest.strip_prefix("WARN ") {
                log.num_warnings += 1;
                if log.warnings.len() < MOST {
                    log.warnings.push(warning.trim().to_owned());
                }
            }
            log.starts.extend(rest.strip_prefix("INFO ").and_then(ranks));
        }
        log
    }
}

/// The number of ranks in `demo: 2 ranks, steps 1 to 180, ready after 0.73 s`.
fn ranks(text: &str) -> Option<usize> {
    let (before, _) = text.rsplit_once(" ranks, steps ").filter(|(_, after)| after.contains(", ready after "))?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_warnings_are_found_and_times_are_left_out() {
        let text = "2026-11-29T19:43:15.078383Z  INFO 2 rank(s): Open MPI v4.1.4\n\
                    2026-11-29T19:43:15.210133Z  INFO a: b: 2 ranks, steps 1 to 180, ready after 0.73 s\n\
                    2026-11-29T19:43:16.210133Z  WARN step 3: loss NaN: update skipped\n\
                    2026-11-29T19:43:17.210133Z  INFO a: b: 16 ranks, steps 4 to 180, ready after 1.73 s\ntor";
        let expected =
            Log { starts: vec![2, 16], warnings: vec!["step 3: loss NaN: update skipped".into()], num_warnings: 1 };
        assert_eq!(Log::of(text), expected);
        assert_eq!(Log::of(&"x WARN again\n".repeat(50)).num_warnings, 50);
    }
}
