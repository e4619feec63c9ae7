//! A thousand idle connections beside two hundred that work: no error, and few bytes for each.

use std::time::Instant;

use libtest_mimic::Failed;

use super::{MIB, memory};
use crate::harness::server::{DATABASE, Options, Server};
use crate::harness::wire::{Format, Login, Wire};
use crate::harness::{TestResult, expect, expect_eq};

const IDLE: usize = 1000;
const BUSY: usize = 200;
/// Threads that log in at the same time.
const LOGINS_AT_ONCE: usize = 8;
/// Statements of a busy connection: an insert and a lookup each time, now and then a query over all.
const ROUNDS: usize = 20;
/// What an idle connection that has run a statement may take.
const CONNECTION_BYTES_MAX: u64 = 160 << 10;
/// What two hundred busy ones may take at once, beside what their rows take.
const BUSY_BYTES_MAX: u64 = 1024 * MIB;

pub(super) fn a_thousand_idle_two_hundred_busy() -> TestResult {
    let options = Options::default().with_arguments(&["--max-connections", "1300"]);
    Server::start(options)?.scope(|server| {
        let mut first = server.connect()?;
        first.simple("CREATE TABLE crowd (id bigint PRIMARY KEY, n integer, note text)")?;
        let login = server.login(DATABASE);
        // What the first few cost is paid once.
        drop(connect(&login, LOGINS_AT_ONCE)?);
        let before = memory(server)?;
        let began = Instant::now();
        let mut idle = connect(&login, IDLE)?;
        let each = memory(server)?.saturating_sub(before) / IDLE as u64;
        eprintln!(
            "load: {IDLE} connections in {:?}, {} KiB each",
            began.elapsed(),
            each >> 10
        );
        expect(each < CONNECTION_BYTES_MAX, || {
            format!("an idle connection takes {each} bytes")
        })?;

        let began = Instant::now();
        let before = memory(server)?;
        let workers: Vec<_> = (0..BUSY)
            .map(|number| {
                let login = login.clone();
                std::thread::spawn(move || work(&login, number))
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a busy client panicked")??;
        }
        let grown = memory(server)?.saturating_sub(before);
        eprintln!(
            "load: {BUSY} busy connections in {:?}, {} MiB more",
            began.elapsed(),
            grown / MIB
        );
        expect(grown < BUSY_BYTES_MAX, || {
            format!("busy connections left {grown} bytes")
        })?;
        let rows = i64::try_from(BUSY * ROUNDS)?;
        expect_eq("rows", &first.number("SELECT count(*) FROM crowd")?, &rows)?;
        for (number, wire) in idle.iter_mut().enumerate() {
            let answer = wire.number("SELECT 7")?;
            expect_eq(&format!("idle connection {number}"), &answer, &7)?;
        }
        Ok(())
    })
}

/// Connections that have run a statement each.
fn connect(login: &Login, count: usize) -> Result<Vec<Wire>, Failed> {
    let threads: Vec<_> = (0..LOGINS_AT_ONCE)
        .map(|_| {
            let login = login.clone();
            std::thread::spawn(move || -> Result<Vec<Wire>, Failed> {
                let mut wires = Vec::new();
                for _ in 0..count / LOGINS_AT_ONCE {
                    let mut wire = Wire::connect(&login)?;
                    expect_eq("first answer", &wire.number("SELECT 1")?, &1)?;
                    wires.push(wire);
                }
                Ok(wires)
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| "a login panicked")??);
    }
    Ok(all)
}

fn work(login: &Login, number: usize) -> TestResult {
    let mut wire = Wire::connect(login)?;
    for round in 0..ROUNDS {
        let id = (number * ROUNDS + round).to_string();
        let values = [Some(id.as_str()), Some("5")];
        wire.extended(
            "INSERT INTO crowd VALUES ($1, $2, 'a note')",
            &values,
            Format::Text,
        )?;
        let found = wire.extended(
            "SELECT n FROM crowd WHERE id = $1",
            &values[..1],
            Format::Text,
        )?;
        expect_eq("own row", &found.texts(), &vec![vec!["5".to_string()]])?;
        if round % 10 == 9 {
            let all = wire.number("SELECT count(*) FROM crowd WHERE n = 5")?;
            expect(all > 0, || "a query over all rows found none".into())?;
        }
    }
    wire.terminate();
    Ok(())
}
