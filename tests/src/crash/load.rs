//! The load on the server while it waits for its end: writers, readers, and housekeeping.
//!
//! Each of them ends when its connection breaks; any other failure is the test's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use super::ledger::{Changes, Ledger, Row};
use crate::harness::wire::{Login, Wire, WireError};

/// The table of the crash tests.
pub const DEFINITION: &str = "CREATE TABLE crash (id bigint PRIMARY KEY, writer integer, \
     version bigint, body text, closed_at timestamp) WITH (closed_when = 'closed_at IS NOT NULL')";
/// An index that is there all the time. Bodies have up to 200 lengths.
pub const INDEX: &str = "CREATE INDEX crash_body ON crash (body)";
/// `writer` of rows that are only ever closed and moved, never changed or deleted.
pub const FIXTURE: i32 = -1;
/// Their number.
pub const FIXTURE_ROWS: i64 = 400;
/// Keys of writer w are w * KEYS_PER_WRITER and up.
pub const KEYS_PER_WRITER: i64 = 1_000_000_000;
/// Rows of one INSERT.
const BATCH_MAX: i64 = 20;

/// Whether the loop's end is what a crash looks like.
fn outcome(error: WireError, stop: &AtomicBool) -> Result<(), String> {
    if error.is_lost() || stop.load(Ordering::Relaxed) {
        Ok(())
    } else {
        Err(error.to_string())
    }
}

/// Inserts, updates, closes, reopens and deletes rows of its own until the connection breaks.
pub fn write(
    login: &Login,
    writer: i64,
    seed: u64,
    ledger: &mut Ledger,
    stop: &AtomicBool,
) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut wire = match Wire::connect(login) {
        Ok(wire) => wire,
        Err(error) => return outcome(error, stop),
    };
    while !stop.load(Ordering::Relaxed) {
        let (statements, changes) = operation(&mut random, writer, ledger);
        if statements.is_empty() {
            continue;
        }
        ledger.sending(changes);
        match send(&mut wire, &statements) {
            Ok(()) => ledger.confirm(),
            // Housekeeping may have moved a row between our snapshot and our commit.
            Err(error) if error.code() == Some("40001") => {
                ledger.refuse();
                if wire.status != 'I' {
                    wire.simple("ROLLBACK").map_err(|error| error.to_string())?;
                }
            }
            Err(error) if error.is_lost() => return Ok(()),
            Err(error) => return Err(format!("{statements:?}: {error}")),
        }
    }
    Ok(())
}

/// One statement alone, or several in a transaction.
fn send(wire: &mut Wire, statements: &[String]) -> Result<(), WireError> {
    match statements {
        [one] => wire.simple(one).map(|_| ()),
        several => {
            wire.simple("BEGIN")?;
            for statement in several {
                wire.simple(statement)?;
            }
            wire.simple("COMMIT").map(|_| ())
        }
    }
}

/// A random operation: its statements and the rows they leave.
fn operation(random: &mut StdRng, writer: i64, ledger: &Ledger) -> (Vec<String>, Changes) {
    let mut changes = Changes::new();
    let mut statements = Vec::new();
    let parts = if random.random_bool(0.25) { 3 } else { 1 };
    for _ in 0..parts {
        if let Some((statement, part)) = statement(random, writer, ledger, &changes) {
            statements.push(statement);
            changes.extend(part);
        }
    }
    (statements, changes)
}

