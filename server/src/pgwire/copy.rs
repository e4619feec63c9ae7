//! COPY FROM STDIN and COPY TO STDOUT on the wire.
//!
//! It moves bytes; their meaning is `copy_format`'s and the session's. Data is handed on message by
//! message and rows are written buffer by buffer, so neither direction collects a whole COPY.

use bytes::BytesMut;
use datafusion::execution::SendableRecordBatchStream;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::copy_format::{CopyFormat, CopyOptions, CopyWriter};
use crate::pgwire::encode::{Format, FormatSettings};
use crate::pgwire::messages::backend;
use crate::pgwire::messages::frontend::Frontend;
use crate::pgwire::statement::{Running, slice_rows};
use crate::session::cancel::CancelReason;
use crate::session::{CopyIn, Session};

/// Takes the client's data until it says that it is done; the command tag.
pub async fn copy_in(
    running: &mut Running<'_>,
    session: &mut Session,
    mut copy: Box<CopyIn>,
) -> Result<String> {
    let format = wire_format(copy.format());
    backend::copy_in_response(running.channel().output(), copy.column_count(), format);
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
            Frontend::CopyDone => return running.until_done(session.copy_done(copy)).await,
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

fn wire_format(format: CopyFormat) -> Format {
    match format {
        CopyFormat::Text | CopyFormat::Csv => Format::Text,
        CopyFormat::Binary => Format::Binary,
    }
}

/// Sends the rows, each in a message of its own; the command tag.
pub async fn copy_out(
    running: &mut Running<'_>,
    options: &CopyOptions,
    mut stream: SendableRecordBatchStream,
    settings: FormatSettings,
) -> Result<String> {
    let schema = stream.schema();
    let writer = CopyWriter::new(options, &schema, settings);
    let format = wire_format(options.format);
    let columns = schema.fields().len();
    backend::copy_out_response(running.channel().output(), columns, format);
    let mut line = BytesMut::new();
    writer.header(&mut line);
    send(running, &line)?;
    // What the first row has in front of it.
    let mut before = BytesMut::new();
    writer.signature(&mut before);
    let mut sent = 0_u64;
    let mut row_bytes = 0;
    while let Some(batch) = running.next_batch(&mut stream).await? {
        let mut rows = writer.rows(&batch)?;
        let mut start = 0;
        while start < batch.num_rows() {
            let count = slice_rows(running.channel().output_room(), row_bytes)
                .min(batch.num_rows() - start);
            let written = running.channel().encode(|out| {
                let length = out.len();
                for row in start..start + count {
                    let before = before.split();
                    backend::copy_data(out, |out| {
                        out.extend_from_slice(&before);
                        Ok(rows.write(row, out)?)
                    })?;
                }
                Ok(out.len() - length)
            })?;
            row_bytes = written.div_ceil(count.max(1));
            start += count;
            if running.channel().output_room() < row_bytes.max(1) {
                running.flush().await?;
            }
        }
        sent += batch.num_rows() as u64;
    }
    writer.trailer(&mut before);
    send(running, &before)?;
    backend::copy_done(running.channel().output());
    Ok(format!("COPY {sent}"))
}

/// Sends bytes, if there are any.
fn send(running: &mut Running<'_>, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    running.channel().encode(|out| {
        backend::copy_data(out, |out| {
            out.extend_from_slice(bytes);
            Ok(())
        })
    })
}
