//! FOREIGN KEY constraints under concurrent writers, housekeeping and a kill: at no moment does a row reference one that is not
//! there, and nobody is told anything but that a key is missing, still referenced, taken, or that another writer was first.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::server::{DATABASE, Server};
use crate::harness::wire::{Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq, trial};

const WORKERS: u64 = 4;
const STATEMENTS: u64 = 250;
const KEYS: i64 = 25;

/// What a statement may fail with.
const EXPECTED: [&str; 3] = ["23503", "23505", "40001"];

const SCHEMA: &str = "
    CREATE TABLE parent (id bigint PRIMARY KEY, code bigint, ended boolean) WITH (closed_when = 'ended');
    CREATE TABLE keyed (id bigint PRIMARY KEY, code bigint UNIQUE);
    CREATE TABLE child (id bigserial PRIMARY KEY, parent bigint REFERENCES parent ON UPDATE CASCADE, done boolean) WITH (closed_when = 'done');
    CREATE TABLE goes (id bigserial PRIMARY KEY, parent bigint REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE INDEX ON goes (parent);
    CREATE TABLE empties (parent bigint REFERENCES parent ON DELETE SET NULL ON UPDATE CASCADE, code bigint REFERENCES keyed (code) ON DELETE CASCADE);
    CREATE TABLE tree (id bigint PRIMARY KEY, above bigint REFERENCES tree DEFERRABLE INITIALLY DEFERRED);";

/// Rows that reference none, over all constraints.
const ORPHANS: &str = "
    SELECT (SELECT count(*) FROM child c WHERE parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM parent p WHERE p.id = c.parent))
         + (SELECT count(*) FROM goes g WHERE parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM parent p WHERE p.id = g.parent))
         + (SELECT count(*) FROM empties e WHERE parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM parent p WHERE p.id = e.parent))
         + (SELECT count(*) FROM empties e WHERE code IS NOT NULL AND NOT EXISTS (SELECT 1 FROM keyed k WHERE k.code = e.code))
         + (SELECT count(*) FROM tree t WHERE above IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tree u WHERE u.id = t.above))";

/// The suite.
pub fn trials() -> Vec<Trial> {
    vec![trial("references::concurrent_writers", concurrent_writers)]
}

fn statement(random: &mut StdRng) -> String {
    let a = random.random_range(1..=KEYS);
    let b = random.random_range(1..=KEYS);
    let flag = random.random_bool(0.5);
    match random.random_range(0..16) {
        0 | 1 => format!("INSERT INTO parent VALUES ({a}, {b}, {flag}) ON CONFLICT DO NOTHING"),
        2 => format!("INSERT INTO keyed VALUES ({a}, {b})"),
        3 => format!("INSERT INTO child (parent, done) VALUES ({a}, {flag}), ({b}, false)"),
        4 => format!("INSERT INTO goes (parent) VALUES ({a})"),
        5 => format!("INSERT INTO empties VALUES ({a}, {b})"),
        6 => format!("DELETE FROM parent WHERE id = {a}"),
        7 => format!("UPDATE parent SET id = {b} WHERE id = {a}"),
        8 => format!("UPDATE parent SET ended = {flag} WHERE id = {a}"),
        9 => format!("DELETE FROM keyed WHERE id = {a}"),
        10 => format!("UPDATE child SET parent = {b} WHERE parent = {a}"),
        11 => format!("DELETE FROM child WHERE parent = {a}"),
        12 => format!(
            "BEGIN; DELETE FROM child WHERE parent = {a}; DELETE FROM parent WHERE id = {a}; COMMIT"
        ),
        13 => format!(
            "BEGIN; INSERT INTO goes (parent) VALUES ({a}); UPDATE parent SET code = {b} WHERE id = {a}; COMMIT"
        ),
        14 => format!(
            "BEGIN; INSERT INTO tree VALUES ({a}, {b}); INSERT INTO tree VALUES ({b}, NULL); COMMIT"
        ),
        _ => format!("DELETE FROM tree WHERE id = {a}"),
    }
}

/// How often statements ended in which way.
type Ends = BTreeMap<String, u64>;

fn work(mut wire: Wire, seed: u64) -> Result<Ends, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ends = Ends::new();
    for _ in 0..STATEMENTS {
        let sql = statement(&mut random);
        let end = match wire.simple(&sql) {
            Ok(_) => "done".to_string(),
            Err(error) => {
                let code = error.code().unwrap_or_default().to_string();
                if !EXPECTED.contains(&code.as_str()) {
                    return Err(format!("seed {seed}: {sql}: {error}"));
                }
                if sql.starts_with("BEGIN") {
                    wire.simple("ROLLBACK").map_err(|error| error.to_string())?;
                }
                code
            }
        };
        *ends.entry(end).or_default() += 1;
    }
    Ok(ends)
}

fn concurrent_writers() -> TestResult {
    let mut server = Server::fresh()?;
    let mut wire = server.connect()?;
    wire.simple(SCHEMA)?;
    let login = server.login(DATABASE);
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let login = login.clone();
            std::thread::spawn(move || {
                let wire = Wire::connect(&login).map_err(|error| error.to_string())?;
                work(wire, 4_700 + worker)
            })
        })
        .collect();
    let mut looks = 0;
    while looks < 3 || workers.iter().any(|worker| !worker.is_finished()) {
        expect_eq("orphans meanwhile", &wire.number(ORPHANS)?, &0)?;
        for table in ["parent", "child"] {
            // A run that has begun is told from one that waits: neither is an error here.
            wire.simple(&format!("CALL nyala.housekeeping('{table}')"))?;
        }
        looks += 1;
    }
    let mut ends = Ends::new();
    for worker in workers {
        let of_one = worker
            .join()
            .map_err(|_| Failed::from("a worker panicked"))??;
        for (end, count) in of_one {
            *ends.entry(end).or_default() += count;
        }
    }
    for end in ["done", "23503", "23505"] {
        expect(ends.get(end).is_some_and(|count| *count > 10), || {
            format!("hardly a statement ended with {end}: {ends:?}")
        })?;
    }
    expect_eq("orphans", &wire.number(ORPHANS)?, &0)?;
    let rows = "SELECT (SELECT count(*) FROM child) + (SELECT count(*) FROM goes)";
    let before = wire.number(rows)?;
    expect(before > 0, || "nothing references anything".to_string())?;
    server.crash()?;
    let mut wire = server.connect()?;
    expect_eq("rows after a kill", &wire.number(rows)?, &before)?;
    expect_eq("orphans after a kill", &wire.number(ORPHANS)?, &0)?;
    let unknown = wire.simple("INSERT INTO goes (parent) VALUES (-1)");
    let code = unknown.as_ref().err().and_then(WireError::code);
    expect_eq("code", &code, &Some("23503"))
}
