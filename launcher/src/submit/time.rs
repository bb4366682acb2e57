//! Slurm's time limits, as far as `tercet submit` must read them to know that the signal before a job's end comes after
//! its beginning.
//!
//! Source: sbatch(1), `--time` and `--signal`.

use tercet_configs::ExitCode;

use crate::exit::Fail;

/// # Errors
/// [`ExitCode::Usage`] for a limit that is none of Slurm's formats, or one that is not longer than the `signal_secs`
/// before its end at which the run is asked to stop: such a job would stop as soon as it runs, and be queued again, for
/// ever.
pub fn check(limit: &str, signal_secs: u16) -> Result<(), Fail> {
    let refuse = |message: String| Err(Fail::new(ExitCode::Usage, message));
    match limit_secs(limit) {
        None => refuse(format!(
            "--time {limit:?} is no time of Slurm's: expected minutes, minutes:seconds, hours:minutes:seconds, days-hours, \
             days-hours:minutes, days-hours:minutes:seconds, or UNLIMITED"
        )),
        Some(Some(secs)) if secs <= u64::from(signal_secs) => refuse(format!(
            "--signal-secs {signal_secs} is not shorter than --time {limit}, which is {secs} s: the job would be asked to stop \
             as soon as it runs; give it more time, or less before the end"
        )),
        Some(_) => Ok(()),
    }
}

/// The limit in seconds, `Some(None)` where there is none, `None` for what Slurm would not understand.
fn limit_secs(text: &str) -> Option<Option<u64>> {
    if ["UNLIMITED", "INFINITE"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(None);
    }
    let number = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse::<u64>().ok(),
        false => None,
    };
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(number(days)?), clock),
        None => (None, text),
    };
    let parts = clock.split(':').map(number).collect::<Option<Vec<_>>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (None, &[minutes]) => (0, minutes, 0),
        (None, &[minutes, seconds]) => (0, minutes, seconds),
        (Some(_), &[hours]) => (hours, 0, 0),
        (Some(_), &[hours, minutes]) => (hours, minutes, 0),
        (_, &[hours, minutes, seconds]) => (hours, minutes, seconds),
        _ => return None,
    };
    let terms = [(days.unwrap_or(0), 86_400), (hours, 3600), (minutes, 60), (seconds, 1)];
    let secs = terms.iter().try_fold(0u64, |sum, (count, each)| sum.checked_add(count.checked_mul(*each)?))?;
    // To Slurm no time is no limit.
    Some(Some(secs).filter(|secs| *secs > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_slurms_formats_are_read() {
        let read = [
            ("90", 90 * 60),
            ("90:30", 90 * 60 + 30),
            ("2:00:05", 7205),
            ("1-0", 86_400),
            ("1-12", 129_600),
            ("1-12:30", 131_400),
            ("1-12:30:05", 131_405),
            ("0:30", 30),
        ];
        for (text, secs) in read {
            assert_eq!(limit_secs(text), Some(Some(secs)), "{text}");
        }
        for none in ["UNLIMITED", "infinite", "0", "0:00"] {
            assert_eq!(limit_secs(none), Some(None), "{none}");
        }
        for bad in [
            "",
            "1h",
            "1-",
            "-5",
            "1:",
            "1:2:3:4",
            "1-2:3:4:5",
            "1-2-3",
            "+5",
            "99999999999999999999",
            "9999999999999999-0",
        ] {
            assert_eq!(limit_secs(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_signal_comes_after_the_beginning() {
        check("1-00:00:00", 600).unwrap();
        check("1", 59).unwrap();
        check("UNLIMITED", 600).unwrap();
        for (limit, signal_secs) in [("1", 60), ("10", 600), ("0:30", 600)] {
            let refused = check(limit, signal_secs).unwrap_err();
            assert_eq!(refused.code(), 2);
            assert!(refused.to_string().contains("is not shorter than --time"), "{refused}");
        }
        assert!(check("a day", 600).unwrap_err().to_string().contains("expected minutes, minutes:seconds"));
    }
}
