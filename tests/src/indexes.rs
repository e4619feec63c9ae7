//! Indexes under concurrent writers, and which one a query goes by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use libtest_mimic::{Failed, Trial};

use crate::harness::server::{DATABASE, Server};
use crate::harness::wire::{Format, Login, Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq, trial};

/// Every test of indexes.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("indexes::one_value_wins", one_value_wins),
        trial(
            "indexes::built_while_writers_go_on",
            built_while_writers_go_on,
        ),
        trial("indexes::unique_built_while_writers_go_on", unique_built),
        trial("indexes::prepared_lookups", prepared_lookups),
        trial(
            "indexes::prepared_writes_outlive_new_indexes",
            prepared_writes,
        ),
        trial("indexes::chosen_where_selective", chosen_where_selective),
        trial("indexes::last_over_restarts", last_over_restarts),
        trial("indexes::blocks_conflict_with_writers", blocks_conflict),
    ]
}

const WRITERS: usize = 4;

/// A unique value is inserted under other keys by several sessions: exactly one wins.
fn one_value_wins() -> TestResult {
    const VALUES: usize = 60;
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("CREATE TABLE u (id integer PRIMARY KEY, value integer UNIQUE)")?;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let login = server.login(DATABASE);
                std::thread::spawn(move || -> Result<usize, WireError> {
                    let mut wire = Wire::connect(&login)?;
                    let mut won = 0;
                    for value in 0..VALUES {
                        let key = value * WRITERS + writer;
                        let sql = format!("INSERT INTO u VALUES ({key}, {value})");
                        // In a block there is no second try: the later one of two that do not see each other gets 40001.
                        let in_block = value % 2 == 0;
                        let inserted = if in_block {
                            wire.simple("BEGIN")
                                .and_then(|_| wire.simple(&sql))
                                .and_then(|_| wire.simple("COMMIT"))
                        } else {
                            wire.simple(&sql)
                        };
                        match inserted {
                            Ok(_) => won += 1,
                            Err(error) => match error.code() {
                                Some("23505") => {}
                                Some("40001") if in_block => {}
                                _ => return Err(error),
                            },
                        }
                        if wire.status != 'I' {
                            wire.simple("ROLLBACK")?;
                        }
                    }
                    Ok(won)
                })
            })
            .collect();
        let mut won = 0;
        for writer in writers {
            won += writer.join().map_err(|_| "writer panicked")??;
        }
        expect_eq("inserts that won", &won, &VALUES)?;
        let distinct = "SELECT count(DISTINCT value) FROM u";
        expect_eq("values", &wire.number(distinct)?, &(VALUES as i64))?;
        expect_eq(
            "rows",
            &wire.number("SELECT count(*) FROM u")?,
            &(VALUES as i64),
        )
    })
}

/// Writers that insert, change and delete rows of their own until told to stop.
fn writers(login: &Login, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<Result<usize, WireError>>> {
    (0..WRITERS)
        .map(|writer| {
            let (login, stop) = (login.clone(), Arc::clone(stop));
            std::thread::spawn(move || {
                let mut wire = Wire::connect(&login)?;
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    let base = 1_000_000 * (writer + 1) + rounds * 10;
                    let own = 1 + (rounds * WRITERS + writer) % 40_000;
                    let statements = [
                        format!("INSERT INTO b SELECT {base} + x, x % 7, {base} + x FROM generate_series(0, 9) AS g(x)"),
                        format!("UPDATE b SET v = v + 1000 WHERE id BETWEEN {base} AND {base} + 4"),
                        format!("UPDATE b SET id = -id WHERE id = {base} + 5"),
                        format!("DELETE FROM b WHERE id = {base} + 6"),
                        format!("UPDATE b SET v = 5000 + v WHERE id = {own}"),
                        format!("DELETE FROM b WHERE id = {own} AND v > 10000"),
                    ];
                    for sql in &statements {
                        match wire.extended(sql, &[], Format::Text) {
                            Ok(_) => {}
                            Err(error) if error.code() == Some("40001") => {}
                            Err(error) => return Err(error),
                        }
                    }
                    rounds += 1;
                }
                Ok(rounds)
            })
        })
        .collect()
}

