//! Decodes the bodies of frontend messages.
//!
//! It never panics on any bytes, and never fails fatally: the message's end is known, so the
//! connection goes on after an error.

use bytes::{Buf, Bytes};

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::Format;
use crate::pgwire::frame::Frame;

/// SQLSTATE `character_not_in_repertoire`.
const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";

/// A message from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frontend {
    /// Run a query string.
    Query(String),
    /// Prepare a statement.
    Parse {
        /// Name of the statement; empty for the unnamed one.
        name: String,
        /// Query string.
        sql: String,
        /// OIDs of parameter types; 0 or missing: not given.
        types: Vec<u32>,
    },
    /// Make a portal of a prepared statement.
    Bind(Bind),
    /// Ask what a statement or portal takes and returns.
    Describe(Target),
    /// Run a portal.
    Execute {
        /// Name of the portal.
        portal: String,
        /// Rows to return at most; 0 for all.
        max_rows: u32,
    },
    /// Forget a statement or portal.
    Close(Target),
    /// Send what is buffered.
    Flush,
    /// End of a pipeline.
    Sync,
    /// The client leaves.
    Terminate,
    /// Data of a COPY.
    CopyData(Bytes),
    /// End of a COPY.
    CopyDone,
    /// The client gives up a COPY, with its reason.
    CopyFail(String),
    /// A function call by OID, which is not supported.
    FunctionCall,
    /// A password or SASL message.
    Password(Bytes),
}

/// What Describe and Close are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// Body of a Bind message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Name of the portal; empty for the unnamed one.
    pub portal: String,
    /// Name of the prepared statement.
    pub statement: String,
    /// Formats of the parameters: none, one for all, or one each.
    pub parameter_formats: Vec<Format>,
    /// Values; `None` is NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// Formats of the result columns: none, one for all, or one each.
    pub result_formats: Vec<Format>,
}

impl Frontend {
    /// Decodes a message.
    pub fn decode(frame: Frame) -> Result<Self> {
        let tag = frame.tag;
        let mut body = Body(frame.body);
        let message = match tag {
            b'Q' => Self::Query(body.string()?),
            b'P' => Self::Parse {
                name: body.string()?,
                sql: body.string()?,
                types: body.counted(|body| body.0.try_get_u32().map_err(|_| cut_short()))?,
            },
            b'B' => Self::Bind(Bind {
                portal: body.string()?,
                statement: body.string()?,
                parameter_formats: body.counted(Body::format)?,
                parameters: body.counted(Body::value)?,
                result_formats: body.counted(Body::format)?,
            }),
            b'D' => Self::Describe(body.target("DESCRIBE")?),
            b'E' => Self::Execute {
                portal: body.string()?,
                // PostgreSQL reads zero and negative counts as "all rows".
                max_rows: u32::try_from(body.i32()?).unwrap_or(0),
            },
            b'C' => Self::Close(body.target("CLOSE")?),
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'X' => return Ok(Self::Terminate),
            b'd' => return Ok(Self::CopyData(body.0)),
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail(body.string()?),
            b'F' => return Ok(Self::FunctionCall),
            b'p' => return Ok(Self::Password(body.0)),
            _ => {
                return Err(PgError::new(
                    sqlstate::PROTOCOL_VIOLATION,
                    format!("invalid frontend message type {tag}"),
                ));
            }
        };
        if body.0.has_remaining() {
            return Err(PgError::new(
                sqlstate::PROTOCOL_VIOLATION,
                "invalid message format",
            ));
        }
        Ok(message)
    }

    /// Whether an error in this message makes the server skip to the next Sync.
    pub fn is_extended(tag: u8) -> bool {
        matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
    }
}

fn cut_short() -> PgError {
    PgError::new(
        sqlstate::PROTOCOL_VIOLATION,
        "insufficient data left in message",
    )
}

/// A body being read; every read checks that the bytes are there.
pub struct Body(pub Bytes);

