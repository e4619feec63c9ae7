//! Loads of many rows into an empty table: what they leave is what as many single rows would have left.
//!
//! The servers under test load from fewer rows on and in smaller rounds than others, so that a load of some batches has all that a
//! large one has.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::harness::server::{DATABASE, Options, Server};
use crate::harness::wire::{Format, Wire, WireError};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("bulk::any_order_of_rows", any_order_of_rows),
        trial("bulk::keys_that_come_twice", keys_that_come_twice),
        trial("bulk::rows_without_a_key", rows_without_a_key),
        trial("bulk::in_transactions", in_transactions),
        trial("bulk::beside_other_writers", beside_other_writers),
        trial("bulk::beside_other_work", beside_other_work),
        trial("bulk::of_hybrid_tables", of_hybrid_tables),
        trial("bulk::killed", killed),
    ]
}

/// Each batch of a COPY is a round.
const POINTS: &str = "bulk_load::rows_min=return(1000);bulk_load::round_bytes=return(1000)";

/// Rows of some batches.
const ROWS: i64 = 200_000;

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, v text)";
const COPY: &str = "COPY t FROM STDIN";
const PICTURE: &str =
    "SELECT count(*), count(DISTINCT id), sum(id), min(v), max(v), sum(length(v)) FROM t";

const STEP_LIMIT: Duration = Duration::from_secs(60);

fn server() -> Result<Server, Failed> {
    Server::start(Options::failpoint(POINTS))
}

/// The line of a row.
fn line(id: i64) -> String {
    format!("{id}\trow {id}\n")
}

/// Lines of rows in the order of their keys.
fn lines(ids: impl IntoIterator<Item = i64>) -> Vec<u8> {
    ids.into_iter().map(line).collect::<String>().into_bytes()
}

/// The same without any order.
fn shuffled(ids: impl IntoIterator<Item = i64>) -> Vec<u8> {
    let mut ids: Vec<i64> = ids.into_iter().collect();
    ids.shuffle(&mut StdRng::seed_from_u64(17));
    lines(ids)
}

fn expect_code(
    what: &str,
    outcome: Result<impl Sized, WireError>,
    code: &str,
) -> Result<WireError, Failed> {
    match outcome {
        Ok(_) => Err(format!("{what} succeeds").into()),
        Err(error) if error.code() == Some(code) => Ok(error),
        Err(error) => Err(format!("{what}: {error}").into()),
    }
}

/// Keyspaces of the row store.
fn keyspaces(server: &Server) -> Result<usize, Failed> {
    let folder = server.data_dir().join("rows").join("keyspaces");
    Ok(std::fs::read_dir(folder)?.count())
}

