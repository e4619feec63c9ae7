//! A count over the table stays constant while housekeeping moves its rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::wire::{Login, Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq, setting, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "hybrid::count_is_constant_while_rows_move",
            constant_while_moving,
        ),
        trial("hybrid::concurrent_housekeeping", concurrent_housekeeping),
    ]
}

/// Rows moved, and how often at least they are counted meanwhile.
const ROWS_VARIABLE: &str = "NYALA_MOVE_ROWS";
const ROWS_DEFAULT: u64 = 20_000;
const COUNTS_VARIABLE: &str = "NYALA_MOVE_COUNTS";
const COUNTS_DEFAULT: u64 = 60;
/// Readers beside the mover.
const READERS: usize = 2;

/// What a reader sees of the whole table in one statement.
const PICTURE: &str =
    "SELECT count(*), count(DISTINCT id), sum(id), sum(length(body)) FROM contracts";

fn fill(server: &Server, rows: u64) -> Result<Vec<Vec<String>>, Failed> {
    let mut wire = server.connect()?;
    wire.simple(
        "CREATE TABLE contracts (id bigint PRIMARY KEY, closed_at timestamp, body text) \
         WITH (closed_when = 'closed_at IS NOT NULL')",
    )?;
    wire.simple(&format!(
        "INSERT INTO contracts SELECT x, NULL, repeat('b', (x % 50)::integer) \
         FROM generate_series(1, {rows}) AS g(x)"
    ))?;
    Ok(wire.texts(PICTURE)?)
}

/// Counts until told to stop, and at least `least` times; every picture must be the expected one.
fn read(
    login: &Login,
    expected: &[Vec<String>],
    stop: &AtomicBool,
    least: u64,
) -> Result<u64, String> {
    let mut wire = Wire::connect(login).map_err(|error| error.to_string())?;
    let mut counts = 0;
    while !stop.load(Ordering::Relaxed) || counts < least {
        let got = wire.texts(PICTURE).map_err(|error| error.to_string())?;
        if got != expected {
            return Err(format!(
                "count {counts}: expected {expected:?}, got {got:?}"
            ));
        }
        counts += 1;
    }
    Ok(counts)
}

fn constant_while_moving() -> TestResult {
    /// The rows are closed and moved in this many portions, so that closed files pile up.
    const PORTIONS: u64 = 5;
    let rows = setting(ROWS_VARIABLE, ROWS_DEFAULT)?;
    let counts = setting(COUNTS_VARIABLE, COUNTS_DEFAULT)?;
    Server::fresh()?.scope(|server| {
        let expected = fill(server, rows)?;
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (login, stop) = (server.login("nyala"), Arc::clone(&stop));
                let (expected, least) = (expected.clone(), counts.div_ceil(READERS as u64));
                std::thread::spawn(move || read(&login, &expected, &stop, least))
            })
            .collect();
        let moved = move_all(server, rows, PORTIONS);
        stop.store(true, Ordering::Relaxed);
        let mut counted = 0;
        for reader in readers {
            counted += reader.join().map_err(|_| "reader panicked")??;
        }
        moved?;
        let mut wire = server.connect()?;
        let sides = "SELECT (SELECT count(*) FROM contracts$open) + 1000000000 * \
                     (SELECT count(*) FROM contracts$closed)";
        let closed = rows - rows / 10;
        let expected = (rows / 10 + 1_000_000_000 * closed) as i64;
        expect_eq("open + 1e9 closed", &wire.number(sides)?, &expected)?;
        println!("moving: {closed} rows moved, {counted} counts, all equal");
        expect(counted >= counts, || format!("only {counted} counts"))
    })
}

/// Closes and moves all rows but every tenth.
fn move_all(server: &Server, rows: u64, portions: u64) -> Result<(), Failed> {
    let mut wire = server.connect()?;
    for portion in 0..portions {
        let (from, to) = (rows * portion / portions, rows * (portion + 1) / portions);
        wire.simple(&format!(
            "UPDATE contracts SET closed_at = '2024-01-01' \
             WHERE id > {from} AND id <= {to} AND id % 10 <> 0"
        ))?;
        wire.simple("CALL nyala.housekeeping('contracts')")?;
    }
    Ok(())
}

/// Several sessions ask for housekeeping at once: each either does its part or is told why not,
/// and nothing is moved twice.
fn concurrent_housekeeping() -> TestResult {
    const CALLERS: usize = 4;
    const ROUNDS: usize = 5;
    const ROWS: u64 = 500;
    Server::fresh()?.scope(|server| {
        let expected = fill(server, ROWS)?;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let login = server.login("nyala");
                std::thread::spawn(move || -> Result<(), WireError> {
                    let mut wire = Wire::connect(&login)?;
                    for round in 0..ROUNDS {
                        let part = caller * ROUNDS + round;
                        let parts = CALLERS * ROUNDS;
                        wire.simple(&format!(
                            "UPDATE contracts SET closed_at = '2024-01-01' WHERE id % {parts} = {part}"
                        ))?;
                        match wire.simple("CALL nyala.housekeeping('contracts')") {
                            // 55P03 (lock_not_available) or 55006 (object_in_use): another does it.
                            Err(error) if matches!(error.code(), Some("55P03" | "55006")) => {}
                            other => drop(other?),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for caller in callers {
            caller.join().map_err(|_| "caller panicked")??;
        }
        let mut wire = server.connect()?;
        wire.simple("CALL nyala.housekeeping('contracts')")?;
        expect_eq("the table", &wire.texts(PICTURE)?, &expected)?;
        expect_eq("open", &wire.number("SELECT count(*) FROM contracts$open")?, &0)?;
        expect_eq("closed", &wire.number("SELECT count(*) FROM contracts$closed")?, &(ROWS as i64))
    })
}
