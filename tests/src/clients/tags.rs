//! Command tags: what PostgreSQL answers for the same statement, Nyala must answer.

use libtest_mimic::Trial;

use crate::harness::shared::Engine;
use crate::harness::wire::{Format, Wire, WireError};
use crate::harness::{TestResult, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("tags::simple", || {
            compare("tags_simple", |wire, sql| last_tag(wire.query(sql)))
        }),
        trial("tags::extended", || {
            compare("tags_extended", |wire, sql| {
                last_tag(wire.extended(sql, &[], Format::Text))
            })
        }),
        trial("tags::several_statements", several_statements),
    ]
}

/// In order; later statements rely on earlier ones.
const STATEMENTS: &[&str] = &[
    "CREATE TABLE t (id integer PRIMARY KEY, v text)",
    "CREATE TABLE IF NOT EXISTS t (id integer)",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO t VALUES (3, 'c') RETURNING id",
    "INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING",
    "INSERT INTO t VALUES (1, 'x'), (9, 'y') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
    "SELECT * FROM t",
    "SELECT * FROM t WHERE false",
    "VALUES (1), (2)",
    "TABLE t",
    "WITH c AS (SELECT 1) SELECT * FROM c",
    "UPDATE t SET v = 'u' WHERE id <= 2",
    "UPDATE t SET v = 'u' WHERE false",
    "UPDATE t SET v = 'r' RETURNING v",
    "DELETE FROM t WHERE id = 3",
    "DELETE FROM t WHERE id = 9 RETURNING *",
    "CREATE TABLE made AS SELECT * FROM t",
    "CREATE TABLE empty AS SELECT * FROM t WHERE false",
    "CREATE VIEW w AS SELECT 1 AS one",
    "CREATE OR REPLACE VIEW w AS SELECT 2 AS one",
    "CREATE SCHEMA s",
    "CREATE SCHEMA IF NOT EXISTS s",
    "BEGIN",
    "SAVEPOINT a",
    "ROLLBACK TO SAVEPOINT a",
    "RELEASE SAVEPOINT a",
    "COMMIT",
    "START TRANSACTION",
    "ROLLBACK",
    "BEGIN",
    "SELECT 1/0",
    "COMMIT",
    "BEGIN READ ONLY",
    "END",
    "SET application_name = 'x'",
    "SHOW application_name",
    "RESET application_name",
    "RESET ALL",
    "EXPLAIN SELECT 1",
    "TRUNCATE made",
    "DROP VIEW w",
    "DROP TABLE made, empty",
    "DROP TABLE IF EXISTS made",
    "DROP SCHEMA s",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "DISCARD ALL",
    "",
];

fn last_tag(reply: Result<crate::harness::wire::Reply, WireError>) -> Result<String, WireError> {
    match reply {
        Ok(reply) => Ok(reply.tag.unwrap_or_else(|| "(none)".into())),
        Err(error) => error.code().map(str::to_string).ok_or(error),
    }
}

fn compare(
    database: &str,
    tag: impl Fn(&mut Wire, &str) -> Result<String, WireError>,
) -> TestResult {
    let mut nyala = Wire::connect(&Engine::Nyala.create_database(database)?)?;
    let mut postgres = Wire::connect(&Engine::Postgres.create_database(database)?)?;
    let mut differences = Vec::new();
    for sql in STATEMENTS {
        let expected = tag(&mut postgres, sql)?;
        let got = tag(&mut nyala, sql)?;
        if got != expected {
            differences.push(format!("{sql:?}: expected {expected:?}, got {got:?}"));
        }
        if nyala.status != postgres.status {
            let (got, expected) = (nyala.status, postgres.status);
            differences.push(format!("{sql:?}: transaction status {expected}, got {got}"));
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences.join("\n").into())
    }
}

fn several_statements() -> TestResult {
    let sql = "CREATE TABLE t (id integer); INSERT INTO t VALUES (1), (2); SELECT * FROM t; \
               UPDATE t SET id = 5; ; DROP TABLE t";
    let mut tags = Vec::new();
    for engine in [Engine::Postgres, Engine::Nyala] {
        let mut wire = Wire::connect(&engine.create_database("tags_several")?)?;
        let replies = wire.simple(sql)?;
        tags.push(
            replies
                .into_iter()
                .map(|reply| reply.tag)
                .collect::<Vec<_>>(),
        );
    }
    expect_eq("tags of one query string", &tags[1], &tags[0])
}
