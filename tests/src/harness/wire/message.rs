//! The messages a server sends, cut from the byte stream, and the errors a client can meet.

use std::fmt;

use bytes::BytesMut;

/// One row: raw bytes per column, `None` for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// A column of a RowDescription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// OID of the table and number of the column that it comes from, or zeros.
    pub origin: (u32, i16),
    pub type_oid: u32,
    pub type_modifier: i32,
    /// 0 is text, 1 is binary.
    pub format: i16,
}

/// An ErrorResponse or NoticeResponse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbError {
    pub severity: String,
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Where in the data or the call stack it happened.
    pub context: Option<String>,
    /// The place in the server that gave the error.
    pub routine: Option<String>,
    /// Character position in the statement, from 1.
    pub position: Option<u32>,
    /// Schema, table and constraint that it names.
    pub schema: Option<String>,
    pub table: Option<String>,
    pub constraint: Option<String>,
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        for (name, text) in [
            ("detail", &self.detail),
            ("hint", &self.hint),
            ("context", &self.context),
        ] {
            if let Some(text) = text {
                write!(f, " ({name}: {text})")?;
            }
        }
        Ok(())
    }
}

/// Why a call on a connection failed.
#[derive(Debug, Clone)]
pub enum WireError {
    /// The server answered with an error; the connection is usable.
    Db(Box<DbError>),
    /// The socket failed or a deadline passed.
    Io(String),
    /// The server closed the connection.
    Closed,
    /// The server sent what the protocol does not allow here, or not what a test can read.
    Protocol(String),
}

impl WireError {
    pub(super) fn unexpected(place: &str, message: &Message) -> Self {
        Self::Protocol(format!("unexpected message {place}: {message:?}"))
    }

    /// The SQLSTATE, when the server answered with an error.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Db(error) => Some(&error.code),
            _ => None,
        }
    }

    /// Whether the connection is lost, so that the fate of the last statement is unknown.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Db(error) => write!(f, "{error}"),
            Self::Io(text) => write!(f, "connection failed: {text}"),
            Self::Closed => write!(f, "the server closed the connection"),
            Self::Protocol(text) => write!(f, "protocol: {text}"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<DbError> for WireError {
    fn from(error: DbError) -> Self {
        Self::Db(Box::new(error))
    }
}

impl From<std::io::Error> for WireError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// A backend message.
#[derive(Debug, Clone)]
pub enum Message {
    Authentication(i32, Vec<u8>),
    Key(i32, i32),
    Parameter(String, String),
    Ready(char),
    Columns(Vec<Column>),
    Data(Row),
    Complete(String),
    Empty,
    Suspended,
    ParameterTypes(Vec<u32>),
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    CopyIn,
    CopyOut,
    CopyData(Vec<u8>),
    CopyDone,
    /// Process, channel and payload.
    Notification(i32, String, String),
    Error(DbError),
    Notice(DbError),
}

impl Message {
    /// Takes one whole message off the front of the buffer, if there is one.
    pub fn split_from(buffer: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some(header) = buffer.get(..5) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length < 4 {
            return Err(WireError::Protocol(format!("message length {length}")));
        }
        if buffer.len() < length + 1 {
            return Ok(None);
        }
        let message = buffer.split_to(length + 1);
        Self::parse(message[0], &mut Body(&message[5..])).map(Some)
    }

    fn parse(tag: u8, body: &mut Body<'_>) -> Result<Self, WireError> {
        let message = match tag {
            b'R' => Self::Authentication(body.int4()?, body.rest()),
            b'K' => Self::Key(body.int4()?, body.int4()?),
            b'S' => Self::Parameter(body.text()?, body.text()?),
            b'Z' => Self::Ready(char::from(body.byte()?)),
            b'T' => Self::Columns(body.columns()?),
            b'D' => Self::Data(body.row()?),
            b'C' => Self::Complete(body.text()?),
            b'I' => Self::Empty,
            b's' => Self::Suspended,
            b't' => {
                let count = body.int2()?;
                let types = (0..count).map(|_| body.int4().map(|oid| oid as u32));
                Self::ParameterTypes(types.collect::<Result<_, _>>()?)
            }
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'n' => Self::NoData,
            b'd' => Self::CopyData(body.rest()),
            b'c' => Self::CopyDone,
            b'G' | b'H' => {
                body.rest();
                if tag == b'G' {
                    Self::CopyIn
                } else {
                    Self::CopyOut
                }
            }
            b'A' => Self::Notification(body.int4()?, body.text()?, body.text()?),
            b'E' => Self::Error(body.error()?),
            b'N' => Self::Notice(body.error()?),
            other => return Err(WireError::Protocol(format!("unknown message tag {other}"))),
        };
        if body.0.is_empty() {
            Ok(message)
        } else {
            Err(WireError::Protocol(format!(
                "{} bytes too many in {message:?}",
                body.0.len()
            )))
        }
    }
}

/// The unread part of a message.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], WireError> {
        if self.0.len() < count {
            return Err(WireError::Protocol(
                "a message is shorter than its fields".into(),
            ));
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn int2(&mut self) -> Result<i16, WireError> {
        let bytes = self.take(2)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn int4(&mut self) -> Result<i32, WireError> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> Result<String, WireError> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| WireError::Protocol("a string has no end".into()))?;
        let text = String::from_utf8(self.take(end)?.to_vec());
        self.take(1)?;
        text.map_err(|_| WireError::Protocol("a string is not UTF-8".into()))
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn columns(&mut self) -> Result<Vec<Column>, WireError> {
        let count = self.int2()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let name = self.text()?;
            let origin = (self.int4()? as u32, self.int2()?);
            let type_oid = self.int4()? as u32;
            self.take(2)?; // type size
            columns.push(Column {
                name,
                origin,
                type_oid,
                type_modifier: self.int4()?,
                format: self.int2()?,
            });
        }
        Ok(columns)
    }

    fn row(&mut self) -> Result<Row, WireError> {
        let count = self.int2()?;
        let mut row = Vec::new();
        for _ in 0..count {
            let length = self.int4()?;
            row.push(match usize::try_from(length) {
                Ok(length) => Some(self.take(length)?.to_vec()),
                Err(_) => None,
            });
        }
        Ok(row)
    }

    fn error(&mut self) -> Result<DbError, WireError> {
        let mut error = DbError::default();
        loop {
            let field = self.byte()?;
            if field == 0 {
                return Ok(error);
            }
            let value = self.text()?;
            match field {
                b'S' => error.severity = value,
                b'C' => error.code = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                b'W' => error.context = Some(value),
                b's' => error.schema = Some(value),
                b't' => error.table = Some(value),
                b'n' => error.constraint = Some(value),
                b'R' => error.routine = Some(value),
                b'P' => error.position = value.parse().ok(),
                _ => {}
            }
        }
    }
}
