//! A blocking client of the PostgreSQL protocol that shows every message: command tags, column
//! types, SQLSTATEs, positions, portal suspension. Drivers hide these, so the tests have their own.
//!
//! It never retries and never hides a broken connection; every read has a deadline.

mod message;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

pub use message::{Column, DbError, Message, Row, WireError};

/// A server that says nothing for this long is taken to hang.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// Result format codes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The type's text output.
    Text,
    /// The type's binary output wherever [`super::values`] can print it, else text.
    Binary,
}

/// Whom to connect as, and where.
#[derive(Debug, Clone)]
pub struct Login {
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
    /// Further startup parameters.
    pub parameters: Vec<(String, String)>,
}

impl Login {
    pub fn new(port: u16, user: &str, password: &str, database: &str) -> Self {
        Self {
            port,
            user: user.into(),
            password: password.into(),
            database: database.into(),
            parameters: Vec::new(),
        }
    }
}

/// What one statement answered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Present when the statement returns rows.
    pub columns: Option<Vec<Column>>,
    pub rows: Vec<Row>,
    /// The command tag; `None` for an empty query or a suspended portal.
    pub tag: Option<String>,
    /// Whether Execute ended with PortalSuspended.
    pub suspended: bool,
    /// Bytes of a COPY TO STDOUT.
    pub copied: Vec<u8>,
}

