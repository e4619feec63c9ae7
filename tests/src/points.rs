//! Prepared statements about one row or the rows of a list of keys, while rows, definitions and other sessions change.
//!
//! Each lookup runs twice: what the row store has answers the first, and the row cache the second. That these statements are not
//! planned is tested in `server/src/session/tests.rs`; the answers must not tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::{DATABASE, Server};
use crate::harness::wire::{Format, Wire};
use crate::harness::{TestResult, expect_eq, trial};

/// Every test of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("points::lists_of_open_rows", open_rows),
        trial("points::lists_over_both_parts", both_parts),
        trial("points::lists_of_indexed_values", indexed_values),
        trial("points::lists_are_of_one_moment", one_moment),
        trial("points::returning_is_of_the_row_written", returning),
    ]
}

/// Keys of more than one lookup's share.
const MANY: i32 = 150;

/// An array as text.
fn array(keys: impl IntoIterator<Item = i32>) -> String {
    let keys: Vec<String> = keys.into_iter().map(|key| key.to_string()).collect();
    format!("{{{}}}", keys.join(","))
}

/// The rows of a prepared query, in order.
fn look(wire: &mut Wire, sql: &str, values: &[Option<&str>]) -> Result<Vec<String>, Failed> {
    let mut rows = wire.extended(sql, values, Format::Text)?.texts();
    rows.sort();
    Ok(rows.into_iter().map(|row| row.join(",")).collect())
}

fn check(wire: &mut Wire, sql: &str, values: &[Option<&str>], expected: &[&str]) -> TestResult {
    let expected: Vec<String> = expected.iter().map(|row| (*row).to_string()).collect();
    for _ in 0..2 {
        let found = look(wire, sql, values)?;
        expect_eq(&format!("{sql} of {values:?}"), &found, &expected)?;
    }
    Ok(())
}

fn open_rows() -> TestResult {
    const ANY: &str = "SELECT id, v FROM t WHERE id = ANY ($1)";
    const IN: &str = "SELECT id, v + $3 FROM t WHERE id IN ($1, $2, 3) AND v < 1000";
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        wire.simple(
            "CREATE TABLE t (id integer PRIMARY KEY, v integer); \
             INSERT INTO t SELECT x, x * 10 FROM generate_series(1, 200) AS g(x)",
        )?;
        let [one, two, four] = ["{1}", "{2,NULL,1,2,777}", "{4,3,2,1}"].map(Some);
        check(&mut wire, ANY, &[one], &["1,10"])?;
        check(&mut wire, ANY, &[two], &["1,10", "2,20"])?;
        check(&mut wire, ANY, &[Some("{}")], &[])?;
        check(&mut wire, ANY, &[None], &[])?;
        check(&mut wire, ANY, &[four], &["1,10", "2,20", "3,30", "4,40"])?;
        let listed = [Some("2"), None, Some("5")];
        check(&mut wire, IN, &listed, &["2,25", "3,35"])?;
        other.simple("UPDATE t SET v = 2000 WHERE id = 2; DELETE FROM t WHERE id = 4")?;
        check(&mut wire, ANY, &[four], &["1,10", "2,2000", "3,30"])?;
        check(&mut wire, IN, &listed, &["3,35"])?;
        other.simple("INSERT INTO t VALUES (4, 4)")?;
        check(&mut wire, ANY, &[four], &["1,10", "2,2000", "3,30", "4,4"])?;
        // More than are looked for one by one, with a key that is there twice.
        let many = array((1..=MANY).chain([7]));
        let found = look(&mut wire, ANY, &[Some(&many)])?;
        expect_eq("rows of a long list", &found.len(), &(MANY as usize))?;
        // A transaction has its own writes and nobody else's.
        wire.simple("BEGIN; UPDATE t SET v = 0 WHERE id = 1; DELETE FROM t WHERE id = 3")?;
        other.simple("UPDATE t SET v = 5 WHERE id IN (1, 2, 3)")?;
        check(&mut wire, ANY, &[four], &["1,0", "2,2000", "4,4"])?;
        wire.simple("ROLLBACK")?;
        check(&mut wire, ANY, &[four], &["1,5", "2,5", "3,5", "4,4"])?;
        other.simple(
            "ALTER TABLE t ADD COLUMN w integer DEFAULT 9; INSERT INTO t VALUES (0, 0, 1)",
        )?;
        check(&mut wire, ANY, &[Some("{0,1}")], &["0,0", "1,5"])?;
        other.simple("TRUNCATE t")?;
        check(&mut wire, ANY, &[four], &[])
    })
}

