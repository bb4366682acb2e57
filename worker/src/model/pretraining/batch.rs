//! What pre-training hides of texts, and the tensors that a sub-batch of them becomes.
//!
//! Legend: of a text: n tokens, S mask sets; of a sub-batch: T tokens, K labels of the encoder, R of the decoder.

use std::ops::Range;

use tch::Tensor;
use tercet_sampler::{SubBatchLimit, TextInput};

use crate::model::representation::Heads;
use crate::model::sub_batch::{Framing, SubBatch, SubBatchParts, SubBatches};
use crate::ops::attention::{Visible, VisibleText};
use crate::tensors::upload::{Part, Staged, Upload, Uploaded};

/// What the encoder reads of texts, and what it has to predict of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HiddenWords {
    /// Each text with its mask tokens and random words.
    pub inputs: Vec<TextInput>,
    /// The places that are to be predicted in each text, ascending, each with the token that stands there.
    pub labels: Vec<Vec<(usize, i64)>>,
}

/// What the decoder does not see of a text, and what it has to predict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HiddenPlaces {
    /// Whether set s hides place j: at s·n + j, [S, n].
    pub sets: Vec<bool>,
    /// The rows, by ascending places.
    pub rows: Vec<DecoderRow>,
}

/// A row of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderRow {
    /// The place that it predicts, and never sees.
    pub place: usize,
    /// The token there.
    pub label: i64,
    /// The set of places that it does not see either.
    pub set: usize,
}

/// Texts of pre-training, cut into sub-batches.
pub struct PretrainingTexts<'a> {
    own: &'a [TextInput],
    words: &'a HiddenWords,
    inputs: SubBatches<'a>,
    framing: Framing,
}

/// One sub-batch on its device.
pub struct PretrainingBatch {
    /// What the encoder reads.
    pub texts: SubBatch,
    /// The texts' own tokens, int64 `[T]`.
    pub own_ids: Tensor,
    /// Places among the T that the encoder predicts, int64 `[K]`.
    pub encoder_place: Tensor,
    /// int64 `[K]`.
    pub encoder_label: Tensor,
    /// What the decoder predicts; none if nothing.
    pub decoder: Option<DecoderRows>,
}

/// A [`PretrainingBatch`] on its way to the device.
pub struct PretrainingParts {
    texts: SubBatchParts,
    /// The fields that are lists of numbers, in their order.
    lists: [Part; 3],
    rows: Option<RowsParts>,
    framing: Framing,
}

impl PretrainingBatch {
    /// What was made ready, sent by one copy.
    pub fn sent(staged: Staged<PretrainingParts>) -> Self {
        let (PretrainingParts { texts, lists, rows, framing }, sent) = staged.send();
        let [own_ids, encoder_place, encoder_label] = lists.map(|part| sent.of(&part));
        let decoder = rows.map(|rows| rows.on(&sent, framing));
        Self { texts: texts.on(&sent), own_ids, encoder_place, encoder_label, decoder }
    }
}

/// What the decoder predicts of a sub-batch.
pub struct DecoderRows {
    /// The text of each row, int64 `[R]`.
    pub text: Tensor,
    /// Rows of each text, int64 `[texts]`.
    pub rows_per_text: Tensor,
    /// The place of each row in its text, int64 `[R]`.
    pub position: Tensor,
    /// int64 `[R]`.
    pub label: Tensor,
    /// What each of them may see.
    pub visible: Visible,
}

impl<'a> PretrainingTexts<'a> {
    /// Cuts the texts `own`, of which the encoder gets `words`.
    pub fn new(own: &'a [TextInput], words: &'a HiddenWords, limit: SubBatchLimit, framing: Framing) -> Self {
        Self { own, words, inputs: SubBatches::new(&words.inputs, limit, framing, Heads::DENSE), framing }
    }

