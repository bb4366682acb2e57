//! The data set that is being prepared: takes what was tokenised, in order, and ends shards where the same command can
//! go on.

use super::chunks::Position;
use super::options::OnError;
use super::progress::InputState;
use super::skipped::SkippedList;
use super::texts::Pack;
use super::tokenized::{Tokenized, TokenizedChunk};
use crate::error::PrepareError;
use crate::place::Place;
use crate::store::{DatasetWriter, LabelledRow};

/// The data set that is being prepared.
pub(super) struct InHand<'a> {
    pub(super) writer: DatasetWriter<'a>,
    /// How far the input is done with: the writer or `ready` has what comes before, and `pack` what comes after.
    pub(super) state: InputState,
    /// None if a malformed row ends the preparation.
    skipped: Option<SkippedList>,
    /// None if every text has a row of its own.
    pack: Option<Pack>,
    /// Rows that the writer does not have yet.
    ready: Vec<LabelledRow>,
}

impl<'a> InHand<'a> {
    pub(super) fn new(
        writer: DatasetWriter<'a>,
        state: InputState,
        pack: Option<Pack>,
        on_error: OnError,
    ) -> Result<Self, PrepareError> {
        let skipped = match on_error {
            OnError::Stop => None,
            OnError::Skip => Some(SkippedList::open(writer.dir(), state.skipped_bytes)?),
        };
        Ok(Self { writer, state, skipped, pack, ready: Vec::new() })
    }

    /// Takes the next chunk.
    pub(super) fn write(&mut self, chunk: TokenizedChunk) -> Result<(), PrepareError> {
        let TokenizedChunk { source, place, records } = chunk;
        let rows = records.iter().filter_map(|(_, record)| record.as_ref().ok()).flat_map(|record| &record.rows);
        self.writer.expect(rows.map(|row| &row.tokens), self.pack.is_some());
        for (number, record) in records {
            match record.and_then(|record| self.state.of_one_kind(record)) {
                Ok(record) => self.take(record, source, number, place)?,
                Err(reason) => self.skip(Position { source, number, parts: 0 }, place, reason)?,
            }
        }
        self.hand_over()
    }

    /// Takes what waits to be packed with more.
    pub(super) fn end(mut self) -> Result<(DatasetWriter<'a>, InputState, Option<SkippedList>), PrepareError> {
        if let Some((source, row)) = self.pack.as_mut().and_then(Pack::take) {
            self.store(row, source)?;
        }
        self.hand_over()?;
        Ok((self.writer, self.state, self.skipped))
    }

    /// Takes row, line or text `number` of file `source`, but for the parts that an earlier attempt has stored.
    fn take(&mut self, record: Tokenized, source: usize, number: u64, place: Place) -> Result<(), PrepareError> {
        let Tokenized { rows, kind, near_keys, counts } = record;
        let num_parts = rows.len();
        let stored = match self.state.position {
            Position { source: s, number: n, parts } if (s, n) == (source, number) => parts,
            _ => 0,
        };
        for (part, row) in (1..).zip(rows).skip(stored) {
            // It is stored before the position says that this part is done with.
            if let Some((source, full)) = self.pack.as_mut().and_then(|pack| pack.make_room(&row)) {
                self.store(full, source)?;
            }
            self.state.position = Position { source, number, parts: if part < num_parts { part } else { 0 } };
            if part == 1 {
                self.state.count(counts, place);
                self.state.count_kind(kind.as_deref());
                near_keys.iter().for_each(|near| self.state.count_near_key(near, place));
            }
            match &mut self.pack {
                Some(pack) => pack.add(row, source),
                None => self.store(row, source)?,
            }
        }
        Ok(())
    }

    /// Stores a row that begins in file `source`, and ends the shard if it is the last that this takes.
    fn store(&mut self, row: LabelledRow, source: usize) -> Result<(), PrepareError> {
        self.state.sources[source].rows += 1;
        self.ready.push(row);
        if self.writer.room().is_some_and(|room| room <= self.ready.len() as u64) {
            self.hand_over()?;
            self.state.sync(self.skipped.as_mut())?;
            self.writer.end_shard(self.state.to_value())?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), PrepareError> {
        Ok(self.writer.extend(std::mem::take(&mut self.ready))?)
    }

    /// Lists the row as skipped, or returns its error.
    fn skip(&mut self, position: Position, place: Place, reason: String) -> Result<(), PrepareError> {
        self.state.position = position;
        let Position { source, number, .. } = position;
        let source = &mut self.state.sources[source];
        let Some(list) = &mut self.skipped else {
            return Err(place.error(&source.path, number, reason).into());
        };
        source.skipped += 1;
        if self.state.first_skipped.is_none() {
            self.state.first_skipped = Some(place.error(&source.path, number, reason.clone()).to_string());
        }
        Ok(list.push(&source.path, place, number, &reason)?)
    }
}
