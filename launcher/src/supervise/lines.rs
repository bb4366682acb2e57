//! Lines of several ranks, put together again.
//!
//! Every rank writes whole lines, but `mpirun` passes on what it has read of each: under a burst a line is cut, and
//! another rank's comes in between. A line that begins inside of another one is recognised by how all of them begin.

use tercet_protocol::says::Event;

/// The number of bytes that are kept of a line that was cut. A longer line is not ours.
const MAX_CUT_BYTES: usize = 1 << 16;

/// Puts lines together.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of a line that was cut.
    cut: Vec<u8>,
}

impl Lines {
    /// The line that is complete with `line`.
    pub fn whole(&mut self, line: &[u8]) -> Vec<u8> {
        match line.windows(Event::BEGINNING.len()).rposition(|bytes| bytes == Event::BEGINNING) {
            Some(0) => line.to_vec(),
            Some(at) => {
                if self.cut.len() + at <= MAX_CUT_BYTES {
                    self.cut.extend_from_slice(&line[..at]);
                }
                line[at..].to_vec()
            }
            None => {
                let mut whole = std::mem::take(&mut self.cut);
                whole.extend_from_slice(line);
                whole
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "{\"event\":\"step\",\"loss\":1}\n";
    const TWO: &str = "{\"event\":\"heartbeat\",\"rank\":1}\n";

    fn whole(text: &str) -> Vec<String> {
        let mut lines = Lines::default();
        text.split_inclusive('\n').map(|line| String::from_utf8(lines.whole(line.as_bytes())).unwrap()).collect()
    }

    #[test]
    fn a_line_within_another_leaves_both_whole() {
        for at in 1..ONE.len() - 1 {
            let text = format!("{}{TWO}{TWO}{}", &ONE[..at], &ONE[at..]);
            assert_eq!(whole(&text), [TWO, TWO, ONE], "cut at {at}");
        }
    }

    #[test]
    fn other_lines_are_left_alone() {
        assert_eq!(whole("text\n{\"a\":1}\n"), ["text\n", "{\"a\":1}\n"]);
    }
}