/// Waits until no more keyspaces are left than there were; a merge may still be at work in one that goes.
fn expect_keyspaces(server: &Server, what: &str, before: usize) -> TestResult {
    let begun = Instant::now();
    loop {
        let left = keyspaces(server)?;
        if left <= before {
            return Ok(());
        }
        expect(begun.elapsed() < STEP_LIMIT, || {
            format!("{what}: {left} keyspaces, {before} before")
        })?;
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn any_order_of_rows() -> TestResult {
    const ONE: &str = "SELECT v FROM t WHERE id = $1";
    server()?.scope(|server| {
        let mut wire = server.connect()?;
        let expected = |rows: i64| {
            let sum = rows * (rows + 1) / 2;
            let length: usize = (1..=rows).map(|id| format!("row {id}").len()).sum();
            let last = format!("row {}", "9".repeat(rows.ilog10() as usize));
            [
                rows.to_string(),
                rows.to_string(),
                sum.to_string(),
                "row 1".into(),
                last,
                length.to_string(),
            ]
        };
        for data in [lines(1..=ROWS), lines((1..=ROWS).rev()), shuffled(1..=ROWS)] {
            wire.simple(TABLE)?;
            // That there is no such row is known before.
            for _ in 0..2 {
                let none = wire.extended(ONE, &[Some("77")], Format::Text)?;
                expect_eq("before the load", &none.count(), &0)?;
            }
            let copied = wire.copy_in(COPY, &data)?;
            expect_eq("tag", &copied.tag, &Some(format!("COPY {ROWS}")))?;
            expect_eq(
                "all rows",
                &wire.texts(PICTURE)?,
                &vec![expected(ROWS).to_vec()],
            )?;
            for _ in 0..2 {
                let row = wire.extended(ONE, &[Some("77")], Format::Text)?;
                expect_eq("a row", &row.texts(), &vec![vec!["row 77".to_string()]])?;
            }
            let order = "SELECT id FROM t ORDER BY id OFFSET 99999 LIMIT 2";
            let middle = [["100000"], ["100001"]].map(|row| row.map(String::from).to_vec());
            expect_eq("rows by key", &wire.texts(order)?, &middle.to_vec())?;
            // Writes to what was loaded, and a load of a table that is not empty.
            wire.simple("UPDATE t SET v = 'new' WHERE id = 77; DELETE FROM t WHERE id = 78")?;
            wire.copy_in(COPY, &shuffled(ROWS + 1..=ROWS + 2_000))?;
            expect_code(
                "a key of the load",
                wire.copy_in(COPY, &lines([5])),
                "23505",
            )?;
            let written = wire.texts(PICTURE)?;
            let row = wire.extended(ONE, &[Some("77")], Format::Text)?;
            expect_eq(
                "an updated row",
                &row.texts(),
                &vec![vec!["new".to_string()]],
            )?;
            server.crash()?;
            wire = server.connect()?;
            expect_eq("after a crash", &wire.texts(PICTURE)?, &written)?;
            wire.simple("TRUNCATE t")?;
            wire.copy_in(COPY, &data)?;
            expect_eq(
                "after TRUNCATE",
                &wire.texts(PICTURE)?,
                &vec![expected(ROWS).to_vec()],
            )?;
            wire.simple("DROP TABLE t")?;
        }
        Ok(())
    })
}

fn keys_that_come_twice() -> TestResult {
    server()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(TABLE)?;
        // Made when it is read first.
        wire.number("SELECT count(*) FROM t")?;
        let before = keyspaces(server)?;
        let with = |ids: std::ops::RangeInclusive<i64>, more: i64| lines(ids.chain([more]));
        let cases = [
            ("in a batch", with(1..=3_000, 7), 7),
            ("the last one", with(1..=3_000, 3_000), 3_000),
            ("in rounds far apart", with(1..=ROWS, 7), 7),
            ("in neighbouring rounds", with(1..=ROWS, ROWS), ROWS),
            (
                "without order",
                [shuffled(1..=ROWS), lines([ROWS / 2])].concat(),
                ROWS / 2,
            ),
        ];
        for (what, data, key) in cases {
            let error = expect_code(what, wire.copy_in(COPY, &data), "23505")?;
            expect_contains(what, &error.to_string(), "\"t_pkey\"")?;
            let detail = format!("Key (id)=({key}) already exists.");
            expect_contains(what, &format!("{error:?}"), &detail)?;
            expect_eq(what, &wire.number("SELECT count(*) FROM t")?, &0)?;
        }
        // What is wrong with a row itself.
        wire.simple("ALTER TABLE t ADD CHECK (id <> 150000)")?;
        expect_code("CHECK", wire.copy_in(COPY, &lines(1..=ROWS)), "23514")?;
        let null = [lines(1..=ROWS), b"\\N\tx\n".to_vec()].concat();
        wire.simple("ALTER TABLE t DROP CONSTRAINT t_id_check")?;
        expect_code("NULL", wire.copy_in(COPY, &null), "23502")?;
        expect_eq("all refused", &wire.number("SELECT count(*) FROM t")?, &0)?;
        expect_keyspaces(server, "refused", before)?;
        wire.copy_in(COPY, &lines(1..=ROWS))?;
        expect_eq("all right", &wire.number("SELECT count(*) FROM t")?, &ROWS)
    })
}

