//! Clients that read slowly, vanish, announce more than they send, or ask for work without end.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::{MANY_ROWS, MIB, eventually, memory};
use crate::harness::server::{DATABASE, Server};
use crate::harness::wire::{Message, Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq};

/// How long clients of results without end are watched.
const WATCHED: Duration = Duration::from_secs(5);
/// What the server may hold for a reader that does not read.
const READER_BYTES_MAX: u64 = 24 * MIB;
/// What a message that is announced and not sent may take.
const ANNOUNCED_BYTES_MAX: u64 = 2 * MIB;

fn query(wire: &mut Wire, sql: &str) -> Result<(), WireError> {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out)?;
    wire.send(&out)
}

/// Reads the columns and some rows.
fn read_rows(wire: &mut Wire, count: usize) -> TestResult {
    let mut rows = 0;
    while rows < count {
        match wire.receive()? {
            Message::Data(_) => rows += 1,
            Message::Columns(_) => {}
            other => return Err(format!("after {rows} rows: {other:?}").into()),
        }
    }
    Ok(())
}

/// The server makes rows only as fast as they are read, and others are served meanwhile.
pub(super) fn slow_readers() -> TestResult {
    const READERS: u64 = 8;
    Server::fresh()?.scope(|server| {
        let mut other = server.connect()?;
        other.simple("SELECT 1")?;
        let before = memory(server)?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut wire = server.connect()?;
            query(&mut wire, MANY_ROWS)?;
            readers.push(wire);
        }
        let start = Instant::now();
        let mut most = 0;
        while start.elapsed() < WATCHED {
            for wire in &mut readers {
                read_rows(wire, 10)?;
            }
            let asked = Instant::now();
            expect_eq(
                "others",
                &other.number("SELECT count(*) FROM generate_series(1, 1000)")?,
                &1000,
            )?;
            expect(asked.elapsed() < Duration::from_secs(5), || {
                format!("others waited {:?}", asked.elapsed())
            })?;
            most = most.max(memory(server)?.saturating_sub(before));
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!(
            "load: {READERS} slow readers: {} MiB more at most",
            most / MIB
        );
        expect(most < READERS * READER_BYTES_MAX, || {
            format!("slow readers cost {most} bytes")
        })
    })
}

/// Their statements end, their places are free, and nothing of them stays.
pub(super) fn vanish_in_results() -> TestResult {
    const CLIENTS: u64 = 20;
    const ROUNDS: usize = 5;
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()";
    Server::fresh()?.scope(|server| {
        let mut other = server.connect()?;
        other.simple("SELECT 1")?;
        let mut before = 0;
        for round in 0..ROUNDS {
            let mut wires = Vec::new();
            for _ in 0..CLIENTS {
                let mut wire = server.connect()?;
                query(&mut wire, MANY_ROWS)?;
                read_rows(&mut wire, 100)?;
                wires.push(wire);
            }
            expect(other.number(sessions)? > 0, || {
                "nobody is seen to run a statement".into()
            })?;
            drop(wires);
            eventually(
                "statements of vanished clients end",
                Duration::from_secs(30),
                || Ok(other.number(sessions)? == 0),
            )?;
            if round == 0 {
                before = memory(server)?;
            }
        }
        // The allocator gives memory back some time later, and while others work.
        let mut grown = 0;
        eventually(
            "vanished clients leave nothing",
            Duration::from_secs(60),
            || {
                other.number("SELECT count(*) FROM generate_series(1, 100000)")?;
                grown = memory(server)?.saturating_sub(before);
                Ok(grown < 64 * MIB)
            },
        )?;
        eprintln!(
            "load: {} vanished clients left {} MiB",
            CLIENTS * ROUNDS as u64,
            grown / MIB
        );
        Ok(())
    })
}

/// A message over the limit is refused when its length is read, and the connection ends.
pub(super) fn oversized_messages() -> TestResult {
    let cases: &[(&[u8], &str)] = &[
        (&[b'Q', 0x7f, 0xff, 0xff, 0xff], "54000"),
        (&[b'Q', 0xff, 0xff, 0xff, 0xff], "54000"),
        (&[b'B', 0x10, 0, 0, 1], "54000"),
        (&[b'E', 0, 0, 0x27, 0x11], "54000"),
        (&[b'S', 0, 1, 0, 0], "54000"),
        (&[b'Q', 0, 0, 0, 3], "08P01"),
        (&[b'Q', 0, 0, 0, 0], "08P01"),
    ];
    Server::fresh()?.scope(|server| {
        let mut other = server.connect()?;
        for (bytes, code) in cases {
            let mut wire = server.connect()?;
            wire.send(bytes)?;
            let error = match wire.receive()? {
                Message::Error(error) => error,
                message => return Err(format!("{bytes:?} was answered {message:?}").into()),
            };
            expect_eq(&format!("{bytes:?}"), &error.code.as_str(), code)?;
            expect_eq("severity", &error.severity.as_str(), &"FATAL")?;
            expect(
                matches!(wire.receive(), Err(ref end) if end.is_lost()),
                || format!("the connection goes on after {bytes:?}"),
            )?;
        }
        expect_eq("others", &other.number("SELECT 1")?, &1)
    })
}

/// Memory is taken for bytes that came, not for those that a length promises.
pub(super) fn announced_messages() -> TestResult {
    const CLIENTS: u64 = 40;
    Server::fresh()?.scope(|server| {
        let mut other = server.connect()?;
        let mut wires = Vec::new();
        for _ in 0..CLIENTS {
            wires.push(server.connect()?);
        }
        let before = memory(server)?;
        for wire in &mut wires {
            // A query of 200 MiB, of which nearly nothing comes.
            wire.send(&[b'Q', 0x0c, 0x80, 0, 0])?;
            wire.send(&[b' '; 100_000])?;
        }
        std::thread::sleep(Duration::from_secs(1));
        let grown = memory(server)?.saturating_sub(before);
        eprintln!(
            "load: {CLIENTS} announced messages take {} MiB",
            grown / MIB
        );
        expect(grown < CLIENTS * ANNOUNCED_BYTES_MAX, || {
            format!("announced messages take {grown} bytes")
        })?;
        drop(wires);
        expect_eq("others", &other.number("SELECT 1")?, &1)
    })
}

/// A join of many pairs that finds none hands nothing on for long, and still must leave threads to others, and end
/// when it is cancelled.
pub(super) fn joins_without_rows() -> TestResult {
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let join = "SELECT count(*) FROM generate_series(1, 100000) AS a, generate_series(1, 1000000) AS b WHERE a + b < 0";
    Server::fresh()?.scope(|server| {
        let mut other = server.connect()?;
        let login = server.login(DATABASE);
        let threads = std::thread::available_parallelism()?.get();
        let mut wires = Vec::new();
        for _ in 0..threads * 2 {
            let mut wire = Wire::connect(&login)?;
            wire.simple("SET statement_timeout = 1000")?;
            query(&mut wire, join)?;
            wires.push(wire);
        }
        for wire in &mut wires {
            let code = wire
                .collect(&[])
                .err()
                .and_then(|error| error.code().map(str::to_string));
            expect_eq("code", &code.as_deref(), &Some("57014"))?;
        }
        let asked = Instant::now();
        expect_eq(
            "others",
            &other.number("SELECT count(*) FROM generate_series(1, 1000)")?,
            &1000,
        )?;
        expect(asked.elapsed() < WAIT_MAX, || {
            format!("a query waited {:?} for cancelled joins", asked.elapsed())
        })
    })
}
