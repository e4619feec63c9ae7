//! The two sides of a table's open rows: those that are moved, and those that stay.
//!
//! Of the rows that are moved the keys are kept, since the last step deletes the rows one by one. Where most rows are moved, as
//! after a first load, that takes far longer than to write the rest anew. So as soon as enough rows were seen to tell that most
//! of them go, those that stay are copied to a new generation of the table's rows
//! ([`crate::row_store::generation`]), and if it is still so at the end, the last step takes the copy in place of the rows. It needs no
//! keys then, and a run of any size is one round.
//!
//! The copy has the rows at the snapshot S of the run; keys written since are brought up to date by the committer, which
//! knows them all.
//!
//! Not done for a table with indexes: the entries of moved rows have to be deleted one by one anyway.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not, prep_null_mask_filter};

use crate::catalog::Catalog;
use crate::committer::Move;
use crate::definitions::Table;
use crate::error::Result;
use crate::index::entry::Entry;
use crate::row_codec::Bytes;
use crate::row_store::generation::{Generation, Staged, Staging};

/// Rows after which it is told whether most are moved.
const SAMPLE_ROWS: u64 = 100_000;

/// Whether the rows that stay are copied whatever their number is. Tests have small tables.
fn copies_always() -> bool {
    fail::fail_point!("housekeeping::copies", |_| true);
    false
}

/// Takes a table's open rows in key order and tells the sides apart.
pub(super) struct Sides {
    catalog: Arc<Catalog>,
    table: Arc<Table>,
    /// Keys that are kept at the most.
    keys_max: usize,
    /// Keys from which on no more are kept if most rows are moved.
    certain_from: usize,
    /// Of the rows moved, and their entries in each of the table's indexes.
    keys: Vec<Bytes>,
    entries: Vec<Vec<Entry>>,
    moved: u64,
    stayed: u64,
    copy: Copy,
}

/// The rows that stay.
enum Copy {
    /// Too few rows were seen; these of them stay.
    Undecided(Vec<RecordBatch>),
    /// They are being copied.
    Begun(Staging),
    /// They are being copied, and keys of the others are not kept.
    Certain(Staging),
    /// They are left where they are.
    None,
}

/// What is to be taken out of the row store.
#[derive(Default)]
pub(super) struct Moved {
    /// Number of rows.
    pub(super) rows: u64,
    /// Their keys, unless there is a copy of the others.
    pub(super) keys: Vec<Bytes>,
    /// Their entries in each index.
    pub(super) entries: Vec<Vec<Entry>>,
    /// The others.
    pub(super) copy: Option<Staged>,
    /// If not all rows were seen, the last key of those moved.
    pub(super) last: Option<Bytes>,
}

impl Sides {
    /// For a round of at most `keys_max` rows moved. `whole` says that all of the table's open rows are going to be seen, unless
    /// too many of them are moved.
    pub(super) fn new(
        catalog: &Arc<Catalog>,
        table: &Arc<Table>,
        keys_max: usize,
        whole: bool,
    ) -> Self {
        let copy = match whole && table.indexes.is_empty() {
            true => Copy::Undecided(Vec::new()),
            false => Copy::None,
        };
        Self {
            catalog: Arc::clone(catalog),
            table: Arc::clone(table),
            keys_max,
            certain_from: keys_max,
            keys: Vec::new(),
            entries: Vec::new(),
            moved: 0,
            stayed: 0,
            copy,
        }
    }

    /// Takes rows without end.
    pub(super) fn unbounded(mut self) -> Self {
        self.keys_max = usize::MAX;
        self
    }

    /// Whether no more rows can be taken.
    pub(super) fn is_full(&mut self) -> bool {
        if self.keys.len() >= self.certain_from && self.most_move() {
            self.copy = match std::mem::replace(&mut self.copy, Copy::None) {
                Copy::Begun(staging) => {
                    self.keys = Vec::new();
                    Copy::Certain(staging)
                }
                other => other,
            };
        }
        self.keys.len() >= self.keys_max
    }