impl Reply {
    /// The rows as text, `NULL` for null; only for text results.
    pub fn texts(&self) -> Vec<Vec<String>> {
        let text = |value: &Option<Vec<u8>>| match value {
            None => "NULL".to_string(),
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        self.rows
            .iter()
            .map(|row| row.iter().map(text).collect())
            .collect()
    }

    /// The number at the end of the command tag.
    pub fn count(&self) -> u64 {
        let last = self.tag.as_deref().and_then(|tag| tag.rsplit(' ').next());
        last.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    received: BytesMut,
    /// Process id and secret key for a cancel request.
    pub key: (i32, i32),
    /// Parameters the server reported.
    pub parameters: BTreeMap<String, String>,
    /// Transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    pub status: char,
    /// Notices and warnings since connecting.
    pub notices: Vec<DbError>,
}

impl Wire {
    /// Connects and logs in, by SCRAM-SHA-256 when the server asks for it.
    pub fn connect(login: &Login) -> Result<Self, WireError> {
        Self::connect_within(login, READ_LIMIT)
    }

    /// The same with another deadline for each read.
    pub fn connect_within(login: &Login, read_limit: Duration) -> Result<Self, WireError> {
        let stream = TcpStream::connect(("127.0.0.1", login.port))?;
        stream.set_read_timeout(Some(read_limit))?;
        stream.set_write_timeout(Some(READ_LIMIT))?;
        stream.set_nodelay(true)?;
        let mut wire = Self {
            stream,
            received: BytesMut::new(),
            key: (0, 0),
            parameters: BTreeMap::new(),
            status: '?',
            notices: Vec::new(),
        };
        let mut startup = vec![("user", login.user.as_str()), ("database", &login.database)];
        startup.extend(
            login
                .parameters
                .iter()
                .map(|(name, value)| (&**name, &**value)),
        );
        let mut out = BytesMut::new();
        frontend::startup_message(startup, &mut out)?;
        wire.send(&out)?;
        wire.authenticate(&login.password)?;
        loop {
            match wire.receive()? {
                Message::Key(process, secret) => wire.key = (process, secret),
                Message::Ready(_) => return Ok(wire),
                Message::Error(error) => return Err(error.into()),
                other => return Err(WireError::unexpected("after authentication", &other)),
            }
        }
    }

    fn authenticate(&mut self, password: &str) -> Result<(), WireError> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let mut out = BytesMut::new();
            match self.receive()? {
                Message::Authentication(0, _) => return Ok(()),
                Message::Authentication(10, _) => {
                    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)?;
                    self.send(&out)?;
                }
                Message::Authentication(11, data) => {
                    scram.update(&data)?;
                    frontend::sasl_response(scram.message(), &mut out)?;
                    self.send(&out)?;
                }
                Message::Authentication(12, data) => scram.finish(&data)?,
                Message::Error(error) => return Err(error.into()),
                other => return Err(WireError::unexpected("during authentication", &other)),
            }
        }
    }

    /// The socket, for what is no message.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Writes raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next message; parameter reports and notices are kept aside.
    pub fn receive(&mut self) -> Result<Message, WireError> {
        loop {
            while let Some(message) = Message::split_from(&mut self.received)? {
                match message {
                    Message::Parameter(name, value) => {
                        self.parameters.insert(name, value);
                    }
                    Message::Notice(notice) => self.notices.push(notice),
                    Message::Ready(status) => {
                        self.status = status;
                        return Ok(Message::Ready(status));
                    }
                    other => return Ok(other),
                }
            }
            let mut chunk = [0_u8; 16 * 1024];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(WireError::Closed);
            }
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    /// Sends one simple query and collects a reply per statement, up to ReadyForQuery.
    pub fn simple(&mut self, sql: &str) -> Result<Vec<Reply>, WireError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.send(&out)?;
        self.collect(&[])
    }

    /// The last statement's reply of a simple query.
    pub fn query(&mut self, sql: &str) -> Result<Reply, WireError> {
        Ok(self.simple(sql)?.pop().unwrap_or_default())
    }

    /// The rows of a simple query as text.
    pub fn texts(&mut self, sql: &str) -> Result<Vec<Vec<String>>, WireError> {
        Ok(self.query(sql)?.texts())
    }

    /// The only value of a simple query as a number.
    pub fn number(&mut self, sql: &str) -> Result<i64, WireError> {
        let texts = self.texts(sql)?;
        match texts.as_slice() {
            [row] if row.len() == 1 => row[0].parse().map_err(|_| {
                WireError::Protocol(format!("{sql}: expected a number, got {:?}", row[0]))
            }),
            other => Err(WireError::Protocol(format!(
                "{sql}: expected one value, got {other:?}"
            ))),
        }
    }

    /// Runs a statement the way drivers do: Parse and Describe, then Bind and Execute with text
    /// parameters, then Close.
    pub fn extended(
        &mut self,
        sql: &str,
        parameters: &[Option<&str>],
        format: Format,
    ) -> Result<Reply, WireError> {
        let (_, columns) = self.prepare("s", sql)?;
        let formats = result_formats(columns.as_deref(), format);
        let mut out = BytesMut::new();
        bind("", "s", parameters, &formats, &mut out)?;
        frontend::describe(b'P', "", &mut out)?;
        frontend::execute("", 0, &mut out)?;
        frontend::close(b'S', "s", &mut out)?;
        frontend::sync(&mut out);
        self.send(&out)?;
        match self.collect(&[]) {
            Ok(mut replies) => Ok(replies.pop().unwrap_or_default()),
            Err(error) => {
                // The failed statement made the server skip the Close.
                if matches!(error, WireError::Db(_)) {
                    self.close_statement("s")?;
                }
                Err(error)
            }
        }
    }

    fn close_statement(&mut self, name: &str) -> Result<(), WireError> {
        let mut out = BytesMut::new();
        frontend::close(b'S', name, &mut out)?;
        frontend::sync(&mut out);
        self.send(&out)?;
        self.collect(&[]).map(|_| ())
    }

    /// Parse, Describe and Sync: the parameter types and the result columns.
    pub fn prepare(
        &mut self,
        name: &str,
        sql: &str,
    ) -> Result<(Vec<u32>, Option<Vec<Column>>), WireError> {
        let mut out = BytesMut::new();
        frontend::parse(name, sql, [], &mut out)?;
        frontend::describe(b'S', name, &mut out)?;
        frontend::sync(&mut out);
        self.send(&out)?;
        let (mut types, mut columns, mut failure) = (Vec::new(), None, None);
        loop {
            match self.receive()? {
                Message::ParseComplete | Message::NoData => {}
                Message::ParameterTypes(found) => types = found,
                Message::Columns(found) => columns = Some(found),
                Message::Error(error) => failure = Some(error),
                Message::Ready(_) => break,
                other => return Err(WireError::unexpected("while preparing", &other)),
            }
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok((types, columns)),
        }
    }

    /// COPY … FROM STDIN with this data, in pieces that do not end at line ends.
    pub fn copy_in(&mut self, sql: &str, data: &[u8]) -> Result<Reply, WireError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.send(&out)?;
        let mut replies = self.collect(data)?;
        Ok(replies.pop().unwrap_or_default())
    }

    /// Reads replies up to ReadyForQuery; `copy_data` answers a CopyInResponse.
    pub fn collect(&mut self, copy_data: &[u8]) -> Result<Vec<Reply>, WireError> {
        let mut replies = Vec::new();
        let mut current = Reply::default();
        let mut failure = None;
        loop {
            match self.receive()? {
                Message::Columns(columns) => current.columns = Some(columns),
                Message::Data(row) => current.rows.push(row),
                Message::Complete(tag) => {
                    current.tag = Some(tag);
                    replies.push(std::mem::take(&mut current));
                }
                Message::Empty => replies.push(std::mem::take(&mut current)),
                Message::Suspended => {
                    current.suspended = true;
                    replies.push(std::mem::take(&mut current));
                }
                Message::CopyIn => self.send_copy(copy_data)?,
                Message::CopyOut => {}
                Message::CopyData(bytes) => current.copied.extend(bytes),
                Message::Error(error) => failure = Some(error),
                Message::Ready(_) => break,
                Message::ParseComplete
                | Message::BindComplete
                | Message::CloseComplete
                | Message::NoData
                | Message::CopyDone
                | Message::ParameterTypes(_) => {}
                other => return Err(WireError::unexpected("in a reply", &other)),
            }
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(replies),
        }
    }

    fn send_copy(&mut self, data: &[u8]) -> Result<(), WireError> {
        /// Prime, so that pieces end within lines and within fields.
        const PIECE: usize = 1021;
        let mut out = BytesMut::new();
        for piece in data.chunks(PIECE) {
            frontend::CopyData::new(piece)?.write(&mut out);
        }
        frontend::copy_done(&mut out);
        self.send(&out)
    }

    /// Asks the server, on a connection of its own, to cancel what this connection runs.
    pub fn cancel(port: u16, key: (i32, i32)) -> Result<(), WireError> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        let mut out = BytesMut::new();
        frontend::cancel_request(key.0, key.1, &mut out);
        stream.write_all(&out)?;
        // The server closes the connection once the request is handled.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        Ok(())
    }

    /// Says goodbye.
    pub fn terminate(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        // A server that is already gone needs no goodbye.
        self.send(&out).ok();
    }
}

/// One format code per column: binary only where this crate can print it.
pub fn result_formats(columns: Option<&[Column]>, format: Format) -> Vec<i16> {
    let binary = |column: &Column| super::values::has_binary(column.type_oid);
    match (format, columns) {
        (Format::Text, _) | (_, None) => Vec::new(),
        (Format::Binary, Some(columns)) => columns.iter().map(|c| i16::from(binary(c))).collect(),
    }
}

/// Appends a Bind with text parameters.
pub fn bind(
    portal: &str,
    statement: &str,
    parameters: &[Option<&str>],
    result_formats: &[i16],
    out: &mut BytesMut,
) -> Result<(), WireError> {
    frontend::bind(
        portal,
        statement,
        [],
        parameters.iter().copied(),
        |value: Option<&str>, buffer| match value {
            Some(text) => {
                buffer.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        },
        result_formats.iter().copied(),
        out,
    )
    .map_err(|_| WireError::Protocol("a parameter is too large for Bind".into()))
}