    /// The sub-batches of what the encoder reads.
    pub fn sub_batches(&self) -> &SubBatches<'a> {
        &self.inputs
    }

    /// Sub-batch `i`, ready to be sent. `places` gives what the decoder does not see of the text with an index; it is
    /// none where no decoder is trained. Any thread may ask for it.
    pub fn stage(&self, i: usize, places: Option<&dyn Fn(usize) -> HiddenPlaces>) -> Staged<PretrainingParts> {
        let mut upload = Upload::default();
        let texts = self.inputs.add(i, &mut upload);
        let mut own_ids = Vec::with_capacity(self.inputs.num_tokens_of(i));
        let (mut encoder_place, mut encoder_label) = (Vec::new(), Vec::new());
        let mut rows = RowsBuilder::default();
        for ((number, text), span) in self.inputs.texts_of(i).enumerate().zip(texts.spans()) {
            own_ids.extend_from_slice(&self.own[text].ids);
            for &(place, label) in &self.words.labels[text] {
                encoder_place.push((span.first + place) as i64);
                encoder_label.push(label);
            }
            if let Some(places) = places {
                rows.push(number, span.first..span.first + span.len, &places(text), &mut upload);
            }
        }
        let lists = [&own_ids, &encoder_place, &encoder_label].map(|list| upload.add(list));
        let rows = rows.finish(texts.spans().len(), &mut upload);
        upload.stage(self.framing.device, PretrainingParts { texts, lists, rows, framing: self.framing })
    }
}

/// The decoder's rows as they are gathered, text by text.
#[derive(Default)]
struct RowsBuilder {
    text: Vec<i64>,
    position: Vec<i64>,
    label: Vec<i64>,
    texts: Vec<TextParts>,
}

/// A [`VisibleText`] on its way to the device.
struct TextParts {
    number: usize,
    rows: Range<i64>,
    tokens: Range<i64>,
    hidden: Part,
    set_of_row: Part,
    sees: Option<Part>,
}

/// All rows on their way to the device.
struct RowsParts {
    lists: [Part; 4],
    texts: Vec<TextParts>,
}

impl RowsBuilder {
    /// Adds the rows of text `number` of the sub-batch, whose tokens are at `tokens`. A text without rows adds none.
    fn push(&mut self, number: usize, tokens: Range<usize>, places: &HiddenPlaces, upload: &mut Upload) {
        let HiddenPlaces { sets, rows } = places;
        if rows.is_empty() {
            return;
        }
        let first = self.text.len() as i64;
        self.text.extend(rows.iter().map(|_| number as i64));
        self.position.extend(rows.iter().map(|row| row.place as i64));
        self.label.extend(rows.iter().map(|row| row.label));
        let len = tokens.len();
        let num_visible: Vec<usize> =
            sets.chunks_exact(len).map(|set| set.iter().filter(|&&hidden| !hidden).count()).collect();
        let sees = |row: &DecoderRow| num_visible[row.set] > usize::from(!sets[row.set * len + row.place]);
        let all_see = rows.iter().all(sees);
        self.texts.push(TextParts {
            number,
            rows: first..self.text.len() as i64,
            tokens: tokens.start as i64..tokens.end as i64,
            hidden: upload.add(sets),
            set_of_row: upload.add(&rows.iter().map(|row| row.set as i64).collect::<Vec<_>>()),
            sees: (!all_see).then(|| upload.add(&rows.iter().map(|row| f32::from(sees(row))).collect::<Vec<_>>())),
        });
    }

    fn finish(self, num_texts: usize, upload: &mut Upload) -> Option<RowsParts> {
        if self.text.is_empty() {
            return None;
        }
        let mut per_text = vec![0i64; num_texts];
        self.texts.iter().for_each(|text| per_text[text.number] = text.rows.end - text.rows.start);
        let lists = [&self.text, &per_text, &self.position, &self.label].map(|list| upload.add(list));
        Some(RowsParts { lists, texts: self.texts })
    }
}

impl RowsParts {
    fn on(self, sent: &Uploaded, framing: Framing) -> DecoderRows {
        let [text, rows_per_text, position, label] = self.lists.map(|part| sent.of(&part));
        let visible = |text: TextParts| {
            let TextParts { rows, tokens, hidden, set_of_row, sees, .. } = text;
            let num_rows = rows.end - rows.start;
            VisibleText {
                hidden: sent.of(&hidden).view([-1, tokens.end - tokens.start]),
                set_of_row: sent.of(&set_of_row),
                place_of_row: position.narrow(0, rows.start, num_rows),
                sees: sees.map(|part| sent.of(&part).to_kind(framing.kind).view([-1, 1])),
                rows,
                tokens,
            }
        };
        let visible = Visible { texts: self.texts.into_iter().map(visible).collect() };
        DecoderRows { text, rows_per_text, position, label, visible }
    }
}
