//! Which keys a row has, and in which columns they stand.
//!
//! Without benchmarks a row has the key of its two texts and, a band each, of what its source compares. With benchmarks
//! it has the keys of each text alone, from which those follow: a benchmark's text may be either. Then it has a last
//! column as well: one more than the number of the benchmark with a query that one of the texts nearly is, or 0.

use std::path::Path;

use super::key_file::{Columns, KeyFile, KeyWriter, Layout};
use super::mixing::{hash, hash_wide};
use super::queries::{Queries, SHORT};
use super::recipe::{Compared, DuplicatesRecipe};
use super::signature::Signer;
use super::units::Units;
use crate::error::CurateError;

/// One of a row's texts.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    Query = 0,
    Passage = 1,
}

/// Where keys of rows stand.
#[derive(Debug)]
pub struct RowLayout {
    layout: Layout,
    bands: usize,
    has_texts: bool,
}

impl RowLayout {
    /// As a recipe needs them.
    pub fn of(recipe: &DuplicatesRecipe) -> Self {
        let bands = recipe.shape().map_or(0, |shape| shape.bands);
        let has_texts = !recipe.against.is_empty();
        let sides = if has_texts { 2 } else { 1 };
        let mut widths = vec![16; sides];
        widths.resize(sides * (1 + bands) + usize::from(has_texts), 8);
        Self { layout: Layout { widths, settings: settings(recipe, sides as u64) }, bands, has_texts }
    }

    /// The file `path`, which should be written with the same recipe.
    ///
    /// # Errors
    /// The operating system's. It was not.
    pub fn open(&self, path: &Path) -> Result<KeyFile, CurateError> {
        KeyFile::open(path, &self.layout)
    }

    /// Reads the keys of both texts of a chunk's rows.
    ///
    /// # Errors
    /// The operating system's.
    pub fn pairs(&self, columns: &Columns<'_>, chunk: u64, keys: &mut Vec<[u64; 2]>) -> Result<(), CurateError> {
        columns.read(chunk, 0, keys)?;
        if self.has_texts {
            let mut passages = Vec::new();
            columns.read(chunk, 1, &mut passages)?;
            keys.iter_mut().zip(passages).for_each(|(key, passage)| *key = pair(*key, passage));
        }
        Ok(())
    }

    /// Reads the keys in `band` of what is compared of a chunk's rows.
    ///
    /// # Errors
    /// The operating system's.
    pub fn band(
        &self,
        (columns, compared): (&Columns<'_>, Compared),
        chunk: u64,
        band: usize,
        keys: &mut Vec<[u64; 1]>,
    ) -> Result<(), CurateError> {
        if !self.has_texts {
            return columns.read(chunk, 1 + band, keys);
        }
        columns.read(chunk, self.text_column(Side::Passage, Some(band)), keys)?;
        if compared == Compared::Pair {
            let mut queries = Vec::new();
            columns.read(chunk, self.text_column(Side::Query, Some(band)), &mut queries)?;
            keys.iter_mut().zip(queries).for_each(|(key, [query])| *key = [near_pair(query, key[0])]);
        }
        Ok(())
    }

    /// Keys of a text.
    pub fn bands(&self) -> usize {
        self.bands
    }

    /// The column with the keys of a text alone: of a band, or of the whole.
    pub fn text_column(&self, side: Side, band: Option<usize>) -> usize {
        match band {
            None => side as usize,
            Some(band) => 2 + side as usize * self.bands + band,
        }
    }

    /// The column of near queries, where there are benchmarks.
    pub fn query_column(&self) -> usize {
        2 + 2 * self.bands
    }
}

/// What the column of near queries says of a row.
pub fn near_query([key]: [u64; 1]) -> Option<u16> {
    // It was written from 16 bits.
    key.checked_sub(1).map(|benchmark| benchmark as u16)
}

/// The layout of a benchmark's keys: of each text the whole, and the bands.
pub fn text_layout(recipe: &DuplicatesRecipe) -> Layout {
    let mut widths = vec![16];
    widths.resize(1 + recipe.shape().map_or(0, |shape| shape.bands), 8);
    Layout { widths, settings: settings(recipe, 0) }
}

/// What keys depend on.
fn settings(recipe: &DuplicatesRecipe, sides: u64) -> u64 {
    let shape = recipe.shape().map_or([0; 3], |shape| [shape.ngram, shape.bands, shape.rows]);
    hash(sides, shape.map(|number| number as u64))
}

/// The key of a pair of texts with these keys.
fn pair(query: [u64; 2], passage: [u64; 2]) -> [u64; 2] {
    hash_wide([query, passage].into_iter().flatten())
}

/// The key in a band of two texts with these keys in it.
fn near_pair(query: u64, passage: u64) -> u64 {
    hash(0, [query, passage])
}

/// Makes keys of texts.
#[derive(Debug)]
pub struct TextKeys {
    units: Units,
    signer: Option<Signer>,
}

impl TextKeys {
    /// As a recipe needs them.
    pub fn of(recipe: &DuplicatesRecipe) -> Self {
        Self { units: Units::default(), signer: recipe.shape().map(Signer::new) }
    }

