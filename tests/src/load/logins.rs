//! Connections that never log in, and more of them than there may be.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::eventually;
use crate::harness::server::{DATABASE, Options, Server};
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect, expect_contains, expect_eq};

/// The server's limit for a login, and what a busy machine may add to it.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);
const LOGIN_LIMIT_LATE: Duration = Duration::from_secs(20);
/// Half-open sockets of each kind.
const OF_A_KIND: usize = 40;
/// Fewer than half-open sockets. As in PostgreSQL those that have sent a whole startup packet hold a place each.
const PLACES: &str = "60";
/// A login beside them may take this long.
const LOGIN_SLOW: Duration = Duration::from_secs(10);

/// Ways to begin a login and say no more.
const BEGINNINGS: &[&[u8]] = &[
    b"",
    // Half a length.
    &[0, 0],
    // A startup packet whose end never comes.
    &[0, 0, 0, 60, 0, 3, 0, 0, b'u', b's', b'e', b'r', 0],
    // The request for TLS; the answer is not waited for.
    &[0, 0, 0, 8, 4, 210, 22, 47],
    // A whole startup packet, but no password.
    b"\0\0\0\x23\0\x03\0\0user\0nyala\0database\0nyala\0\0",
];

/// They disturb no login, and are closed when the time for a login is up.
pub(super) fn half_open_sockets_time_out() -> TestResult {
    let options = Options::default().with_arguments(&["--max-connections", PLACES]);
    Server::start(options)?.scope(|server| {
        let began = Instant::now();
        let mut sockets = Vec::new();
        for _ in 0..OF_A_KIND {
            for beginning in BEGINNINGS {
                let mut socket = TcpStream::connect(("127.0.0.1", server.port()))?;
                socket.write_all(beginning)?;
                sockets.push(socket);
            }
        }
        let login = Instant::now();
        let mut wire = server.connect()?;
        expect_eq("answer", &wire.number("SELECT 1")?, &1)?;
        expect(login.elapsed() < LOGIN_SLOW, || {
            format!(
                "a login beside half-open sockets took {:?}",
                login.elapsed()
            )
        })?;
        for (number, socket) in sockets.iter_mut().enumerate() {
            let kind = number % BEGINNINGS.len();
            let left = (LOGIN_LIMIT + LOGIN_LIMIT_LATE).saturating_sub(began.elapsed());
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            // What the server had to say before it gave up, then the end.
            let mut rest = Vec::new();
            match socket.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                Err(error) => {
                    return Err(format!("socket of kind {kind} is still open: {error}").into());
                }
            }
        }
        expect(began.elapsed() > LOGIN_LIMIT / 2, || {
            "half-open sockets were closed at once".into()
        })?;
        expect_eq("the first connection", &wire.number("SELECT 2")?, &2)
    })
}

/// One too many is told so; a place that is given up can be taken.
pub(super) fn max_connections() -> TestResult {
    const MAX: usize = 3;
    let options = Options::default().with_arguments(&["--max-connections", "3"]);
    Server::start(options)?.scope(|server| {
        let mut wires = (0..MAX)
            .map(|_| server.connect())
            .collect::<Result<Vec<_>, _>>()?;
        for _ in 0..3 {
            let Err(error) = server.connect() else {
                return Err("a connection too many was let in".into());
            };
            expect_eq("code", &error.code(), &Some("53300"))?;
            expect_contains(
                "message",
                &error.to_string(),
                "sorry, too many clients already",
            )?;
        }
        // A cancel request needs no place.
        Wire::cancel(server.port(), wires[0].key)?;
        for wire in &mut wires {
            expect_eq("answer", &wire.number("SELECT 1")?, &1)?;
        }
        if let Some(wire) = wires.pop() {
            wire.terminate();
        }
        let login = server.login(DATABASE);
        eventually(
            "a place is free again",
            Duration::from_secs(10),
            || match Wire::connect(&login) {
                Ok(_) => Ok(true),
                Err(error) if error.code() == Some("53300") => Ok(false),
                Err(error) => Err(Failed::from(error)),
            },
        )
    })
}