impl Body {
    /// A four-byte signed integer.
    pub fn i32(&mut self) -> Result<i32> {
        self.0.try_get_i32().map_err(|_| cut_short())
    }

    /// A zero-terminated string.
    pub fn string(&mut self) -> Result<String> {
        let Some(end) = self.0.iter().position(|byte| *byte == 0) else {
            return Err(PgError::new(
                sqlstate::PROTOCOL_VIOLATION,
                "invalid string in message",
            ));
        };
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let bad = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
                Err(PgError::new(
                    CHARACTER_NOT_IN_REPERTOIRE,
                    format!("invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}"),
                ))
            }
        }
    }

    /// A value with its length in front; a negative length is NULL.
    pub fn value(&mut self) -> Result<Option<Bytes>> {
        let Ok(length) = usize::try_from(self.i32()?) else {
            return Ok(None);
        };
        if length > self.0.len() {
            return Err(cut_short());
        }
        Ok(Some(self.0.split_to(length)))
    }

    fn format(&mut self) -> Result<Format> {
        match self.0.try_get_i16().map_err(|_| cut_short())? {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => Err(PgError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {other}"),
            )),
        }
    }

    /// A list with its length in front. The vector grows with what is read, not with the claim.
    fn counted<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.0.try_get_u16().map_err(|_| cut_short())?;
        (0..count).map(|_| item(self)).collect()
    }

    fn target(&mut self, message: &str) -> Result<Target> {
        match self.0.try_get_u8().map_err(|_| cut_short())? {
            b'S' => Ok(Target::Statement(self.string()?)),
            b'P' => Ok(Target::Portal(self.string()?)),
            other => Err(PgError::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!("invalid {message} message subtype {other}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bind, Bytes, Format, Frame, Frontend, Target};

    fn decode(tag: u8, body: &'static [u8]) -> Result<Frontend, &'static str> {
        Frontend::decode(Frame {
            tag,
            body: Bytes::from_static(body),
        })
        .map_err(|error| error.code)
    }

    #[test]
    fn bodies_are_read() {
        assert_eq!(
            decode(b'Q', b"select 1\0"),
            Ok(Frontend::Query("select 1".into()))
        );
        assert_eq!(
            decode(b'P', b"s\0select $1\0\0\x01\0\0\0\x17"),
            Ok(Frontend::Parse {
                name: "s".into(),
                sql: "select $1".into(),
                types: vec![23]
            })
        );
        assert_eq!(
            decode(
                b'B',
                b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\0"
            ),
            Ok(Frontend::Bind(Bind {
                portal: "p".into(),
                statement: "s".into(),
                parameter_formats: vec![Format::Binary],
                parameters: vec![Some(Bytes::from_static(b"ab")), None],
                result_formats: vec![Format::Text],
            }))
        );
        assert_eq!(
            decode(b'D', b"Ss\0"),
            Ok(Frontend::Describe(Target::Statement("s".into())))
        );
        assert_eq!(
            decode(b'E', b"\0\xff\xff\xff\xff"),
            Ok(Frontend::Execute {
                portal: String::new(),
                max_rows: 0
            })
        );
    }

    #[test]
    fn bad_bodies_are_errors() {
        assert_eq!(decode(b'Q', b"select 1"), Err("08P01"));
        assert_eq!(decode(b'Q', b"a\0b"), Err("08P01"));
        assert_eq!(decode(b'Q', b"\xff\0"), Err("22021"));
        assert_eq!(decode(b'P', b"s\0q\0\xff\xff"), Err("08P01"));
        assert_eq!(decode(b'B', b"\0\0\0\x01\0\x02\0\0\0\0"), Err("22023"));
        assert_eq!(
            decode(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
            Err("08P01")
        );
        assert_eq!(decode(b'D', b"Xs\0"), Err("08P01"));
        assert_eq!(decode(b'E', b""), Err("08P01"));
    }
}
