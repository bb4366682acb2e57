//! fastText's classifier: the label of a text by a model in fastText's own files, quantized (.ftz) or not (.bin).
//!
//! Source: fastText 0.9.2 (<https://github.com/facebookresearch/fastText>, `fasttext.cc`, `dictionary.cc`, `loss.cc`);
//! Joulin et al., 2016, arXiv 1607.01759 and 1612.03651. Only what a prediction needs is here: words and their
//! character n-grams as rows of a matrix, their mean, and a softmax or a tree over labels.

mod dictionary;
mod file;
mod matrix;
mod output;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use dictionary::Dictionary;
use file::Input;
use matrix::Matrix;
use output::Output;

/// A model.
#[derive(Debug)]
pub struct FastText {
    dictionary: Dictionary,
    input: Matrix,
    output: Output,
}

/// What a prediction needs, kept between texts.
#[derive(Debug, Default)]
pub struct Buffers {
    rows: Vec<u32>,
    hidden: Vec<f32>,
    scores: Vec<f32>,
}

impl FastText {
    /// Reads the model at `path`.
    ///
    /// # Errors
    /// It cannot be read, is no model of fastText's, or no classifier of a kind that is known here.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut input = Input::new(BufReader::with_capacity(1 << 20, File::open(path)?));
        let arguments = input.arguments()?;
        let dictionary = Dictionary::read(&mut input, &arguments)?;
        let is_quantized = input.flag()?;
        let rows = Matrix::read(&mut input, is_quantized)?;
        let is_output_quantized = input.flag()? && is_quantized;
        let weights = Matrix::read(&mut input, is_output_quantized)?;
        let output = Output::new(weights, arguments.loss, dictionary.label_counts())?;
        Ok(Self { dictionary, input: rows, output })
    }

    /// The name of label `number`, without `__label__`.
    pub fn label(&self, number: usize) -> &str {
        self.dictionary.label(number)
    }

    /// The number of labels.
    pub fn num_labels(&self) -> usize {
        self.dictionary.num_labels()
    }

    /// The probabilities of all labels, by their numbers; None if the text has nothing that the model knows. Line ends
    /// are blanks.
    pub fn scores<'b>(&self, text: &str, buffers: &'b mut Buffers) -> Option<&'b [f32]> {
        let Buffers { rows, hidden, scores } = buffers;
        self.dictionary.rows_of(text, rows);
        if rows.is_empty() {
            return None;
        }
        hidden.clear();
        hidden.resize(self.input.width(), 0.0);
        for row in rows.iter() {
            self.input.add_row(*row as usize, hidden);
        }
        let share = 1.0 / rows.len() as f32;
        hidden.iter_mut().for_each(|value| *value *= share);
        self.output.probabilities(hidden, scores);
        Some(scores)
    }
}
