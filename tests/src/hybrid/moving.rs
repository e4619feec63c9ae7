//! A count over the table stays constant while housekeeping moves its rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::{Options, Server};
use crate::harness::wire::{Login, Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq, setting, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hybrid::count_is_constant_while_rows_move", || {
            constant_while_moving(Options::default())
        }),
        trial("hybrid::count_is_constant_while_rows_are_replaced", || {
            constant_while_moving(Options::failpoint(COPIES))
        }),
        trial(
            "hybrid::rows_that_stay_are_copied",
            rows_that_stay_are_copied,
        ),
        trial("hybrid::concurrent_housekeeping", concurrent_housekeeping),
        trial(
            "hybrid::definitions_change_while_rows_move",
            definitions_change_while_rows_move,
        ),
    ]
}

/// Housekeeping copies the rows that stay, however many they are.
const COPIES: &str = "housekeeping::copies=return";

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

fn constant_while_moving(options: Options) -> TestResult {
    /// The rows are closed and moved in this many portions, so that closed files pile up.
    const PORTIONS: u64 = 5;
    let rows = setting(ROWS_VARIABLE, ROWS_DEFAULT)?;
    let counts = setting(COUNTS_VARIABLE, COUNTS_DEFAULT)?;
    Server::start(options)?.scope(|server| {
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

/// What began before the rows were replaced goes on as if they were not: a transaction that only reads, one that writes, and
/// the table's snapshot.
fn rows_that_stay_are_copied() -> TestResult {
    Server::start(Options::failpoint(COPIES))?.scope(|server| {
        let before = fill(server, 1_000)?;
        let mut wire = server.connect()?;
        wire.simple("CALL nyala.offload('contracts')")?;
        wire.simple("UPDATE contracts SET closed_at = '2024-01-01' WHERE id % 10 <> 0")?;
        let mut reader = server.connect()?;
        reader.simple("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        let open = "SELECT count(*), sum(id) FROM contracts$open";
        let all_open = reader.texts(open)?;
        let mut writer = server.connect()?;
        writer.simple("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        // The first stays; the two others are moved under the writer.
        writer.simple("UPDATE contracts SET body = 'late' WHERE id = 10")?;
        writer.simple("UPDATE contracts SET body = 'late' WHERE id = 11")?;
        writer.simple("DELETE FROM contracts WHERE id = 12")?;
        let moved = wire.texts("CALL nyala.housekeeping('contracts')")?;
        let number = moved.first().and_then(|row| row.first());
        expect_eq("rows moved", &number.map(String::as_str), &Some("900"))?;
        expect_eq("moved before", &reader.texts(PICTURE)?, &before)?;
        expect_eq("open before", &reader.texts(open)?, &all_open)?;
        reader.simple("COMMIT")?;
        expect_eq("whole table", &wire.texts(PICTURE)?, &before)?;
        let sides = |wire: &mut Wire| -> Result<(i64, i64, i64), WireError> {
            Ok((
                wire.number("SELECT count(*) FROM contracts$open")?,
                wire.number("SELECT count(*) FROM contracts$closed")?,
                wire.number("SELECT count(*) FROM contracts$snapshot")?,
            ))
        };
        expect_eq("sides", &sides(&mut wire)?, &(100, 900, 100))?;
        writer.simple("COMMIT")?;
        expect_eq("sides", &sides(&mut wire)?, &(101, 898, 100))?;
        let late = "SELECT id FROM contracts WHERE body = 'late' ORDER BY id";
        expect_eq(
            "late",
            &wire.texts(late)?,
            &vec![vec!["10".into()], vec!["11".into()]],
        )?;
        server.restart()?;
        let mut wire = server.connect()?;
        expect_eq("sides", &sides(&mut wire)?, &(101, 898, 100))?;
        wire.simple("CALL nyala.housekeeping('contracts')")?;
        expect_eq("sides", &sides(&mut wire)?, &(100, 899, 100))?;
        wire.simple("TRUNCATE contracts")?;
        wire.simple("INSERT INTO contracts VALUES (1, NULL, 'new')")?;
        server.restart()?;
        let mut wire = server.connect()?;
        let rows = wire.texts("SELECT id, body FROM contracts")?;
        expect_eq(
            "after TRUNCATE",
            &rows,
            &vec![vec!["1".into(), "new".into()]],
        )
    })
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

/// Each run ends, although the table's definition is never the same for long.
fn definitions_change_while_rows_move() -> TestResult {
    const RUNS: i64 = 15;
    const ROWS: u64 = 3000;
    Server::fresh()?.scope(|server| {
        let expected = fill(server, ROWS)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (login, stopped) = (server.login("nyala"), Arc::clone(&stop));
        let changes = std::thread::spawn(move || -> Result<u64, WireError> {
            let mut wire = Wire::connect(&login)?;
            let mut changes = 0;
            while !stopped.load(Ordering::Relaxed) {
                wire.simple("CREATE INDEX made ON contracts (body)")?;
                wire.simple("DROP INDEX made")?;
                changes += 2;
            }
            Ok(changes)
        });
        let mut wire = server.connect()?;
        let mut moved = || -> TestResult {
            for run in 0..RUNS {
                wire.simple(&format!(
                    "UPDATE contracts SET closed_at = '2024-01-01' WHERE id % {RUNS} = {run}"
                ))?;
                wire.simple("CALL nyala.housekeeping('contracts')")?;
                wire.simple("CALL nyala.offload('contracts')")?;
                let left = "SELECT count(*) FROM contracts$open WHERE closed_at IS NOT NULL";
                expect_eq("rows that were not moved", &wire.number(left)?, &0)?;
                expect_eq("the table", &wire.texts(PICTURE)?, &expected)?;
            }
            Ok(())
        };
        let outcome = moved();
        stop.store(true, Ordering::Relaxed);
        let changes = changes.join().map_err(|_| "the changes panicked")??;
        outcome?;
        expect(changes >= RUNS as u64, || {
            format!("the definition changed {changes} times only")
        })
    })
}