fn both_parts() -> TestResult {
    const ANY: &str = "SELECT b, v FROM h WHERE a = $1 AND b = ANY ($2)";
    let expected = |changed: &str| -> Vec<String> {
        let rows = [("k1", "11"), ("k2", "12"), ("k3", "13")];
        let row = |(key, v): &(&str, &str)| match changed.split_once('=') {
            Some((of, value)) if of == *key => format!("{key},{value}"),
            _ => format!("{key},{v}"),
        };
        rows.iter().map(row).collect()
    };
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        wire.simple(
            "CREATE TABLE h (a integer, b text, v integer, done boolean, PRIMARY KEY (a, b)) WITH (closed_when = 'done'); \
             INSERT INTO h SELECT x, 'k' || y, x * 10 + y, y = 2 FROM generate_series(1, 5) AS g(x), generate_series(1, 5) AS i(y)",
        )?;
        let values = [Some("1"), Some("{k1,k2,k2,k3,k9}")];
        let compare = |wire: &mut Wire, changed: &str| {
            let rows = expected(changed);
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            check(wire, ANY, &values, &rows)
        };
        compare(&mut wire, "")?;
        // Closed and moved, open and closed, and closed only.
        other.simple("CALL nyala.housekeeping('h')")?;
        compare(&mut wire, "")?;
        check(&mut wire, ANY, &[Some("1"), Some("{k2}")], &["k2,12"])?;
        // Written again: the closed copy must not come as well.
        other.simple("UPDATE h SET v = 99 WHERE a = 1 AND b = 'k2'")?;
        compare(&mut wire, "k2=99")?;
        wire.simple("BEGIN")?;
        compare(&mut wire, "k2=99")?;
        other.simple("UPDATE h SET v = 100, done = false WHERE a = 1 AND b = 'k2'")?;
        other.simple("CALL nyala.housekeeping('h')")?;
        compare(&mut wire, "k2=99")?;
        wire.simple("COMMIT")?;
        compare(&mut wire, "k2=100")?;
        other.simple("UPDATE h SET done = true WHERE a = 1; CALL nyala.housekeeping('h')")?;
        compare(&mut wire, "k2=100")?;
        other.simple("DELETE FROM h WHERE a = 1")?;
        check(&mut wire, ANY, &values, &[])
    })
}

fn indexed_values() -> TestResult {
    const ANY: &str = "SELECT id FROM x WHERE a = ANY ($1)";
    const BOTH: &str = "SELECT id FROM x WHERE a = $1 AND b IN ($2, $3)";
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        wire.simple(
            "CREATE TABLE x (id integer PRIMARY KEY, a integer, b text); CREATE INDEX ON x (a); CREATE INDEX ON x (b, a); \
             INSERT INTO x VALUES (1, 1, 'p'), (2, 1, 'q'), (3, 2, 'p'), (4, 3, 'p'), (5, NULL, 'p')",
        )?;
        check(&mut wire, ANY, &[Some("{1,2,2,NULL,9}")], &["1", "2", "3"])?;
        check(&mut wire, BOTH, &[Some("1"), Some("q"), Some("p")], &["1", "2"])?;
        check(&mut wire, BOTH, &[Some("1"), Some("q"), Some("q")], &["2"])?;
        check(&mut wire, BOTH, &[None, Some("q"), Some("p")], &[])?;
        other.simple("UPDATE x SET a = 2 WHERE id = 1; DELETE FROM x WHERE id = 2")?;
        check(&mut wire, ANY, &[Some("{1,2}")], &["1", "3"])?;
        wire.simple("BEGIN; UPDATE x SET a = 1 WHERE id = 4; INSERT INTO x VALUES (6, 1, 'q')")?;
        check(&mut wire, ANY, &[Some("{1,3}")], &["4", "6"])?;
        wire.simple("ROLLBACK")?;
        check(&mut wire, ANY, &[Some("{1,3}")], &["4"])?;
        // Each value has few rows, all together have more than a lookup keeps in hand.
        other.simple("INSERT INTO x SELECT 100 + i, 1000 + i % 3, 'm' FROM generate_series(1, 180) AS g(i)")?;
        let one = look(&mut wire, ANY, &[Some("{1000}")])?;
        expect_eq("rows of one value", &one.len(), &60)?;
        for _ in 0..2 {
            let all = look(&mut wire, ANY, &[Some("{1000,1001,1002}")])?;
            expect_eq("rows of three values", &all.len(), &180)?;
        }
        wire.simple("BEGIN; INSERT INTO x VALUES (7, 1000, 'm')")?;
        let all = look(&mut wire, ANY, &[Some("{1000,1001,1002}")])?;
        expect_eq("rows of three values, one of them new", &all.len(), &181)?;
        wire.simple("ROLLBACK")?;
        Ok(())
    })
}

