//! Writes backend messages into an output buffer.
//!
//! Rows and COPY data have encoders of their own; everything else a client gets is written here. It
//! never flushes and never fails: what cannot be said in a message is decided before.

use arrow::datatypes::Schema;
use bytes::{BufMut, BytesMut};
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result, Severity};
use crate::notifications::Notification;
use crate::pgwire::encode::Format;
use crate::session::TransactionStatus;
use crate::sql::origin::Origin;

/// Writes type, length and what `body` appends.
fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    // Only rows and COPY data can come near the limit, and their encoders check it.
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// A string cannot contain its own terminator; what follows a zero byte is not sent.
fn put_string(out: &mut BytesMut, text: &str) {
    let end = text
        .bytes()
        .position(|byte| byte == 0)
        .unwrap_or(text.len());
    out.put_slice(text.as_bytes().get(..end).unwrap_or_default());
    out.put_u8(0);
}

/// A count field; PostgreSQL's limits keep all of them below 65,536.
fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

/// Step of the authentication exchange.
pub enum Authentication<'a> {
    /// The client is who it says.
    Ok,
    /// SASL mechanisms to choose from.
    Sasl(&'a [&'a str]),
    /// SASL challenge.
    SaslContinue(&'a str),
    /// SASL outcome.
    SaslFinal(&'a str),
}

/// Authentication request or outcome.
pub fn authentication(out: &mut BytesMut, step: &Authentication<'_>) {
    message(out, b'R', |out| match step {
        Authentication::Ok => out.put_i32(0),
        Authentication::Sasl(mechanisms) => {
            out.put_i32(10);
            for mechanism in *mechanisms {
                put_string(out, mechanism);
            }
            out.put_u8(0);
        }
        Authentication::SaslContinue(data) => {
            out.put_i32(11);
            out.put_slice(data.as_bytes());
        }
        Authentication::SaslFinal(data) => {
            out.put_i32(12);
            out.put_slice(data.as_bytes());
        }
    });
}

/// The newest version spoken and the options not understood.
pub fn negotiate_protocol_version(out: &mut BytesMut, version: u32, unknown_options: &[String]) {
    message(out, b'v', |out| {
        out.put_u32(version);
        out.put_u32(u32::try_from(unknown_options.len()).unwrap_or(u32::MAX));
        for option in unknown_options {
            put_string(out, option);
        }
    });
}

/// Value of a reported parameter.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        put_string(out, name);
        put_string(out, value);
    });
}

/// What a CancelRequest has to present.
pub fn backend_key_data(out: &mut BytesMut, process_id: i32, secret: &[u8]) {
    message(out, b'K', |out| {
        out.put_i32(process_id);
        out.put_slice(secret);
    });
}

/// What another session, or this one, has sent to a channel.
pub fn notification_response(out: &mut BytesMut, notification: &Notification) {
    message(out, b'A', |out| {
        out.put_i32(notification.process_id);
        put_string(out, &notification.channel);
        put_string(out, &notification.payload);
    });
}

/// End of a command cycle.
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    message(out, b'Z', |out| {
        out.put_u8(match status {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        });
    });
}

/// Answer to Parse.
pub fn parse_complete(out: &mut BytesMut) {
    message(out, b'1', |_| {});
}

/// Answer to Bind.
pub fn bind_complete(out: &mut BytesMut) {
    message(out, b'2', |_| {});
}

/// Answer to Close.
pub fn close_complete(out: &mut BytesMut) {
    message(out, b'3', |_| {});
}

/// The statement or portal returns no rows.
pub fn no_data(out: &mut BytesMut) {
    message(out, b'n', |_| {});
}

/// The portal may have more rows.
pub fn portal_suspended(out: &mut BytesMut) {
    message(out, b's', |_| {});
}

/// The query string was empty.
pub fn empty_query_response(out: &mut BytesMut) {
    message(out, b'I', |_| {});
}

/// End of a statement.
pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| put_string(out, tag));
}

