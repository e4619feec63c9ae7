//! The message loop with a real session, over a pipe.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Connection;
use crate::pgwire::channel::Channel;
use crate::pgwire::transport::Transport;
use crate::session::cancel::{CancelReason, Canceller};
use crate::session::tests::session;

/// A pipe that holds little, so that a client that does not read blocks the server.
const PIPE_BYTES: usize = 16 * 1024;

/// Everything here is a matter of milliseconds; a debug build on a busy machine gets this long.
const PATIENCE: Duration = Duration::from_secs(60);

const FIVE_ROWS: &str = "SELECT * FROM (VALUES (1), (2), (3), (4), (5)) AS t(x)";

/// Rows that are made as they are read.
const ENDLESS: &str = "SELECT * FROM generate_series(1, 1000000000)";

struct Client {
    stream: DuplexStream,
    input: BytesMut,
    canceller: Canceller,
    stop: watch::Sender<bool>,
    connection: JoinHandle<()>,
    directory: PathBuf,
}

impl Client {
    async fn connect() -> Self {
        let (session, directory) = session().await;
        let (client, stream) = duplex(PIPE_BYTES);
        let (stop, stopping) = watch::channel(false);
        let canceller = Canceller::default();
        let channel = Channel::new(Transport::Memory(stream));
        let connection = Connection::new(channel, session, canceller.clone(), stopping);
        let connection = tokio::spawn(connection.run());
        let input = BytesMut::new();
        let mut client = Self {
            stream: client,
            input,
            canceller,
            stop,
            connection,
            directory,
        };
        assert_eq!(client.cycle().await, "Z:I");
        client
    }

    async fn send(&mut self, messages: &[Vec<u8>]) {
        self.stream
            .write_all(&messages.concat())
            .await
            .expect("a reader");
    }

    /// Type and body of the next message; `None` at the end.
    async fn message(&mut self) -> Option<(char, Vec<u8>)> {
        loop {
            if let Some(header) = self.input.first_chunk::<5>() {
                let [tag, length @ ..] = *header;
                let length = u32::from_be_bytes(length) as usize + 1;
                if self.input.len() >= length {
                    let mut message = self.input.split_to(length);
                    message.advance(5);
                    return Some((char::from(tag), message.to_vec()));
                }
            }
            let read = self.stream.read_buf(&mut self.input);
            let count = tokio::time::timeout(PATIENCE, read)
                .await
                .expect("in time")
                .ok()?;
            if count == 0 {
                return None;
            }
        }
    }

    /// The messages up to ReadyForQuery or the end, in short; repeated rows are counted.
    async fn cycle(&mut self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut rows = 0_usize;
        loop {
            let message = self.message().await;
            if matches!(message, Some(('D', _))) {
                rows += 1;
                continue;
            }
            if rows > 0 {
                words.push(format!("{rows}D"));
                rows = 0;
            }
            let Some((tag, body)) = message else { break };
            words.push(match tag {
                'C' | 'Z' => {
                    let text = String::from_utf8_lossy(&body);
                    format!("{tag}:{}", text.trim_end_matches('\0'))
                }
                'E' => {
                    let code = body.split(|byte| *byte == 0).find_map(|field| {
                        field
                            .strip_prefix(b"C")
                            .map(|code| String::from_utf8_lossy(code).into_owned())
                    });
                    format!("E:{}", code.expect("a code"))
                }
                other => other.to_string(),
            });
            if tag == 'Z' {
                break;
            }
        }
        words.join(" ")
    }

    /// Waits until the connection's task has ended.
    async fn ended(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, &mut self.connection).await;
        ended.expect("in time").expect("no panic");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn message(tag: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[tag][..], &length.to_be_bytes(), &body].concat()
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"])
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"])
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(
        b'B',
        &[
            portal.as_bytes(),
            b"\0",
            statement.as_bytes(),
            b"\0\0\0\0\0\0\0",
        ],
    )
}

fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &max_rows.to_be_bytes()])
}