/// Two rows always change together; no list of both may see one of them changed and the other not. Several sessions look, so that one
/// finds in the row cache what another has read at another moment.
fn one_moment() -> TestResult {
    const CHANGES: i32 = 400;
    const READERS: usize = 3;
    const ANY: &str = "SELECT v FROM m WHERE id = ANY ($1)";
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE m (id integer PRIMARY KEY, v integer); \
             INSERT INTO m SELECT x, 0 FROM generate_series(1, 20) AS g(x)",
        )?;
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (login, done) = (server.login(DATABASE), Arc::clone(&done));
                std::thread::spawn(move || -> Result<usize, String> {
                    let text = |failed: Failed| failed.message().unwrap_or_default().to_string();
                    let mut wire = Wire::connect(&login).map_err(|error| format!("{error:?}"))?;
                    let both = if reader % 2 == 0 { "{17,3}" } else { "{3,17}" };
                    let mut looks = 0;
                    while !done.load(Ordering::Relaxed) {
                        let rows = look(&mut wire, ANY, &[Some(both)]).map_err(text)?;
                        if rows.len() != 2 || rows.first() != rows.last() {
                            return Err(format!("rows of two moments: {rows:?}"));
                        }
                        look(&mut wire, ANY, &[Some("{17}")]).map_err(text)?;
                        looks += 1;
                    }
                    Ok(looks)
                })
            })
            .collect();
        let mut written = Ok(());
        for change in 1..=CHANGES {
            let sql = format!("UPDATE m SET v = {change} WHERE id IN (3, 17)");
            written = wire.simple(&sql).map(drop);
            if written.is_err() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let looks = reader.join().map_err(|_| "reader panicked")??;
            expect_eq("whether a session looked", &(looks > 0), &true)?;
        }
        written?;
        let last = CHANGES.to_string();
        check(&mut wire, ANY, &[Some("{17,3}")], &[&last, &last])
    })
}

fn returning() -> TestResult {
    const INSERT: &str = "INSERT INTO r (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v RETURNING k, v, note";
    const UPDATE: &str = "UPDATE r SET v = v + $2 WHERE k = $1 RETURNING v, k";
    const DELETE: &str = "DELETE FROM r WHERE k = $1 RETURNING *";
    const NEXT: &str = "INSERT INTO s (v) VALUES ($1) RETURNING id";
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        wire.simple(
            "CREATE TABLE r (k text PRIMARY KEY, v integer, note text DEFAULT 'new'); \
             CREATE TABLE s (id serial PRIMARY KEY, v integer)",
        )?;
        let mut once = |sql: &str, values: &[Option<&str>], expected: &[&str], tag: &str| {
            let reply = wire.extended(sql, values, Format::Text)?;
            let rows: Vec<String> = reply.texts().into_iter().map(|row| row.join(",")).collect();
            expect_eq(
                sql,
                &rows.iter().map(String::as_str).collect(),
                &expected.to_vec(),
            )?;
            expect_eq(sql, &reply.tag.as_deref(), &Some(tag))
        };
        once(INSERT, &[Some("a"), Some("1")], &["a,1,new"], "INSERT 0 1")?;
        other.simple("UPDATE r SET note = 'old'")?;
        once(INSERT, &[Some("a"), Some("2")], &["a,2,old"], "INSERT 0 1")?;
        once(UPDATE, &[Some("a"), Some("5")], &["7,a"], "UPDATE 1")?;
        once(UPDATE, &[Some("b"), Some("5")], &[], "UPDATE 0")?;
        once(DELETE, &[Some("a")], &["a,7,old"], "DELETE 1")?;
        once(DELETE, &[Some("a")], &[], "DELETE 0")?;
        once(NEXT, &[Some("1")], &["1"], "INSERT 0 1")?;
        once(NEXT, &[Some("1")], &["2"], "INSERT 0 1")
    })
}