fn rows_without_a_key() -> TestResult {
    server()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("CREATE TABLE t (id bigint, v text)")?;
        wire.copy_in(COPY, &lines((1..=ROWS).chain(1..=ROWS)))?;
        wire.simple("INSERT INTO t VALUES (0, 'one more')")?;
        server.crash()?;
        let mut wire = server.connect()?;
        wire.simple("INSERT INTO t VALUES (0, 'and one')")?;
        let counts = wire.texts("SELECT count(*), count(DISTINCT id) FROM t")?;
        let expected = [2 * ROWS + 2, ROWS + 1]
            .map(|count| count.to_string())
            .to_vec();
        expect_eq("rows", &counts, &vec![expected])?;
        wire.simple("CREATE TABLE c AS SELECT * FROM t")?;
        expect_eq(
            "CREATE TABLE AS",
            &wire.number("SELECT count(*) FROM c")?,
            &(2 * ROWS + 2),
        )?;
        wire.simple(
            "CREATE TABLE i (id bigint, v text); INSERT INTO i SELECT * FROM t WHERE id > 0",
        )?;
        expect_eq(
            "INSERT",
            &wire.number("SELECT count(*) FROM i")?,
            &(2 * ROWS),
        )
    })
}

fn in_transactions() -> TestResult {
    server()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        let count = "SELECT count(*) FROM t";
        wire.simple("BEGIN")?;
        wire.simple(TABLE)?;
        wire.copy_in(COPY, &shuffled(1..=5_000))?;
        expect_eq("own rows", &wire.number(count)?, &5_000)?;
        wire.simple("UPDATE t SET v = 'changed' WHERE id <= 10; DELETE FROM t WHERE id > 4000")?;
        wire.simple("INSERT INTO t VALUES (9000, 'later')")?;
        let again = wire.simple("SAVEPOINT s; INSERT INTO t VALUES (5, 'there')");
        expect_code("a loaded key", again, "23505")?;
        wire.simple("ROLLBACK TO s")?;
        expect_eq("own writes", &wire.number(count)?, &4_001)?;
        expect_code("not committed", other.number(count), "42P01")?;
        wire.simple("CREATE INDEX t_v ON t (v)")?;
        wire.simple("COMMIT")?;
        expect_eq("others' rows", &other.number(count)?, &4_001)?;
        let changed = "SELECT count(*) FROM t WHERE v = 'changed'";
        expect_eq("by index", &other.number(changed)?, &10)?;
        expect_eq(
            "by index",
            &other.number("SELECT id FROM t WHERE v = 'row 77'")?,
            &77,
        )?;

        // Taken back, by a savepoint and as a whole.
        wire.simple("DROP TABLE t")?;
        wire.simple(TABLE)?;
        let before = keyspaces(server)?;
        wire.simple("BEGIN; SAVEPOINT s")?;
        wire.copy_in(COPY, &lines(1..=5_000))?;
        wire.simple("ROLLBACK TO s")?;
        expect_eq("rolled back", &wire.number(count)?, &0)?;
        wire.copy_in(COPY, &lines(1..=3_000))?;
        wire.simple("SAVEPOINT u; TRUNCATE t; ROLLBACK TO u")?;
        expect_eq("rolled back", &wire.number(count)?, &3_000)?;
        wire.simple("ROLLBACK")?;
        expect_eq("rolled back", &wire.number(count)?, &0)?;
        wire.simple("BEGIN")?;
        wire.copy_in(COPY, &lines(1..=5_000))?;
        wire.simple("TRUNCATE t; INSERT INTO t VALUES (1, 'x'); COMMIT")?;
        expect_eq("truncated", &other.number(count)?, &1)?;
        // A cursor keeps what it has seen.
        wire.simple("TRUNCATE t")?;
        wire.simple("BEGIN; DECLARE c CURSOR FOR SELECT id FROM t")?;
        wire.copy_in(COPY, &lines(1..=5_000))?;
        expect_eq("cursor", &wire.query("FETCH 5 FROM c")?.count(), &0)?;
        wire.simple("COMMIT")?;
        expect_eq("committed", &other.number(count)?, &5_000)?;
        // A temporary table's rows go with it.
        wire.simple("CREATE TEMP TABLE t (id bigint PRIMARY KEY, v text) ON COMMIT DELETE ROWS")?;
        wire.simple("BEGIN")?;
        wire.copy_in(COPY, &lines(1..=2_000))?;
        expect_eq("temporary", &wire.number(count)?, &2_000)?;
        wire.simple("COMMIT")?;
        expect_eq("temporary", &wire.number(count)?, &0)?;
        wire.simple("DROP TABLE pg_temp.t; DROP TABLE t")?;
        server.restart()?;
        expect_keyspaces(server, "rolled back", before)
    })
}