const BUILT: &str = "CREATE TABLE b (id bigint PRIMARY KEY, v bigint, u bigint);
    INSERT INTO b SELECT x, x % 997, x FROM generate_series(1, 60000) AS g(x)";

/// The index holds what the table holds: by each value, and in all.
fn agrees(wire: &mut Wire, column: &str) -> TestResult {
    let scanned =
        format!("SELECT {column}, count(*), sum(id) FROM b GROUP BY {column} ORDER BY {column}");
    for row in wire.texts(&scanned)? {
        let [value, count, sum] = row.as_slice() else {
            return Err("three columns were asked for".into());
        };
        let sql = format!("SELECT count(*), sum(id) FROM b WHERE {column} = $1::bigint");
        let found = wire.extended(&sql, &[Some(value)], Format::Text)?.texts();
        expect_eq(
            &format!("{column} = {value}"),
            &found,
            &vec![vec![count.clone(), sum.clone()]],
        )?;
    }
    Ok(())
}

fn join(writers: Vec<JoinHandle<Result<usize, WireError>>>) -> Result<usize, Failed> {
    let mut rounds = 0;
    for writer in writers {
        rounds += writer.join().map_err(|_| "writer panicked")??;
    }
    Ok(rounds)
}

fn built_while_writers_go_on() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(BUILT)?;
        let stop = Arc::new(AtomicBool::new(false));
        let writers = writers(&server.login(DATABASE), &stop);
        for round in 0..3 {
            let word = if round == 1 { "CONCURRENTLY" } else { "" };
            wire.simple(&format!("CREATE INDEX {word} b_v ON b (v)"))?;
            agrees_while_written(&mut wire)?;
            if round < 2 {
                wire.simple("DROP INDEX b_v")?;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let rounds = join(writers)?;
        expect(rounds > WRITERS, || {
            format!("writers did {rounds} rounds only")
        })?;
        let plan = wire
            .texts("EXPLAIN SELECT id FROM b WHERE v = 3")?
            .concat()
            .concat();
        expect(plan.contains("index=b_v"), || {
            format!("the index is not used:\n{plan}")
        })?;
        agrees(&mut wire, "v")
    })
}

/// While rows change, one statement sees the same by the index as without it.
fn agrees_while_written(wire: &mut Wire) -> TestResult {
    for value in [3, 500, 996, 1003, 5003] {
        let sql = format!(
            "SELECT (SELECT count(*) FROM b WHERE v = {value}) - \
             (SELECT count(*) FROM b WHERE v + 1 = {value} + 1)"
        );
        expect_eq(&sql, &wire.number(&sql)?, &0)?;
    }
    Ok(())
}

fn unique_built() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(BUILT)?;
        let stop = Arc::new(AtomicBool::new(false));
        let writers = writers(&server.login(DATABASE), &stop);
        wire.simple("CREATE UNIQUE INDEX b_u ON b (u)")?;
        wire.simple("DROP INDEX b_u; UPDATE b SET u = 7 WHERE id = 50000")?;
        let refused = wire.simple("CREATE UNIQUE INDEX b_u ON b (u)");
        stop.store(true, Ordering::Relaxed);
        join(writers)?;
        let code = refused
            .err()
            .and_then(|error| error.code().map(str::to_string));
        expect_eq("two rows have one value", &code.as_deref(), &Some("23505"))?;
        let left = "SELECT count(*) FROM pg_indexes WHERE indexname = 'b_u'";
        expect_eq("what is left of it", &wire.number(left)?, &0)?;
        wire.simple("DELETE FROM b WHERE id = 50000; CREATE UNIQUE INDEX b_u ON b (u)")?;
        let twice = wire.simple("INSERT INTO b VALUES (0, 0, 7)");
        let code = twice
            .err()
            .and_then(|error| error.code().map(str::to_string));
        expect_eq("a duplicate", &code.as_deref(), &Some("23505"))
    })
}

