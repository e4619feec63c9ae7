//! COPY FROM STDIN and COPY TO STDOUT on the wire.
//!
//! It moves bytes; their meaning is `copy_format`'s and the session's. Data is handed on message by
//! message and rows are written buffer by buffer, so neither direction collects a whole COPY.

use bytes::BytesMut;
use datafusion::execution::SendableRecordBatchStream;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::copy_format::{CopyOptions, CopyWriter};
use crate::pgwire::encode::FormatSettings;
use crate::pgwire::messages::backend;
use crate::pgwire::messages::frontend::Frontend;
use crate::pgwire::statement::{Running, slice_rows};
use crate::session::cancel::CancelReason;
use crate::session::{CopyIn, Scope, Session};

/// Takes the client's data until it says that it is done; the command tag.
pub async fn copy_in(
    running: &mut Running<'_>,
    session: &mut Session,
    mut copy: Box<CopyIn>,
    scope: Scope,
) -> Result<String> {
    backend::copy_in_response(running.channel().output(), copy.column_count());
    loop {
        let Some(frame) = running.next_frame().await? else {
            return Err(CancelReason::ClientGone.into());
        };
        let tag = frame.tag;
        match Frontend::decode(frame)? {
            Frontend::CopyData(data) => {
                running
                    .until_cancelled(session.copy_data(&mut copy, &data))
                    .await?;
            }
            Frontend::CopyDone => return running.until_done(session.copy_done(copy, scope)).await,
            Frontend::CopyFail(reason) => {
                return Err(PgError::new(
                    sqlstate::QUERY_CANCELED,
                    format!("COPY from stdin failed: {reason}"),
                ));
            }
            // A client in the extended protocol has sent them before it knew of the COPY.
            Frontend::Flush | Frontend::Sync => {}
            Frontend::Terminate => return Err(CancelReason::ClientGone.into()),
            _ => {
                return Err(PgError::new(
                    sqlstate::PROTOCOL_VIOLATION,
                    format!("unexpected message type 0x{tag:02X} during COPY from stdin"),
                ));
            }
        }
    }
}

/// Sends the rows as lines; the command tag.
pub async fn copy_out(
    running: &mut Running<'_>,
    options: &CopyOptions,
    mut stream: SendableRecordBatchStream,
    settings: FormatSettings,
) -> Result<String> {
    let schema = stream.schema();
    let writer = CopyWriter::new(options, &schema, settings);
    backend::copy_out_response(running.channel().output(), schema.fields().len());
    running.channel().encode(|out| {
        let mut header = BytesMut::new();
        writer.header(&mut header);
        if !header.is_empty() {
            backend::copy_data(out, |out| {
                out.extend_from_slice(&header);
                Ok(())
            })?;
        }
        Ok(())
    })?;
    let mut sent = 0_u64;
    let mut row_bytes = 0;
    while let Some(batch) = running.next_batch(&mut stream).await? {
        let mut start = 0;
        while start < batch.num_rows() {
            let count = slice_rows(running.channel().output_room(), row_bytes)
                .min(batch.num_rows() - start);
            let slice = batch.slice(start, count);
            let written = running.channel().encode(|out| {
                let before = out.len();
                backend::copy_data(out, |out| Ok(writer.write_batch(&slice, out)?))?;
                Ok(out.len() - before)
            })?;
            row_bytes = written.div_ceil(count.max(1));
            start += count;
            if running.channel().output_room() < row_bytes.max(1) {
                running.flush().await?;
            }
        }
        sent += batch.num_rows() as u64;
    }
    backend::copy_done(running.channel().output());
    Ok(format!("COPY {sent}"))
}
