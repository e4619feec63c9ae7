//! Bulk loads: many rows at once into a table that has no open rows.
//!
//! A row that is inserted is written to the transaction's buffer, to the journal, to a memtable, and to a file when that is
//! full, and its key is remembered for conflicts with others. A table without rows needs none of this: the rows are sorted,
//! written to files of a new generation of its rows ([`crate::row_store::generation`]), and one small commit makes that
//! the table's. It takes a fraction of the time, memory that does not grow with the rows, and counts nothing towards
//! what a transaction can write.
//!
//! Steps:
//!
//! 1. **begin** ([`crate::transaction`], `bulk`): a statement that inserts batches of rows has seen enough of them. The table
//!    has neither open rows, the transaction's own included, nor closed ones, nor indexes, and is not temporary.
//! 2. **write**: rows are encoded as they come. As soon as there is a round of them, a thread of its own sorts it and writes it,
//!    while the next is collected. A key that comes twice is found beside itself in its round, or by a lookup in the rounds before,
//!    where the filters of the files answer nearly all; keys behind all those before are not looked up.
//! 3. **see** (`bulk_load::written`): at the end of the statement the transaction's snapshot takes the staged rows for the
//!    table's. What it writes to the table from then on lies on top, as ever. A rollback, or a savepoint's, drops them.
//! 4. **commit**: the batch that stores the transaction's writes makes the generation the table's, provided that nobody has written to the
//!    table since the snapshot, and neither a rewriter nor the builder of an index is at work, which have to be told each key.
//!    Else the rows are read back and committed like any others, by which conflicts are found key by key.
//!
//! After 4 a transaction that began before it fails if it writes to a key that is in the table: first committer wins. A crash before 4
//! leaves a generation that nobody has, which the next start drops.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::catalog::Catalog;
use crate::definitions::Table;
use crate::disk_reserve::DiskReserve;
use crate::error::{CatalogError, Result};
use crate::row_codec::EncodedRows;
use crate::row_store::generation::{Generation, Staged};

/// Bytes of encoded rows in the first rounds. Three rounds are in memory at the most: one is collected, one waits, one is written.
const ROUND_BYTES_MIN: usize = 128 << 20;

/// Bytes of a round at the most, and what part of all rows before it a later one has: the more rounds, the more files there are to
/// look a key up in.
const ROUND_BYTES_MAX: usize = 512 << 20;
const ROUND_PART: usize = 4;

fn round_bytes_min() -> usize {
    // Tests have rounds of few rows.
    fail::fail_point!("bulk_load::round_bytes", |bytes| bytes
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(ROUND_BYTES_MIN));
    ROUND_BYTES_MIN
}

/// A load under way. When it is dropped, what it has written goes.
pub(crate) struct BulkLoad {
    rows: Vec<EncodedRows>,
    bytes: usize,
    /// Bytes of the rounds before.
    written: usize,
    rounds: mpsc::Sender<Round>,
    writer: JoinHandle<Result<Staged>>,
}

enum Round {
    Rows(Vec<EncodedRows>),
    /// There are no more.
    End,
}

impl BulkLoad {
    /// Begins to load rows into a table.
    pub(crate) fn begin(catalog: &Arc<Catalog>, table: &Arc<Table>) -> Self {
        let generation = Generation::new(catalog.counters.storage());
        let staged = Staged::new(catalog.store(), table.def.storage, generation);
        let writer = Writer {
            table: Arc::clone(table),
            reserve: catalog.disk_reserve(),
            last: None,
        };
        let (rounds, receiver) = mpsc::channel(1);
        Self {
            rows: Vec::new(),
            bytes: 0,
            written: 0,
            rounds,
            writer: tokio::task::spawn_blocking(move || writer.run(staged, receiver)),
        }
    }

    /// Adds rows in any order.
    pub(crate) async fn add(&mut self, rows: EncodedRows) -> Result<()> {
        self.bytes += rows.bytes();
        self.rows.push(rows);
        let round = (self.written / ROUND_PART).clamp(round_bytes_min(), ROUND_BYTES_MAX);
        if self.bytes < round {
            return Ok(());
        }
        self.written += std::mem::take(&mut self.bytes);
        let rows = std::mem::take(&mut self.rows);
        self.send(Round::Rows(rows)).await
    }

