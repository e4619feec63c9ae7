//! A result that is read in pieces, forward and backward, with PostgreSQL's idea of where the cursor stands.
//!
//! A reader holds the running query and, where it may go forward only, one batch of it. Others keep the batches that
//! were read, within the memory that queries have. Positions follow PostgreSQL's `DoPortalRunFetch` and `PortalRunSelect`: there is
//! a place before the first row and one behind the last, and a backward scan of 0 rows to the start is at the start.
//!
//! FETCH streams: [`Reader::rows`] reads as the client takes rows. A stream that is dropped before its end has moved the cursor as
//! far as FETCH said; what it did not read is passed over when the cursor is used next.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse::cursors::Direction;

/// Bytes that a cursor keeps without having been told to scroll: it can go back as long as its rows take no more.
const KEPT_UNASKED_BYTES_MAX: usize = 1 << 20;

/// Stands for all rows, as LONG_MAX does in PostgreSQL.
const ALL: u64 = i64::MAX as u64;

/// What becomes of rows that were read.
#[derive(Debug)]
pub enum Keeping {
    /// They are forgotten; backward is an error.
    Nothing,
    /// They are kept while they are few.
    Few(MemoryReservation),
    /// They are kept; it is an error if there is no memory for them.
    All(MemoryReservation),
}

/// A result that is being read.
pub struct Reader {
    schema: SchemaRef,
    /// The running query, until its last batch.
    stream: Option<SendableRecordBatchStream>,
    keeping: Keeping,
    /// Batches that are at hand, in order, each with the number of its first row.
    batches: Vec<(u64, RecordBatch)>,
    /// Rows read from the query so far.
    read: u64,
    at_start: bool,
    at_end: bool,
    /// Number of the current row, from 1; behind the end, the number of rows; before the start, 0.
    position: u64,
    /// What a stream has yet to do.
    unfinished: Option<Run>,
    failed: bool,
}

/// A reader that a stream can hold on to.
pub type SharedReader = Arc<Mutex<Reader>>;

/// Rows to pass over in one direction.
#[derive(Debug, Clone, Copy)]
struct Run {
    forward: bool,
    wanted: u64,
    done: u64,
}

impl Run {
    fn new(forward: bool, wanted: u64) -> Self {
        Self {
            forward,
            wanted,
            done: 0,
        }
    }

    fn left(&self) -> u64 {
        self.wanted - self.done
    }
}

impl Reader {
    /// A reader that stands before the first row of a running query.
    pub fn new(stream: SendableRecordBatchStream, keeping: Keeping) -> Self {
        Self {
            schema: stream.schema(),
            stream: Some(stream),
            keeping,
            batches: Vec::new(),
            read: 0,
            at_start: true,
            at_end: false,
            position: 0,
            unfinished: None,
            failed: false,
        }
    }

    /// A reader behind the last of `rows` rows, which were read by others.
    pub fn at_end(schema: SchemaRef, rows: u64) -> Self {
        Self {
            schema,
            stream: None,
            keeping: Keeping::Nothing,
            batches: Vec::new(),
            read: rows,
            at_start: rows == 0,
            at_end: true,
            position: rows,
            unfinished: None,
            failed: false,
        }
    }

    /// Whether rows that were read can be read again.
    pub fn scrolls(&self) -> bool {
        !matches!(self.keeping, Keeping::Nothing)
    }

    /// The statement that used the reader has failed: if that was in the middle of a read, nobody knows where the cursor stands.
    pub fn statement_failed(&mut self) {
        self.failed |= self.unfinished.is_some();
    }

    /// Whether a statement has failed in the middle of a read.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// MOVE: the number of rows that FETCH would have returned.
    pub async fn go(&mut self, direction: Direction) -> Result<u64> {
        match self.approach(direction, true).await? {
            Last::Counted(count) => Ok(count),
            Last::Run(run) => self.pass(run).await,
        }
    }

