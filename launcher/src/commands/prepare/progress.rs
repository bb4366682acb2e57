//! What a user sees while rows are prepared: a bar on a terminal, lines in a log.

use std::time::{Duration, Instant};

use tercet_sampler::PrepareProgress;

use crate::screen::Screen;
use crate::screen::progress::short;

/// How often a log gets a line.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A bar by bytes read, or a line now and then.
pub struct Progress {
    screen: Screen,
    started: Instant,
    logged: Instant,
    open: bool,
}

impl Progress {
    /// The progress of work that begins.
    pub fn new(screen: Screen) -> Self {
        Self { screen, started: Instant::now(), logged: Instant::now(), open: false }
    }

    /// Shows how far it is.
    pub fn show(&mut self, so_far: PrepareProgress<'_>) {
        if !self.open {
            self.screen.open_bar(so_far.input_bytes_total);
            self.open = true;
        }
        if self.screen.is_terminal() {
            self.screen.move_bar(so_far.input_bytes, describe(&so_far, self.started.elapsed()));
        } else if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            self.screen.say(&format!("{}\n", describe(&so_far, self.started.elapsed())));
        }
    }
}

/// `man  1200 rows  3 skipped  410000 tokens  31 %  left 1m05s`
fn describe(so_far: &PrepareProgress<'_>, elapsed: Duration) -> String {
    let PrepareProgress { dataset, rows, skipped, tokens, input_bytes, input_bytes_total } = *so_far;
    let mut text = format!("{dataset}  {rows} rows");
    if skipped > 0 {
        text += &format!("  {skipped} skipped");
    }
    text += &format!("  {tokens} tokens");
    if input_bytes > 0 && input_bytes_total >= input_bytes {
        let left = elapsed.mul_f64((input_bytes_total - input_bytes) as f64 / input_bytes as f64);
        text += &format!("  {} %  left {}", 100 * input_bytes / input_bytes_total, short(left));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line() {
        let mut so_far = PrepareProgress {
            dataset: "man",
            rows: 12,
            tokens: 300,
            input_bytes: 25,
            input_bytes_total: 100,
            ..PrepareProgress::default()
        };
        let elapsed = Duration::from_secs(20);
        assert_eq!(describe(&so_far, elapsed), "man  12 rows  300 tokens  25 %  left 1m00s");
        (so_far.input_bytes, so_far.skipped) = (0, 2);
        assert_eq!(describe(&so_far, elapsed), "man  12 rows  2 skipped  300 tokens");
    }
}