/// Prepared lookups see every write that was acknowledged, of their own session and of others.
fn prepared_lookups() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        wire.simple(
            "CREATE TABLE p (id integer PRIMARY KEY, a integer, b text, n integer); \
             CREATE INDEX p_a ON p (a, b)",
        )?;
        let select = "SELECT id, n + $2 FROM p WHERE a = $1 AND n > 0";
        let whole = "SELECT id FROM p WHERE a = $1 AND b = $2";
        let look = |wire: &mut Wire, sql: &str, values: [&str; 2]| -> Result<Vec<String>, Failed> {
            let values = values.map(Some);
            let mut rows = wire.extended(sql, &values, Format::Text)?.texts();
            rows.sort();
            Ok(rows.into_iter().map(|row| row.join(",")).collect())
        };
        let check = |wire: &mut Wire, sql: &str, values: [&str; 2], expected: &[&str]| {
            // Twice: from the row store, and from the row cache.
            for _ in 0..2 {
                let found = look(wire, sql, values)?;
                expect_eq(
                    sql,
                    &found,
                    &expected.iter().map(|row| (*row).to_string()).collect(),
                )?;
            }
            Ok::<(), Failed>(())
        };
        check(&mut wire, select, ["5", "1"], &[])?;
        other.simple(
            "INSERT INTO p VALUES (1, 5, 'x', 10), (2, 5, 'y', 20), (3, 5, 'x', 0), (4, 6, 'x', 1)",
        )?;
        check(&mut wire, select, ["5", "1"], &["1,11", "2,21"])?;
        check(&mut wire, whole, ["5", "x"], &["1", "3"])?;
        other.simple("UPDATE p SET b = 'x' WHERE id = 2")?;
        check(&mut wire, whole, ["5", "x"], &["1", "2", "3"])?;
        other.simple("DELETE FROM p WHERE id = 1")?;
        check(&mut wire, whole, ["5", "x"], &["2", "3"])?;
        other.simple("UPDATE p SET n = 7 WHERE id = 3")?;
        check(&mut wire, select, ["5", "0"], &["2,20", "3,7"])?;
        wire.simple("BEGIN; INSERT INTO p VALUES (9, 5, 'x', 1); DELETE FROM p WHERE id = 2")?;
        other.simple("DELETE FROM p WHERE id = 3")?;
        check(&mut wire, whole, ["5", "x"], &["3", "9"])?;
        wire.simple("COMMIT")?;
        check(&mut wire, whole, ["5", "x"], &["9"])?;
        // More rows than a lookup keeps in hand.
        other.simple(
            "INSERT INTO p SELECT 100 + x, 5, 'x', 1 FROM generate_series(1, 500) AS g(x)",
        )?;
        expect_eq(
            "many rows",
            &look(&mut wire, whole, ["5", "x"])?.len(),
            &501,
        )?;
        other.simple("DROP INDEX p_a")?;
        expect_eq(
            "without the index",
            &look(&mut wire, whole, ["5", "x"])?.len(),
            &501,
        )
    })
}

/// A prepared write keeps indexes that were made after it was prepared.
fn prepared_writes() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE w (id integer PRIMARY KEY, v integer); \
             PREPARE put (integer, integer) AS INSERT INTO w VALUES ($1, $2) \
             ON CONFLICT (id) DO UPDATE SET v = excluded.v; EXECUTE put (1, 1)",
        )?;
        let put = "INSERT INTO w VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = excluded.v";
        wire.extended(put, &[Some("2"), Some("1")], Format::Text)?;
        let mut other = server.connect()?;
        other.simple("CREATE INDEX w_v ON w (v)")?;
        wire.simple("EXECUTE put (3, 1); EXECUTE put (1, 2)")?;
        wire.extended(put, &[Some("4"), Some("1")], Format::Text)?;
        let found = wire.texts("SELECT id FROM w WHERE v = 1 ORDER BY id")?;
        expect_eq(
            "rows by the index",
            &found,
            &vec![vec!["2".into()], vec!["3".into()], vec!["4".into()]],
        )
    })
}