    /// The key of the whole of `text`, and the number of its units; the keys of its bands are put into `bands`, if keys
    /// have bands and `is_near` asks for them.
    pub fn keys(&mut self, text: &str, is_near: bool, bands: &mut Vec<u64>) -> ([u64; 2], usize) {
        let units = self.units.of(text);
        if let Some(signer) = self.signer.as_mut().filter(|_| is_near) {
            signer.keys(units, bands);
        }
        (hash_wide(units.iter().copied()), units.len())
    }
}

/// The keys of a unit's rows, being written into a file.
///
/// In memory are a chunk's keys: about 2 MB.
#[derive(Debug)]
pub struct UnitKeys<'a> {
    texts: TextKeys,
    queries: &'a Queries,
    file: KeyWriter,
    compared: Compared,
    has_texts: bool,
    keys: Vec<u64>,
    query_bands: Vec<u64>,
    passage_bands: Vec<u64>,
}

impl<'a> UnitKeys<'a> {
    /// Begins the file `path`. `of` is what rows of the source must have nearly in common, unless the recipe says it;
    /// `queries` are those of the recipe's benchmarks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(
        path: &Path,
        (recipe, queries): (&DuplicatesRecipe, &'a Queries),
        of: Compared,
    ) -> Result<Self, CurateError> {
        let RowLayout { layout, has_texts, .. } = RowLayout::of(recipe);
        let compared = recipe.compared(of);
        Ok(Self {
            texts: TextKeys::of(recipe),
            queries,
            file: KeyWriter::create(path, layout, compared)?,
            compared,
            has_texts,
            keys: Vec::new(),
            query_bands: Vec::new(),
            passage_bands: Vec::new(),
        })
    }

    /// Adds the unit's next row.
    ///
    /// # Errors
    /// The operating system's; the unit has more than 2³² rows.
    pub fn add(&mut self, query: &str, passage: &str) -> Result<(), CurateError> {
        let Self { texts, queries, file, compared, has_texts, keys, query_bands, passage_bands } = self;
        query_bands.clear();
        passage_bands.clear();
        let is_pair = *compared == Compared::Pair;
        let (query_key, query_units) = texts.keys(query, *has_texts || is_pair, query_bands);
        let (passage_key, passage_units) = texts.keys(passage, true, passage_bands);
        keys.clear();
        if *has_texts {
            keys.extend([query_key, passage_key].as_flattened());
            keys.append(query_bands);
            keys.append(passage_bands);
            let short =
                [(query, query_units), (passage, passage_units)].into_iter().filter(|(_, units)| *units < SHORT);
            let near = short.filter_map(|(text, _)| queries.nearly(text)).min();
            keys.push(near.map_or(0, |benchmark| 1 + u64::from(benchmark)));
        } else {
            keys.extend(pair(query_key, passage_key));
            match is_pair {
                true => keys.extend(query_bands.iter().zip(passage_bands).map(|(q, p)| near_pair(*q, *p))),
                false => keys.append(passage_bands),
            }
        }
        file.add(keys)
    }

    /// Ends the file, which is then on the disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn finish(self) -> Result<(), CurateError> {
        self.file.finish()
    }
}
