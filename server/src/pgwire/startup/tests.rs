//! The start-up phase over a pipe.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{Channel, Opened, Opening, StartupRequest, open, parse_options};
use crate::error::PgError;
use crate::pgwire::transport::Transport;

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 8).expect("short");
    [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
}

/// Sends `bytes`, closes, and returns what the phase ends with and what it answered.
async fn run(bytes: &[u8]) -> (Result<Opening, PgError>, Vec<u8>) {
    let (mut client, server): (DuplexStream, DuplexStream) = duplex(64 * 1024);
    client.write_all(bytes).await.expect("fits");
    client.shutdown().await.expect("closed");
    let Opened {
        mut channel,
        opening,
        ..
    } = open(Channel::new(Transport::Memory(server)), None)
        .await
        .expect("a connection");
    channel.flush().await.expect("room");
    drop(channel);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("closed");
    (opening, answer)
}

/// A phase that waits for a client that has closed would wait for ever.
async fn within<T>(phase: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(10), phase)
        .await
        .expect("an answer in time")
}

fn session(user: &str, database: &str, settings: &[(&str, &str)], long_key: bool) -> Opening {
    Opening::Session(StartupRequest {
        user: user.into(),
        database: database.into(),
        parameters: settings
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        long_key,
    })
}

#[tokio::test]
async fn a_session_is_asked_for() {
    let (opening, answer) = run(&packet(0x3_0000, b"user\0me\0application_name\0psql\0\0")).await;
    assert_eq!(
        opening.ok(),
        Some(session("me", "me", &[("application_name", "psql")], false))
    );
    assert_eq!(answer, b"");

    let options = b"user\0me\0database\0d\0options\0-c a=1 --b-c=x\\ y -cd.e=2\0\0";
    let (opening, answer) = run(&packet(0x3_0002, options)).await;
    let settings = [("a", "1"), ("b_c", "x y"), ("d.e", "2")];
    assert_eq!(opening.ok(), Some(session("me", "d", &settings, true)));
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn encryption_is_refused_once_each() {
    let ssl = packet(super::SSL_REQUEST, b"");
    let gss = packet(super::GSS_REQUEST, b"");
    let start = packet(0x3_0000, b"user\0me\0\0");
    let (opening, answer) = run(&[&gss[..], &ssl, &start].concat()).await;
    assert_eq!(opening.ok(), Some(session("me", "me", &[], false)));
    assert_eq!(answer, b"NN");

    let (opening, _) = run(&[&ssl[..], &ssl].concat()).await;
    assert_eq!(opening.expect_err("asked twice").code, "08P01");
}

#[tokio::test]
async fn newer_versions_and_options_are_negotiated_down() {
    let (opening, answer) = run(&packet(0x3_270f, b"user\0me\0_pq_.x\x001\0\0")).await;
    assert_eq!(opening.ok(), Some(session("me", "me", &[], true)));
    assert_eq!(answer, b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
}

#[tokio::test]
async fn cancel_requests_carry_their_key() {
    let (opening, _) = run(&packet(super::CANCEL_REQUEST, b"\0\0\0\x07key!")).await;
    let expected = Opening::Cancel {
        process_id: 7,
        secret: (&b"key!"[..]).into(),
    };
    assert_eq!(opening.ok(), Some(expected));
}

#[tokio::test]
async fn bad_packets_are_refused() {
    let cases: [(Vec<u8>, &str); 8] = [
        (packet(0x2_0000, b"user\0me\0\0"), "0A000"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        (b"\0\0\0\x04".to_vec(), "08P01"),
        (packet(0x3_0000, b"user\0me\0"), "08P01"),
        (packet(0x3_0000, b"user\0me\0\0x"), "08P01"),
        (packet(0x3_0000, b"\0"), "28000"),
        (
            packet(0x3_0000, b"user\0me\0replication\0database\0\0"),
            "0A000",
        ),
        (packet(0x3_0000, b"user\0me\0options\0-x\0\0"), "42601"),
    ];
    for (bytes, code) in cases {
        let (opening, _) = within(run(&bytes)).await;
        assert_eq!(opening.map_err(|error| error.code), Err(code), "{bytes:?}");
    }
    let (opening, _) = within(run(b"")).await;
    assert_eq!(opening.ok(), Some(Opening::Closed));
}

#[test]
fn options_need_a_value() {
    assert!(parse_options("-c").is_err());
    assert!(parse_options("-c name").is_err());
    assert!(parse_options("--name").is_err());
    assert_eq!(parse_options("  ").expect("empty"), []);
}