fn chosen_where_selective() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE s (id integer PRIMARY KEY, rare integer, common integer, t timestamptz); \
             INSERT INTO s SELECT x, x % 1000, x % 3, \
               timestamptz '2024-01-01' + x * interval '1 minute' FROM generate_series(1, 20000) AS g(x); \
             CREATE INDEX s_rare ON s (rare); CREATE INDEX s_common ON s (common, rare DESC); \
             CREATE INDEX s_t ON s (t)",
        )?;
        let mut check = |condition: &str, index: Option<&str>| -> TestResult {
            let plan = wire.texts(&format!("EXPLAIN SELECT id FROM s WHERE {condition}"))?;
            let plan = plan.concat().concat();
            let used = ["s_rare", "s_common", "s_t"].into_iter().find(|name| {
                plan.contains(&format!("index={name},"))
            });
            expect_eq(condition, &used, &index)
        };
        check("rare = 5", Some("s_rare"))?;
        check("rare IN (1, 2, 3)", Some("s_rare"))?;
        check("rare = ANY (ARRAY[1, 2])", Some("s_rare"))?;
        check("rare < 3", Some("s_rare"))?;
        check("rare > 500", None)?;
        check("common = 1", None)?;
        check("common = 1 AND rare = 5", Some("s_common"))?;
        check("common = 1 AND rare BETWEEN 5 AND 6", Some("s_common"))?;
        check("common IN (1, 2) AND rare > 990", Some("s_common"))?;
        check("t BETWEEN '2024-01-03' AND '2024-01-03 01:00:00'", Some("s_t"))?;
        check("rare = 5 AND id = 5", None)?;
        check("rare = 5 AND id < 3", None)?;
        check("id > 5", None)?;
        // A snapshot is scanned much faster, so that fewer rows are fetched.
        check("rare < 40", Some("s_rare"))?;
        wire.simple("CALL nyala.offload('s')")?;
        let plan = wire.texts("EXPLAIN SELECT id FROM s WHERE rare < 40")?.concat().concat();
        expect(!plan.contains("index="), || plan.clone())?;
        let plan = wire.texts("EXPLAIN SELECT id FROM s WHERE rare = 5")?.concat().concat();
        expect(plan.contains("index=s_rare"), || plan.clone())?;
        wire.simple("SET nyala.open_reads = 'snapshot'")?;
        let plan = wire.texts("EXPLAIN SELECT id FROM s WHERE rare = 5")?.concat().concat();
        expect(!plan.contains("index="), || plan.clone())
    })
}

fn last_over_restarts() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE r (id integer PRIMARY KEY, v integer, u text UNIQUE); \
             CREATE INDEX r_v ON r (v); INSERT INTO r VALUES (1, 5, 'a'), (2, 5, 'b'), (3, 6, NULL)",
        )?;
        server.crash()?;
        let mut wire = server.connect()?;
        let found = wire.texts("SELECT id FROM r WHERE v = 5 ORDER BY id")?;
        expect_eq("by r_v", &found, &vec![vec!["1".into()], vec!["2".into()]])?;
        let twice = wire.simple("INSERT INTO r VALUES (4, 1, 'a')");
        let code = twice.err().and_then(|error| error.code().map(str::to_string));
        expect_eq("a duplicate", &code.as_deref(), &Some("23505"))?;
        wire.simple("DROP INDEX r_v; TRUNCATE r; INSERT INTO r VALUES (9, 5, 'a')")?;
        server.restart()?;
        let mut wire = server.connect()?;
        expect_eq("rows", &wire.number("SELECT count(*) FROM r WHERE u = 'a'")?, &1)
    })
}

/// CREATE INDEX in a block has the rows of its snapshot: a write that comes between is a conflict, whoever is first.
fn blocks_conflict() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let mut other = server.connect()?;
        wire.simple(
            "CREATE TABLE k (id integer PRIMARY KEY, v integer); INSERT INTO k VALUES (1, 1)",
        )?;
        wire.simple("BEGIN; CREATE INDEX k_v ON k (v)")?;
        other.simple("INSERT INTO k VALUES (2, 1)")?;
        let code = |result: Result<_, WireError>| {
            result
                .err()
                .and_then(|error| error.code().map(str::to_string))
        };
        let lost = code(wire.simple("COMMIT").map(drop));
        expect_eq(
            "the block that came second",
            &lost.as_deref(),
            &Some("40001"),
        )?;
        other.simple("BEGIN; INSERT INTO k VALUES (3, 1)")?;
        wire.simple("BEGIN; CREATE INDEX k_v ON k (v); COMMIT")?;
        let lost = code(other.simple("COMMIT").map(drop));
        expect_eq(
            "the writer that came second",
            &lost.as_deref(),
            &Some("40001"),
        )?;
        let found = wire.texts("SELECT id FROM k WHERE v = 1 ORDER BY id")?;
        expect_eq("rows", &found, &vec![vec!["1".into()], vec!["2".into()]])
    })
}