fn sync() -> Vec<u8> {
    message(b'S', &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_skips_to_sync_and_no_further() {
    let mut client = Client::connect().await;
    let good = [parse("", "SELECT 1 AS x"), bind("", ""), execute("", 0)];
    let bad = [
        parse("", "SELEC 1"),
        bind("", ""),
        execute("", 0),
        query("SELECT 3"),
    ];
    client
        .send(&[good.concat(), bad.concat(), sync(), query("SELECT 2 AS x")])
        .await;
    assert_eq!(client.cycle().await, "1 2 1D C:SELECT 1 E:42601 Z:I");
    assert_eq!(client.cycle().await, "T 1D C:SELECT 1 Z:I");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_checked() {
    let mut client = Client::connect().await;
    client
        .send(&[parse("s", "SELECT 1"), parse("s", "SELECT 1"), sync()])
        .await;
    assert_eq!(client.cycle().await, "1 E:42P05 Z:I");
    client
        .send(&[bind("", "t"), sync(), execute("p", 0), sync()])
        .await;
    assert_eq!(client.cycle().await, "E:26000 Z:I");
    assert_eq!(client.cycle().await, "E:34000 Z:I");
    client
        .send(&[parse("", "SELECT 1; SELECT 2"), sync()])
        .await;
    assert_eq!(client.cycle().await, "E:42601 Z:I");
    client
        .send(&[message(b'C', &[b"Ss\0"]), parse("s", "SELECT 1"), sync()])
        .await;
    assert_eq!(client.cycle().await, "3 1 Z:I");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_is_read_in_parts_and_ends_with_its_transaction() {
    let mut client = Client::connect().await;
    client
        .send(&[
            query("BEGIN"),
            parse("", FIVE_ROWS),
            bind("p", ""),
            execute("p", 2),
            sync(),
        ])
        .await;
    assert_eq!(client.cycle().await, "C:BEGIN Z:T");
    assert_eq!(client.cycle().await, "1 2 2D s Z:T");
    client
        .send(&[execute("p", 2), execute("p", 2), execute("p", 0), sync()])
        .await;
    assert_eq!(client.cycle().await, "2D s 1D C:SELECT 1 C:SELECT 0 Z:T");
    client
        .send(&[query("COMMIT"), execute("p", 0), sync()])
        .await;
    assert_eq!(client.cycle().await, "C:COMMIT Z:I");
    assert_eq!(client.cycle().await, "E:34000 Z:I");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_query_has_its_own_answer() {
    let mut client = Client::connect().await;
    client
        .send(&[
            query(""),
            parse("", ""),
            bind("", ""),
            execute("", 0),
            sync(),
        ])
        .await;
    assert_eq!(client.cycle().await, "I Z:I");
    assert_eq!(client.cycle().await, "1 2 I Z:I");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_stream_ends_with_an_error_and_the_connection_goes_on() {
    let mut client = Client::connect().await;
    client.send(&[query(ENDLESS)]).await;
    assert_eq!(client.message().await.map(|(tag, _)| tag), Some('T'));
    // The client has read one message; the server waits for it to read the rest.
    client.canceller.cancel(CancelReason::User);
    let rest = client.cycle().await;
    assert!(rest.ends_with("E:57014 Z:I"), "{rest}");
    client.send(&[query("SELECT 2 AS x")]).await;
    assert_eq!(client.cycle().await, "T 1D C:SELECT 1 Z:I");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_client_ends_its_statement() {
    let mut client = Client::connect().await;
    client.send(&[query(ENDLESS)]).await;
    assert_eq!(client.message().await.map(|(tag, _)| tag), Some('T'));
    client.stream = duplex(1).0;
    client.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_an_idle_connection() {
    let mut client = Client::connect().await;
    client.stop.send_replace(true);
    assert_eq!(client.cycle().await, "E:57P01");
    client.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_bodies_are_survived_and_broken_frames_are_not() {
    let mut client = Client::connect().await;
    client
        .send(&[
            message(b'Q', &[b"SELECT 1"]),
            message(b'F', &[]),
            message(b'd', &[b"x"]),
        ])
        .await;
    assert_eq!(client.cycle().await, "E:08P01 Z:I");
    assert_eq!(client.cycle().await, "E:0A000 Z:I");
    client.send(&[message(b'z', &[])]).await;
    assert_eq!(client.cycle().await, "E:08P01");
    client.stream.shutdown().await.ok();
    client.ended().await;
}
