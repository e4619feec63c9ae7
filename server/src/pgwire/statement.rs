//! A statement while it runs: watched for cancellation and a vanished client, its rows sent.
//!
//! Rows are pulled only when the socket has taken the earlier ones, so a slow reader slows the query
//! and memory stays bounded by the output buffer and one row. Simple and extended protocol both come
//! through here; neither is known here.

use std::pin::pin;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use crate::error::{PgError, Result};
use crate::pgwire::channel::Channel;
use crate::pgwire::encode::{Format, FormatSettings, RowEncoder};
use crate::pgwire::frame::Frame;
use crate::session::RowsTag;
use crate::session::cancel::{CancelReason, CancelToken, Canceller};

/// Rows encoded at once before their size is known.
const FIRST_SLICE_ROWS: usize = 32;

/// Rows encoded at once at most.
const SLICE_ROWS_MAX: usize = 8_192;

/// The connection's side of a running statement.
pub struct Running<'a> {
    channel: &'a mut Channel,
    canceller: &'a Canceller,
    token: CancelToken,
}

impl<'a> Running<'a> {
    /// A statement that starts now.
    pub fn start(channel: &'a mut Channel, canceller: &'a Canceller, token: CancelToken) -> Self {
        Self {
            channel,
            canceller,
            token,
        }
    }

    /// The connection, to write to.
    pub fn channel(&mut self) -> &mut Channel {
        self.channel
    }

    /// Runs `work` to its end; a vanished client cancels the token, which `work` has to heed.
    pub async fn until_done<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = self.channel.client_gone() => {}
        }
        self.canceller.cancel(CancelReason::ClientGone);
        work.await
    }

    /// Runs `work` until the statement is cancelled; then drops it.
    pub async fn until_cancelled<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let token = self.token.clone();
        self.until_done(token.run(work)).await
    }

    /// Waits for the client's next message, unless the statement is cancelled.
    pub async fn next_frame(&mut self) -> Result<Option<Frame>> {
        self.token.run(self.channel.next_frame()).await
    }

    /// Writes the buffered output, unless the statement is cancelled.
    pub async fn flush(&mut self) -> Result<()> {
        self.token.run(self.channel.flush()).await
    }

    /// The next batch that has rows.
    pub async fn next_batch(
        &mut self,
        stream: &mut SendableRecordBatchStream,
    ) -> Result<Option<RecordBatch>> {
        loop {
            let next = async { stream.next().await.transpose().map_err(PgError::from) };
            match self.until_cancelled(next).await? {
                Some(batch) if batch.num_rows() == 0 => {}
                batch => return Ok(batch),
            }
        }
    }

    /// Sends rows: all, or at most `rows_max`. Returns how many it sent.
    pub async fn send_rows(&mut self, rows: &mut Rows, rows_max: Option<u64>) -> Result<u64> {
        let mut sent = 0;
        loop {
            let wanted = rows_max.map_or(u64::MAX, |max| max - sent);
            if wanted == 0 {
                return Ok(sent);
            }
            if rows.batch.is_none() {
                rows.batch = self
                    .next_batch(&mut rows.stream)
                    .await?
                    .map(|batch| (batch, 0));
            }
            let Some((batch, start)) = &mut rows.batch else {
                return Ok(sent);
            };
            let count = slice_rows(self.channel.output_room(), rows.row_bytes)
                .min(batch.num_rows() - *start)
                .min(usize::try_from(wanted).unwrap_or(usize::MAX));
            let range = *start..*start + count;
            let written = self.channel.encode(|out| {
                let before = out.len();
                rows.encoder.encode(batch, range, out)?;
                Ok(out.len() - before)
            })?;
            rows.row_bytes = written.div_ceil(count.max(1));
            sent += count as u64;
            *start += count;
            if *start >= batch.num_rows() {
                rows.batch = None;
            }
            // Room for less than one row counts as full: the next slice has at least one.
            if self.channel.output_room() < rows.row_bytes.max(1) {
                self.flush().await?;
            }
        }
    }
}

/// Rows that fill the room left, by the size of the rows before.
pub fn slice_rows(room: usize, row_bytes: usize) -> usize {
    match row_bytes {
        0 => FIRST_SLICE_ROWS,
        bytes => (room / bytes).clamp(1, SLICE_ROWS_MAX),
    }
}

/// A result that is being sent.
pub struct Rows {
    stream: SendableRecordBatchStream,
    encoder: RowEncoder,
    /// The batch being sent and its first row that was not.
    batch: Option<(RecordBatch, usize)>,
    /// Size of a row, as seen last; 0 before the first.
    row_bytes: usize,
    tag: RowsTag,
}

impl Rows {
    /// A result of the given columns.
    pub fn new(
        stream: SendableRecordBatchStream,
        tag: RowsTag,
        schema: &Schema,
        formats: &[Format],
        settings: FormatSettings,
    ) -> Result<Self> {
        let encoder = RowEncoder::new(schema, formats, settings)?;
        Ok(Self {
            stream,
            encoder,
            batch: None,
            row_bytes: 0,
            tag,
        })
    }

    /// The command tag after `sent` rows.
    pub fn command_tag(&self, sent: u64) -> String {
        match &self.tag {
            RowsTag::Select => format!("SELECT {sent}"),
            RowsTag::Fetch => format!("FETCH {sent}"),
            RowsTag::Fixed(tag) => tag.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_SLICE_ROWS, SLICE_ROWS_MAX, slice_rows};

    #[test]
    fn slices_fill_the_buffer_and_are_never_empty() {
        assert_eq!(slice_rows(65_536, 0), FIRST_SLICE_ROWS);
        assert_eq!(slice_rows(65_536, 100), 655);
        assert_eq!(slice_rows(65_536, 1_000_000), 1);
        assert_eq!(slice_rows(0, 10), 1);
        assert_eq!(slice_rows(65_536, 1), SLICE_ROWS_MAX);
    }
}
