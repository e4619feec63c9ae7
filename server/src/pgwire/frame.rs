//! Cuts the byte stream from a client into messages: type byte, length, body.
//!
//! It never believes a claimed length before the bytes are there, and never looks into a body; that is
//! `messages`. Its errors are fatal: after a bad length nobody knows where the next message begins.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{PgError, sqlstate};

/// Largest Query, Parse, Bind, FunctionCall or CopyData message.
pub const LARGE_MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Largest message of the other types, as in PostgreSQL.
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// Largest password or SASL message, as in PostgreSQL.
pub const PASSWORD_MESSAGE_BYTES_MAX: usize = 65_535;

/// Bytes of a message's type and length.
pub const HEADER_BYTES: usize = 5;

/// Bytes the length counts beside the body: its own.
const LENGTH_BYTES: usize = 4;

/// A message whose body has not been looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Message type.
    pub tag: u8,
    /// What follows the length.
    pub body: Bytes,
}

/// Takes the first message off `input`; `None` while it is incomplete.
pub fn take(input: &mut BytesMut) -> Result<Option<Frame>, PgError> {
    let Some((tag, length)) = header(input)? else {
        return Ok(None);
    };
    if input.len() < 1 + length {
        return Ok(None);
    }
    let mut message = input.split_to(1 + length).freeze();
    message.advance(HEADER_BYTES);
    Ok(Some(Frame { tag, body: message }))
}

/// Whether all that `input` holds before its first Sync are Close messages, and that Sync is there.
///
/// An Execute followed by nothing else is a transaction of its own; to see it here saves the separate
/// commit at Sync.
pub fn only_sync_follows(input: &[u8]) -> bool {
    let mut rest = input;
    while let Ok(Some((tag, length))) = header(rest) {
        match tag {
            b'S' => return true,
            b'C' => match rest.get(1 + length..) {
                Some(next) => rest = next,
                None => return false,
            },
            _ => return false,
        }
    }
    false
}

/// Type and checked length (without the type byte) of the first message; `None` while incomplete.
fn header(input: &[u8]) -> Result<Option<(u8, usize)>, PgError> {
    let Some(&tag) = input.first() else {
        return Ok(None);
    };
    let Some(limit) = length_max(tag) else {
        return Err(PgError::fatal(
            sqlstate::PROTOCOL_VIOLATION,
            format!("invalid frontend message type {tag}"),
        ));
    };
    let Some(length) = input.get(1..HEADER_BYTES) else {
        return Ok(None);
    };
    let length = length
        .iter()
        .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    if length < LENGTH_BYTES {
        return Err(PgError::fatal(
            sqlstate::PROTOCOL_VIOLATION,
            "invalid message length",
        ));
    }
    if length > limit {
        return Err(PgError::fatal(
            sqlstate::PROGRAM_LIMIT_EXCEEDED,
            format!("message of {length} bytes exceeds the limit of {limit} bytes"),
        ));
    }
    Ok(Some((tag, length)))
}

/// The longest message of a type; `None` for a type that no client sends.
fn length_max(tag: u8) -> Option<usize> {
    match tag {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Some(LARGE_MESSAGE_BYTES_MAX),
        b'p' => Some(PASSWORD_MESSAGE_BYTES_MAX),
        b'D' | b'E' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f' => Some(SMALL_MESSAGE_BYTES_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{BytesMut, Frame, LARGE_MESSAGE_BYTES_MAX, only_sync_follows, take};
    use crate::error::Severity;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short");
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let bytes = [message(b'Q', b"select 1\0"), message(b'S', b"")].concat();
        for split in 0..bytes.len() {
            let mut input = BytesMut::from(&bytes[..split]);
            let mut frames = Vec::new();
            while let Some(frame) = take(&mut input).expect("valid") {
                frames.push(frame);
            }
            input.extend_from_slice(&bytes[split..]);
            while let Some(frame) = take(&mut input).expect("valid") {
                frames.push(frame);
            }
            let expected = [
                Frame {
                    tag: b'Q',
                    body: (&b"select 1\0"[..]).into(),
                },
                Frame {
                    tag: b'S',
                    body: (&b""[..]).into(),
                },
            ];
            assert_eq!(frames, expected, "split at {split}");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut input = BytesMut::from(&[b'd', 0x0f, 0xff, 0xff, 0xff, 1, 2][..]);
        let before = input.capacity();
        assert_eq!(take(&mut input).expect("not too long"), None);
        assert_eq!(input.capacity(), before);
    }

    #[test]
    fn garbage_is_fatal() {
        let too_long = u32::try_from(LARGE_MESSAGE_BYTES_MAX + 1)
            .expect("fits")
            .to_be_bytes();
        let cases: [(&[u8], &str); 5] = [
            (b"\0", "08P01"),
            (b"GET / HTTP/1.1", "08P01"),
            (&[b'Q', 0, 0, 0, 3], "08P01"),
            (&[&b"Q"[..], &too_long].concat(), "54000"),
            (&[b'S', 0xff, 0xff, 0xff, 0xff], "54000"),
        ];
        for (bytes, code) in cases {
            let error = take(&mut BytesMut::from(bytes)).expect_err("garbage");
            assert_eq!(
                (error.severity, error.code),
                (Severity::Fatal, code),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_sync_is_seen_behind_closes_only() {
        let sync = message(b'S', b"");
        let close = message(b'C', b"Sx\0");
        assert!(only_sync_follows(&sync));
        assert!(only_sync_follows(&[close.clone(), sync.clone()].concat()));
        assert!(!only_sync_follows(
            &[message(b'E', b"\0\0\0\0\0"), sync.clone()].concat()
        ));
        assert!(!only_sync_follows(&close));
        assert!(!only_sync_follows(&sync[..3]));
        assert!(!only_sync_follows(b""));
    }
}