fn statement(
    random: &mut StdRng,
    writer: i64,
    ledger: &Ledger,
    earlier: &Changes,
) -> Option<(String, Changes)> {
    // Keys of the same transaction's earlier statements are left alone: the ledger knows only what
    // was acknowledged.
    let free = |key: &i64| !earlier.contains_key(key);
    let kind = random.random_range(0..10);
    if kind < 3 {
        let base = writer * KEYS_PER_WRITER + random.random_range(0..KEYS_PER_WRITER / 1000) * 1000;
        let rows: Vec<(i64, Row)> = (base..base + random.random_range(1..=BATCH_MAX))
            .map(|key| (key, fresh(random, 1)))
            .collect();
        let taken = |key: &i64| !free(key) || ledger.rows().any(|(other, _)| other == *key);
        if rows.iter().any(|(key, _)| taken(key)) {
            return None;
        }
        return Some((insert(writer, &rows), changed(rows)));
    }
    let count = random.random_range(1..=6);
    let rows = ledger.rows().filter(|(key, _)| free(key));
    let rows: Vec<(i64, Row)> = rows
        .map(|(key, row)| (key, row.clone()))
        .choose_multiple(random, count);
    if rows.is_empty() {
        return None;
    }
    let list = rows
        .iter()
        .map(|(key, _)| key.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let all = |change: &dyn Fn(&Row) -> Option<Row>| {
        rows.iter()
            .map(|(key, row)| (*key, change(row)))
            .collect::<Changes>()
    };
    Some(match kind {
        3..=4 => (
            format!("UPDATE crash SET version = version + 1 WHERE id IN ({list})"),
            all(&|row| {
                Some(Row {
                    version: row.version + 1,
                    ..row.clone()
                })
            }),
        ),
        5..=6 => (
            format!("UPDATE crash SET closed_at = '2024-01-01' WHERE id IN ({list})"),
            all(&|row| {
                Some(Row {
                    closed: true,
                    ..row.clone()
                })
            }),
        ),
        7 => (
            format!(
                "UPDATE crash SET closed_at = NULL, version = version + 1 WHERE id IN ({list})"
            ),
            all(&|row| {
                Some(Row {
                    version: row.version + 1,
                    closed: false,
                    ..row.clone()
                })
            }),
        ),
        8 => (
            format!("DELETE FROM crash WHERE id IN ({list})"),
            all(&|_| None),
        ),
        _ => {
            let rows: Vec<(i64, Row)> = rows
                .iter()
                .map(|(key, row)| (*key, fresh(random, row.version + 1)))
                .collect();
            let sql = format!(
                "{} ON CONFLICT (id) DO UPDATE SET version = excluded.version, \
                 body = excluded.body, closed_at = excluded.closed_at",
                insert(writer, &rows)
            );
            (sql, changed(rows))
        }
    })
}

fn fresh(random: &mut StdRng, version: i64) -> Row {
    let body = "x".repeat(random.random_range(0..200));
    Row {
        version,
        body,
        closed: random.random_bool(0.2),
    }
}

fn changed(rows: Vec<(i64, Row)>) -> Changes {
    rows.into_iter()
        .map(|(key, row)| (key, Some(row)))
        .collect()
}

fn insert(writer: i64, rows: &[(i64, Row)]) -> String {
    let value = |(key, row): &(i64, Row)| {
        let closed_at = if row.closed {
            "timestamp '2024-01-01'"
        } else {
            "NULL"
        };
        format!(
            "({key}, {writer}, {}, '{}', {closed_at})",
            row.version, row.body
        )
    };
    let values: Vec<String> = rows.iter().map(value).collect();
    format!(
        "INSERT INTO crash (id, writer, version, body, closed_at) VALUES {}",
        values.join(", ")
    )
}

/// Checks at every moment that no key is seen twice and that the fixture is complete.
pub fn read(login: &Login, stop: &AtomicBool) -> Result<u64, String> {
    let mut wire = match Wire::connect(login) {
        Ok(wire) => wire,
        Err(error) => return outcome(error, stop).map(|()| 0),
    };
    let fixture = format!("SELECT count(*), sum(version) FROM crash WHERE writer = {FIXTURE}");
    let complete = vec![vec![FIXTURE_ROWS.to_string(), FIXTURE_ROWS.to_string()]];
    let mut checks = 0;
    while !stop.load(Ordering::Relaxed) {
        let twice = wire.texts("SELECT count(*) - count(DISTINCT id) FROM crash");
        let seen = wire.texts(&fixture);
        match (twice, seen) {
            (Ok(twice), Ok(seen)) => {
                if twice != [["0"]] {
                    return Err(format!("a reader saw {twice:?} rows twice"));
                }
                if seen != complete {
                    return Err(format!(
                        "a reader saw the fixture as {seen:?}, not {complete:?}"
                    ));
                }
                checks += 1;
            }
            (Err(error), _) | (_, Err(error)) => return outcome(error, stop).map(|()| checks),
        }
    }
    Ok(checks)
}

/// Closes fixture rows a few at a time and keeps house, until the connection breaks.
pub fn keep_house(login: &Login, seed: u64, stop: &AtomicBool) -> Result<u64, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut wire = match Wire::connect(login) {
        Ok(wire) => wire,
        Err(error) => return outcome(error, stop).map(|()| 0),
    };
    let mut runs = 0;
    while !stop.load(Ordering::Relaxed) {
        let from = random.random_range(0..FIXTURE_ROWS);
        let closed_at = if random.random_bool(0.7) {
            "'2024-01-01'"
        } else {
            "NULL"
        };
        let close = format!(
            "UPDATE crash SET closed_at = {closed_at} \
             WHERE writer = {FIXTURE} AND id BETWEEN {} AND {}",
            -from - 20,
            -from
        );
        for sql in [
            close.as_str(),
            "CALL nyala.housekeeping('crash')",
            "CALL nyala.offload('crash')",
        ] {
            match wire.simple(sql) {
                Ok(_) => {}
                Err(error) if error.code() == Some("40001") => {}
                Err(error) => return outcome(error, stop).map(|()| runs),
            }
        }
        runs += 1;
    }
    Ok(runs)
}

/// Makes and drops an index, and compares what it finds with a scan, until the connection breaks.
pub fn build_indexes(login: &Login, seed: u64, stop: &AtomicBool) -> Result<u64, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut wire = match Wire::connect(login) {
        Ok(wire) => wire,
        Err(error) => return outcome(error, stop).map(|()| 0),
    };
    let mut built = 0;
    while !stop.load(Ordering::Relaxed) {
        let length = random.random_range(0..200);
        let body = "x".repeat(length);
        // One statement reads one snapshot, once by the index and once without.
        let difference = format!(
            "SELECT (SELECT count(*) FROM crash$open WHERE body = '{body}' AND writer > 0) - \
             (SELECT count(*) FROM crash$open WHERE length(body) = {length} AND writer > 0)"
        );
        for sql in [
            "DROP INDEX IF EXISTS crash_built",
            "CREATE INDEX crash_built ON crash (body, version)",
            difference.as_str(),
        ] {
            match wire.texts(sql) {
                Ok(rows) if rows.is_empty() || rows == [["0"]] => {}
                Ok(rows) => return Err(format!("{sql}: {rows:?}")),
                Err(error) if error.code() == Some("40001") => {}
                Err(error) => return outcome(error, stop).map(|()| built),
            }
        }
        built += 1;
        // A change of the definition between its snapshot and its last step sends housekeeping to its recovery; it shall
        // meet its other ending too.
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
    }
    Ok(built)
}