    /// Takes rows of which those marked are moved; returns these.
    pub(super) async fn take(
        &mut self,
        rows: &RecordBatch,
        marks: &BooleanArray,
    ) -> Result<RecordBatch> {
        let marks = match marks.null_count() {
            0 => marks.clone(),
            _ => prep_null_mask_filter(marks),
        };
        let mut moved = filter_record_batch(rows, &marks)?;
        if matches!(self.copy, Copy::None | Copy::Undecided(_)) {
            let room = self.keys_max.saturating_sub(self.keys.len());
            if moved.num_rows() > room {
                moved = moved.slice(0, room);
                self.copy = Copy::None;
            }
        }
        if !matches!(self.copy, Copy::Certain(_)) {
            self.remember(&moved)?;
        }
        self.moved += moved.num_rows() as u64;
        self.stayed += (rows.num_rows() - marks.true_count()) as u64;
        if !matches!(self.copy, Copy::None) && marks.true_count() < rows.num_rows() {
            let staying = filter_record_batch(rows, &not(&marks)?)?;
            self.copy(staying).await?;
        }
        self.decide().await?;
        Ok(moved)
    }

    fn remember(&mut self, moved: &RecordBatch) -> Result<()> {
        let table = &self.table;
        let keys = table.codec.encode_keys(&table.codec.project_key(moved)?)?;
        self.entries.resize_with(table.indexes.len(), Vec::new);
        for (index, entries) in table.indexes.iter().zip(&mut self.entries) {
            entries.extend(index.entries(&index.project(moved)?, &keys)?);
        }
        self.keys.extend(keys);
        Ok(())
    }

    async fn copy(&mut self, staying: RecordBatch) -> Result<()> {
        match &mut self.copy {
            Copy::Undecided(rows) => rows.push(staying),
            Copy::Begun(staging) | Copy::Certain(staging) => {
                staging.add(encode(&self.table, &staying)?).await?;
            }
            Copy::None => {}
        }
        Ok(())
    }

    async fn decide(&mut self) -> Result<()> {
        let Copy::Undecided(rows) = &mut self.copy else {
            return Ok(());
        };
        if self.moved + self.stayed < SAMPLE_ROWS && !copies_always() {
            return Ok(());
        }
        let rows = std::mem::take(rows);
        self.copy = Copy::None;
        if !self.most_move() {
            return Ok(());
        }
        let generation = Generation::new(self.catalog.counters.storage());
        let storage = self.table.def.storage;
        let mut staging = Staging::begin(self.catalog.store(), storage, generation);
        for rows in rows {
            staging.add(encode(&self.table, &rows)?).await?;
        }
        self.copy = Copy::Begun(staging);
        Ok(())
    }

    fn most_move(&self) -> bool {
        self.moved >= self.stayed || copies_always()
    }

    /// What was found once all rows were taken, or no more could be.
    pub(super) async fn finish(mut self) -> Result<Moved> {
        let copy = std::mem::replace(&mut self.copy, Copy::None);
        let (copy, last) = match copy {
            Copy::Certain(staging) => (Some(staging.finish().await?), None),
            Copy::Begun(staging) if self.keys.len() < self.keys_max && self.most_move() => {
                self.keys = Vec::new();
                (Some(staging.finish().await?), None)
            }
            Copy::Begun(_) | Copy::Undecided(_) | Copy::None => {
                let full = self.keys.len() >= self.keys_max;
                (None, self.keys.last().filter(|_| full).cloned())
            }
        };
        Ok(Moved {
            rows: self.moved,
            keys: self.keys,
            entries: self.entries,
            copy,
            last,
        })
    }
}

fn encode(table: &Table, rows: &RecordBatch) -> Result<Vec<(Bytes, Bytes)>> {
    let keys = table.codec.encode_keys(&table.codec.project_key(rows)?)?;
    let values = table.codec.encode_values(rows)?;
    Ok(keys.into_iter().zip(values).collect())
}

impl Moved {
    pub(super) fn is_none(&self) -> bool {
        self.rows == 0
    }

    /// The last step of the run.
    pub(super) fn finish(
        self,
        table: &Table,
        version: u64,
        first: bool,
        unshadowed: Vec<Bytes>,
    ) -> (Move, Option<Staged>) {
        let indexes = table.indexes.iter().map(|index| index.def.storage);
        let finish = Move::Finish {
            storage: table.def.storage,
            version,
            first,
            moved: self.keys,
            entries: indexes.zip(self.entries).collect(),
            unshadowed,
            taken: self.copy.as_ref().map(Staged::generation),
        };
        (finish, self.copy)
    }
}