/// Types of a statement's parameters.
pub fn parameter_description(out: &mut BytesMut, types: &[SqlType]) {
    message(out, b't', |out| {
        put_count(out, types.len());
        for ty in types {
            out.put_u32(ty.oid());
        }
    });
}

/// Columns of a result. `formats` follows Bind's rule: none, one for all, or one each.
pub fn row_description(out: &mut BytesMut, schema: &Schema, formats: &[Format]) {
    message(out, b'T', |out| {
        put_count(out, schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let ty = SqlType::of_field(field);
            let format = match formats {
                [one] => *one,
                many => many.get(index).copied().unwrap_or(Format::Text),
            };
            put_string(out, field.name());
            let origin = Origin::of_field(field);
            out.put_u32(origin.map_or(0, |origin| origin.relation));
            out.put_i16(origin.map_or(0, |origin| origin.column));
            out.put_u32(ty.oid());
            out.put_i16(ty.wire_length());
            out.put_i32(ty.modifier());
            out.put_i16(format_code(format));
        }
    });
}

fn format_code(format: Format) -> i16 {
    match format {
        Format::Text => 0,
        Format::Binary => 1,
    }
}

/// The server waits for data of a COPY; CSV is text.
pub fn copy_in_response(out: &mut BytesMut, columns: usize, format: Format) {
    copy_response(out, b'G', columns, format);
}

/// Data of a COPY follows; CSV is text.
pub fn copy_out_response(out: &mut BytesMut, columns: usize, format: Format) {
    copy_response(out, b'H', columns, format);
}

fn copy_response(out: &mut BytesMut, tag: u8, columns: usize, format: Format) {
    message(out, tag, |out| {
        out.put_u8(u8::from(format == Format::Binary));
        put_count(out, columns);
        for _ in 0..columns {
            out.put_i16(format_code(format));
        }
    });
}

/// One row of a COPY TO, as `write` appends it: clients take a message for a row. After an error `out` ends in half a message.
pub fn copy_data(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<()>,
) -> Result<()> {
    let mut written = Ok(());
    message(out, b'd', |out| written = write(out));
    written
}

/// End of the data of a COPY TO.
pub fn copy_done(out: &mut BytesMut) {
    message(out, b'c', |_| {});
}

/// An error or notice, by its severity.
pub fn error_or_notice(out: &mut BytesMut, error: &PgError) {
    let tag = match error.severity {
        Severity::Error | Severity::Fatal => b'E',
        Severity::Warning | Severity::Notice => b'N',
    };
    message(out, tag, |out| {
        let position = error.position.map(|position| position.to_string());
        let fields = [
            (b'S', Some(error.severity.as_str())),
            (b'V', Some(error.severity.as_str())),
            (b'C', Some(error.code)),
            (b'M', Some(error.message.as_str())),
            (b'D', error.detail.as_deref()),
            (b'H', error.hint.as_deref()),
            (b'P', position.as_deref()),
            (b'W', error.context.as_deref()),
            (b's', error.schema.as_deref()),
            (b't', error.table.as_deref()),
            (b'c', error.column.as_deref()),
            (b'n', error.constraint.as_deref()),
            (b'R', error.routine),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                out.put_u8(field);
                put_string(out, value);
            }
        }
        out.put_u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::{BytesMut, TransactionStatus, command_complete, error_or_notice, ready_for_query};
    use crate::error::PgError;

    #[test]
    fn lengths_count_themselves() {
        let mut out = BytesMut::new();
        command_complete(&mut out, "SELECT 1");
        ready_for_query(&mut out, TransactionStatus::Failed);
        assert_eq!(&out[..], b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05E");
    }

    #[test]
    fn errors_carry_their_fields() {
        let mut out = BytesMut::new();
        let error = PgError::new("22P02", "bad\0hidden")
            .with_detail("why")
            .with_position(7);
        error_or_notice(&mut out, &error);
        assert_eq!(&out[5..], b"SERROR\0VERROR\0C22P02\0Mbad\0Dwhy\0P7\0\0");
        assert_eq!(out[0], b'E');
    }
}