    /// FETCH: the rows, read as they are asked for.
    pub async fn rows(
        mut reader: OwnedMutexGuard<Self>,
        direction: Direction,
    ) -> Result<SendableRecordBatchStream> {
        let run = match reader.approach(direction, false).await? {
            Last::Run(run) => run,
            Last::Counted(_) => Run::new(true, 0),
        };
        reader.begin(run)?;
        let schema = Arc::clone(&reader.schema);
        let rows = futures::stream::try_unfold(reader, |mut reader| async move {
            let rows = reader.step().await?;
            Ok(rows.map(|rows| (rows, reader)))
        });
        let rows = rows.map_err(|error: PgError| error.into());
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// Does all of a FETCH or MOVE but its last run.
    async fn approach(&mut self, direction: Direction, moves: bool) -> Result<Last> {
        self.finish().await?;
        let (forward, count) = match direction {
            Direction::Forward(count) => (count >= 0, count.unsigned_abs()),
            Direction::Backward(count) => (count < 0, count.unsigned_abs()),
            Direction::Absolute(0) => {
                self.rewind()?;
                return Ok(Last::Run(Run::new(true, 0)));
            }
            Direction::Absolute(count @ 1..) => {
                self.go_before(count.unsigned_abs()).await?;
                return Ok(Last::Run(Run::new(true, 1)));
            }
            Direction::Absolute(count) => {
                self.pass(Run::new(true, ALL)).await?;
                return self.approach_backward(count.unsigned_abs()).await;
            }
            Direction::Relative(count @ 1..) => {
                if count > 1 {
                    self.pass(Run::new(true, count.unsigned_abs() - 1)).await?;
                }
                return Ok(Last::Run(Run::new(true, 1)));
            }
            Direction::Relative(0) => (true, 0),
            Direction::Relative(count) => {
                return self.approach_backward(count.unsigned_abs()).await;
            }
        };
        if count == 0 {
            // The current row again, if there is one.
            let on_row = !self.at_start && !self.at_end;
            if moves {
                return Ok(Last::Counted(u64::from(on_row)));
            }
            if on_row {
                self.pass(Run::new(false, 1)).await?;
            }
            // Nothing is an error as well, backward where that is refused.
            return Ok(Last::Run(Run::new(on_row || forward, u64::from(on_row))));
        }
        if moves && !forward && count == ALL {
            let passed = match self.at_end {
                true => self.position,
                false => self.position.saturating_sub(1),
            };
            self.rewind()?;
            return Ok(Last::Counted(passed));
        }
        Ok(Last::Run(Run::new(forward, count)))
    }

    /// Goes back so that the next row backward is the `count`th from here.
    async fn approach_backward(&mut self, count: u64) -> Result<Last> {
        if count > 1 {
            self.pass(Run::new(false, count - 1)).await?;
        }
        Ok(Last::Run(Run::new(false, 1)))
    }

    /// Goes to where row `count`, from 1, is the next one.
    async fn go_before(&mut self, count: u64) -> Result<()> {
        if count - 1 <= self.position / 2 {
            self.rewind()?;
            if count > 1 {
                self.pass(Run::new(true, count - 1)).await?;
            }
            return Ok(());
        }
        let position = self.position + u64::from(self.at_end);
        if count <= position {
            self.pass(Run::new(false, position - count + 1)).await?;
        } else if count > position + 1 {
            self.pass(Run::new(true, count - position - 1)).await?;
        }
        Ok(())
    }

    /// Goes before the first row.
    fn rewind(&mut self) -> Result<()> {
        if self.at_start && !self.at_end {
            return Ok(());
        }
        self.check_scrolls()?;
        (self.at_start, self.at_end, self.position) = (true, false, 0);
        Ok(())
    }

    /// Finishes what a stream that was dropped had to do.
    async fn finish(&mut self) -> Result<()> {
        while self.unfinished.is_some() && self.step().await?.is_some() {}
        Ok(())
    }

    /// Passes over rows; how many there were.
    async fn pass(&mut self, run: Run) -> Result<u64> {
        self.begin(run)?;
        let mut passed = 0;
        while let Some(rows) = self.step().await? {
            passed += rows.num_rows() as u64;
        }
        Ok(passed)
    }

    fn begin(&mut self, run: Run) -> Result<()> {
        if !run.forward {
            self.check_scrolls()?;
        }
        let nothing = match run.forward {
            true => self.at_end,
            false => self.at_start,
        };
        self.unfinished = (run.wanted > 0 && !nothing).then_some(run);
        Ok(())
    }

    /// The next rows of the run that was begun; `None` when it is done.
    async fn step(&mut self) -> Result<Option<RecordBatch>> {
        let Some(mut run) = self.unfinished else {
            return Ok(None);
        };
        let rows = match run.left() {
            0 => None,
            left if run.forward => self.forward(left).await?,
            left => self.backward(left)?,
        };
        let Some(rows) = rows else {
            if run.forward {
                self.at_end |= run.left() > 0;
            } else if run.left() > 0 {
                (self.at_start, self.position) = (true, 0);
            }
            self.unfinished = None;
            return Ok(None);
        };
        let count = rows.num_rows() as u64;
        if run.forward {
            self.at_start = false;
            self.position += count;
        } else {
            // Behind the end the position is that of the last row, which is the first one back.
            self.position = self.position + u64::from(self.at_end) - count;
            self.at_end = false;
        }
        run.done += count;
        self.unfinished = Some(run);
        Ok(Some(rows))
    }

    /// At most `count` rows behind the current one.
    async fn forward(&mut self, count: u64) -> Result<Option<RecordBatch>> {
        // Rows are numbered from 0 here.
        let next = self.position;
        while self.read <= next {
            if !self.read_batch(next).await? {
                return Ok(None);
            }
        }
        Ok(self.find(next).map(|(first, batch)| {
            let offset = (next - first) as usize;
            let rows =
                (batch.num_rows() - offset).min(usize::try_from(count).unwrap_or(usize::MAX));
            batch.slice(offset, rows)
        }))
    }

    /// At most `count` rows before the current one, nearest first.
    fn backward(&mut self, count: u64) -> Result<Option<RecordBatch>> {
        // How many rows there are before the current one.
        let before = match self.at_end {
            true => self.position,
            false => self.position.saturating_sub(1),
        };
        let Some(last) = before.checked_sub(1) else {
            return Ok(None);
        };
        let Some((first, batch)) = self.find(last) else {
            return Err(PgError::internal("a row that was kept is gone"));
        };
        let end = last - first + 1;
        let rows: UInt64Array = (end.saturating_sub(count)..end).rev().collect();
        Ok(Some(take_record_batch(batch, &rows)?))
    }

    fn find(&self, row: u64) -> Option<(u64, &RecordBatch)> {
        let behind = self.batches.partition_point(|(first, _)| *first <= row);
        let (first, batch) = self.batches.get(behind.checked_sub(1)?)?;
        (row - first < batch.num_rows() as u64).then_some((*first, batch))
    }

    /// Reads a batch of the query; `false` if there is none. Rows before `needed` are not needed to go forward.
    async fn read_batch(&mut self, needed: u64) -> Result<bool> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let Some(batch) = stream.next().await.transpose()? else {
            // The query's memory goes now.
            self.stream = None;
            return Ok(false);
        };
        if batch.num_rows() == 0 {
            return Ok(true);
        }
        let bytes = get_record_batch_memory_size(&batch);
        match &self.keeping {
            Keeping::Nothing => {}
            Keeping::All(memory) => memory.try_grow(bytes)?,
            Keeping::Few(memory) => {
                let few = memory.size() + bytes <= KEPT_UNASKED_BYTES_MAX;
                if !few || memory.try_grow(bytes).is_err() {
                    self.keeping = Keeping::Nothing;
                }
            }
        }
        if matches!(self.keeping, Keeping::Nothing) {
            self.batches
                .retain(|(first, batch)| first + batch.num_rows() as u64 > needed);
        }
        let rows = batch.num_rows() as u64;
        self.batches.push((self.read, batch));
        self.read += rows;
        Ok(true)
    }

    fn check_scrolls(&self) -> Result<()> {
        if self.scrolls() {
            return Ok(());
        }
        Err(PgError::new(
            sqlstate::NOT_IN_PREREQUISITE_STATE,
            "cursor can only scan forward",
        )
        .with_hint("Declare it with SCROLL option to enable backward scan."))
    }
}

/// What remains of a FETCH or MOVE.
enum Last {
    /// Nothing; the rows counted.
    Counted(u64),
    /// The run whose rows are the result.
    Run(Run),
}

#[cfg(test)]
mod tests;