/// First committer wins, key by key.
fn beside_other_writers() -> TestResult {
    server()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        let mut third = server.connect()?;
        let count = "SELECT count(*) FROM t";
        wire.simple(TABLE)?;
        // Another key is written meanwhile.
        wire.simple("BEGIN")?;
        wire.copy_in(COPY, &shuffled(1..=5_000))?;
        wire.simple("DELETE FROM t WHERE id = 5; UPDATE t SET v = 'own' WHERE id = 6")?;
        other.simple("INSERT INTO t VALUES (6000, 'other')")?;
        wire.simple("COMMIT")?;
        expect_eq("both", &third.number(count)?, &5_000)?;
        let own = third.texts("SELECT v FROM t WHERE id = 6")?;
        expect_eq("own writes", &own, &vec![vec!["own".to_string()]])?;
        // One of the keys is.
        wire.simple("TRUNCATE t")?;
        wire.simple("BEGIN")?;
        wire.copy_in(COPY, &shuffled(1..=5_000))?;
        other.simple("INSERT INTO t VALUES (5, 'other')")?;
        expect_code("the load", wire.simple("COMMIT"), "40001")?;
        expect_eq("the first", &third.number(count)?, &1)?;
        // So is one by a load.
        wire.simple("TRUNCATE t")?;
        wire.simple("BEGIN")?;
        wire.copy_in(COPY, &lines(1..=5_000))?;
        third.simple("BEGIN")?;
        third.copy_in(COPY, &lines(4_000..=9_000))?;
        other.copy_in(COPY, &lines(6_000..=12_000))?;
        wire.simple("COMMIT")?;
        expect_code("the third", third.simple("COMMIT"), "40001")?;
        expect_eq("two loads", &other.number(count)?, &11_001)?;
        // The others began before the load.
        wire.simple("TRUNCATE t")?;
        other.simple("BEGIN; SELECT count(*) FROM t")?;
        third.simple("BEGIN; SELECT count(*) FROM t")?;
        wire.copy_in(COPY, &lines(1..=5_000))?;
        expect_eq("a snapshot", &other.number(count)?, &0)?;
        other.simple("INSERT INTO t VALUES (5, 'other')")?;
        third.simple("INSERT INTO t VALUES (5001, 'other')")?;
        expect_code("a loaded key", other.simple("COMMIT"), "40001")?;
        third.simple("COMMIT")?;
        expect_eq("a new key", &wire.number(count)?, &5_001)?;
        // With a snapshot from before the load, and after the rows were moved.
        wire.simple("DROP TABLE t")?;
        wire.simple(
            "CREATE TABLE t (id bigint PRIMARY KEY, v text) WITH (closed_when = 'id > 100')",
        )?;
        other.simple("BEGIN; SELECT count(*) FROM t; INSERT INTO t VALUES (300, 'other')")?;
        wire.copy_in(COPY, &lines(1..=5_000))?;
        wire.simple("CALL nyala.housekeeping('t')")?;
        expect_code("a moved key", other.simple("COMMIT"), "40001")?;
        expect_eq("all rows", &wire.number(count)?, &5_000)
    })
}

