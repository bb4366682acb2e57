//! Rows that are made of their numbers.

use std::fmt::Write;

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    New,
    /// Equal to a row before it.
    Exact,
    /// Its passage has another word than that of a row before it.
    Near,
    /// Its passage is a benchmark's text.
    Benchmark,
}

/// All rows.
pub struct Made {
    pub rows: u64,
    pub texts: u64,
    /// Words of a passage.
    pub words: u64,
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Adds words that `seed` determines, two to ten letters each.
fn words(text: &mut String, seed: u64, count: u64) {
    const SYLLABLES: [&str; 16] =
        ["ba", "den", "ki", "lor", "mu", "nes", "o", "pra", "qui", "ras", "sto", "ta", "un", "ver", "wi", "zan"];
    for i in 0..count {
        let mut number = mix(seed ^ mix(i));
        // Low numbers are frequent, as words are.
        number &= u64::MAX >> (44 + number % 16);
        loop {
            text.push_str(SYLLABLES[(number % 16) as usize]);
            number /= 16;
            if number == 0 {
                break;
            }
        }
        text.push(' ');
    }
}

impl Made {
    /// A benchmark's text.
    pub fn benchmark(&self, number: u64) -> String {
        let mut text = String::new();
        words(&mut text, mix(!number), self.words);
        text
    }

    /// Calls `visit` with a row.
    pub fn row<T>(&self, number: u64, visit: impl FnOnce(&str, &str, Planted) -> T) -> T {
        let draw = mix(number ^ 0x5eed);
        // It is one of the first eight rows of ten that come before, which are new: no duplicate is one of a duplicate.
        let before = number - number % 10;
        let (planted, of) = match number % 10 {
            8 if before > 0 => (Planted::Exact, draw % (before / 10) * 10 + draw / 7 % 8),
            9 if before > 0 => (Planted::Near, draw % (before / 10) * 10 + draw / 7 % 8),
            5 if self.texts > 0 && number / 10 % 100 == 1 => (Planted::Benchmark, number),
            _ => (Planted::New, number),
        };
        let (mut query, mut passage) = (String::with_capacity(64), String::with_capacity(1024));
        match planted {
            Planted::Benchmark => passage = self.benchmark(draw % self.texts),
            _ if of / 10 % 100 == 1 && of % 10 == 5 && self.texts > 0 => {
                passage = self.benchmark(mix(of ^ 0x5eed) % self.texts);
            }
            _ => words(&mut passage, mix(of), self.words),
        }
        words(&mut query, !of, 8);
        if planted == Planted::Near {
            _ = write!(query, "{number}");
            let at = passage
                .char_indices()
                .filter(|(_, c)| *c == ' ')
                .map(|(at, _)| at)
                .nth((draw % (self.words - 20)) as usize + 10);
            passage.insert_str(at.unwrap_or_default(), &format!(" changed{number}"));
        }
        visit(&query, &passage, planted)
    }
}