    async fn send(&mut self, round: Round) -> Result<()> {
        if self.rounds.send(round).await.is_ok() {
            return Ok(());
        }
        // The thread ends early only with an error.
        let ended = (&mut self.writer).await.map_err(join_failed)?;
        ended.and(Err(CatalogError::internal("no rows are taken any more")))
    }

    /// The rows, once all are on disk.
    pub(crate) async fn finish(mut self) -> Result<Staged> {
        let rows = std::mem::take(&mut self.rows);
        self.send(Round::Rows(rows)).await?;
        self.send(Round::End).await?;
        self.writer.await.map_err(join_failed)?
    }
}

fn join_failed(error: tokio::task::JoinError) -> CatalogError {
    CatalogError::internal(format!("rows were not loaded: {error}"))
}

/// The thread that writes rounds.
struct Writer {
    table: Arc<Table>,
    reserve: DiskReserve,
    /// The last key of all rounds before.
    last: Option<Vec<u8>>,
}

impl Writer {
    fn run(mut self, staged: Staged, mut rounds: mpsc::Receiver<Round>) -> Result<Staged> {
        loop {
            match rounds.blocking_recv() {
                Some(Round::Rows(rows)) => self.write(&staged, &rows)?,
                Some(Round::End) => return Ok(staged),
                None => return Err(CatalogError::internal("the load was given up")),
            }
        }
    }

    fn write(&mut self, staged: &Staged, rows: &[EncodedRows]) -> Result<()> {
        let bytes: usize = rows.iter().map(EncodedRows::bytes).sum();
        self.reserve.room().take_files(bytes as u64)?;
        let keyspace = staged.rows()?;
        let mut ingestion = keyspace.start_ingestion()?;
        let mut value = Vec::new();
        let mut before: Option<&[u8]> = None;
        for Place { batch, row, .. } in sorted(rows) {
            let Some(batch) = rows.get(batch as usize) else {
                continue;
            };
            let (key, row) = (batch.key(row as usize), row as usize);
            let is_behind = self.last.as_deref().is_none_or(|last| last < key);
            if before == Some(key) || !is_behind && keyspace.contains_key(key)? {
                return Err(self.duplicate(key));
            }
            value.clear();
            batch.append_value(row, &mut value);
            ingestion.write(key, value.as_slice())?;
            before = Some(key);
        }
        ingestion.finish()?;
        if let Some(before) = before
            && self.last.as_deref().is_none_or(|last| last < before)
        {
            self.last = Some(before.to_vec());
        }
        Ok(())
    }

    fn duplicate(&self, key: &[u8]) -> CatalogError {
        let codec = &self.table.codec;
        match codec.decode::<_, &[u8]>(self.table.key_columns(), &[key], &[]) {
            Ok(columns) => self.table.key_violation(&columns, 0),
            Err(error) => error,
        }
    }
}

/// Where a row is among the batches of a round.
struct Place {
    /// The first bytes of its key behind those that all keys of the round have in common.
    prefix: u64,
    batch: u32,
    row: u32,
}

/// The rows of a round by key.
fn sorted(rows: &[EncodedRows]) -> Vec<Place> {
    let keys = || {
        let batches = rows.iter().zip(0..);
        batches.flat_map(|(batch, at)| (0..batch.len()).map(move |row| (batch.key(row), at, row)))
    };
    let first = keys().next().map_or(&[][..], |(key, _, _)| key);
    let common = keys().fold(first.len(), |common, (key, _, _)| {
        let same = key.iter().zip(first).take(common);
        same.take_while(|(one, other)| one == other).count()
    });
    let place = |(key, batch, row): (&[u8], u32, usize)| {
        let mut prefix = [0; size_of::<u64>()];
        for (byte, of_key) in prefix.iter_mut().zip(key.iter().skip(common)) {
            *byte = *of_key;
        }
        Place {
            prefix: u64::from_be_bytes(prefix),
            batch,
            // A batch has fewer rows by far.
            row: u32::try_from(row).unwrap_or(u32::MAX),
        }
    };
    let mut places: Vec<Place> = keys().map(place).collect();
    let key = |place: &Place| {
        let batch = rows.get(place.batch as usize);
        batch.map(|batch| batch.key(place.row as usize))
    };
    places.sort_unstable_by(|a, b| {
        let by_prefix = a.prefix.cmp(&b.prefix);
        by_prefix.then_with(|| key(a).cmp(&key(b)))
    });
    places
}