/// Work that has to be told of each key that is written.
fn beside_other_work() -> TestResult {
    server()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        for (work, after) in [
            ("CREATE INDEX t_v ON t (v)", "40001"),
            ("CALL nyala.offload('t')", ""),
            ("CALL nyala.housekeeping('t')", ""),
        ] {
            wire.simple(
                "CREATE TABLE t (id bigint PRIMARY KEY, v text) WITH (closed_when = 'id > 100')",
            )?;
            wire.simple("BEGIN")?;
            wire.copy_in(COPY, &shuffled(1..=5_000))?;
            other.simple(work)?;
            let committed = wire.simple("COMMIT");
            if after.is_empty() {
                committed.map_err(|error| format!("{work}: {error}"))?;
            } else {
                expect_code(work, committed, after)?;
                wire.copy_in(COPY, &shuffled(1..=5_000))?;
            }
            for _ in 0..2 {
                for picture in [
                    "SELECT count(*) FROM t",
                    "SELECT count(DISTINCT v) FROM t WHERE v LIKE 'row %'",
                ] {
                    expect_eq(work, &other.number(picture)?, &5_000)?;
                }
                expect_eq(
                    work,
                    &other.number("SELECT id FROM t WHERE v = 'row 99'")?,
                    &99,
                )?;
                wire.simple("CALL nyala.offload('t')")?;
                wire.simple("CALL nyala.housekeeping('t')")?;
            }
            expect_eq(work, &other.number("SELECT count(*) FROM t$open")?, &100)?;
            wire.simple("DROP TABLE t")?;
        }
        Ok(())
    })
}

fn of_hybrid_tables() -> TestResult {
    server()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE t (id bigint PRIMARY KEY, v text) WITH (closed_when = 'id % 3 = 0')",
        )?;
        wire.copy_in(COPY, &shuffled(1..=9_000))?;
        wire.simple("CALL nyala.offload('t'); CALL nyala.housekeeping('t')")?;
        expect_eq(
            "closed",
            &wire.number("SELECT count(*) FROM t$closed")?,
            &3_000,
        )?;
        expect_eq("all", &wire.number("SELECT count(*) FROM t")?, &9_000)?;
        // All open rows go; the keys of the closed ones are still taken.
        wire.simple("DELETE FROM t WHERE id % 3 <> 0")?;
        expect_code(
            "a closed key",
            wire.copy_in(COPY, &lines(1..=9_000)),
            "23505",
        )?;
        let open = (1..=9_000).filter(|id| id % 3 != 0);
        wire.copy_in(COPY, &lines(open))?;
        expect_eq("all again", &wire.number("SELECT count(*) FROM t")?, &9_000)?;
        server.crash()?;
        let mut wire = server.connect()?;
        expect_eq(
            "after a crash",
            &wire.number("SELECT count(*) FROM t")?,
            &9_000,
        )
    })
}

/// A load is there as a whole, or not at all.
fn killed() -> TestResult {
    for (step, expected) in [
        ("bulk_load::written", 0),
        ("commit::before_batch", 0),
        ("commit::after_batch", 5_001),
    ] {
        server()?.scope(|server| {
            let mut wire = server.connect()?;
            wire.simple(TABLE)?;
            let before = keyspaces(server)?;
            server.kill();
            server.start_again(Options::failpoint(&format!("{POINTS};{step}=return")))?;
            let mut wire = server.connect()?;
            wire.simple("BEGIN")
                .map_err(|error| format!("{step}: {error}"))?;
            let done = wire.copy_in(COPY, &shuffled(1..=5_000)).and_then(|_| {
                wire.simple("INSERT INTO t VALUES (0, 'with it')")?;
                wire.simple("COMMIT")
            });
            expect(done.is_err(), || format!("{step} is not reached"))?;
            server.wait_for_end(STEP_LIMIT)?;
            server.start_again(Options::failpoint(POINTS))?;
            let mut wire = Wire::connect(&server.login(DATABASE))?;
            let rows = wire.number("SELECT count(*) FROM t")?;
            expect_eq(step, &rows, &expected)?;
            expect_keyspaces(server, step, before + 1)?;
            if expected == 0 {
                wire.copy_in(COPY, &shuffled(1..=5_000))?;
            }
            wire.simple("UPDATE t SET v = 'new' WHERE id = 5")?;
            expect_eq(
                step,
                &wire.number("SELECT count(*) FROM t WHERE v = 'new'")?,
                &1,
            )
        })?;
    }
    Ok(())
}
