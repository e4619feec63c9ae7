//! RowDescription names the table and the column that a result column comes from, as PostgreSQL's does.

use libtest_mimic::Trial;

use crate::harness::shared::{self, Engine};
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    let on = |engine: Engine| {
        trial(format!("origins::{}", engine.name()), move || {
            let login = engine.create_database("origins")?;
            origins(&mut Wire::connect(&login)?)
                .map_err(|failure| shared::explain(failure.message().unwrap_or("failed")))
        })
    };
    vec![on(Engine::Nyala), on(Engine::Postgres)]
}

/// Queries with the origins of their columns; `-` is none.
const QUERIES: &[(&str, &[&str])] = &[
    ("SELECT * FROM t", &["t.id", "t.name"]),
    (
        "SELECT name, 1, id + 1, id AS other FROM t AS x WHERE id > 0 ORDER BY name LIMIT 1",
        &["t.name", "-", "-", "t.id"],
    ),
    (
        "SELECT u.v, t.name FROM t LEFT JOIN u ON t.id = u.id",
        &["u.v", "t.name"],
    ),
    (
        "SELECT u.v, t.name FROM t JOIN u USING (id)",
        &["u.v", "t.name"],
    ),
    (
        "SELECT s.name FROM (SELECT name, id FROM t) AS s",
        &["t.name"],
    ),
    ("SELECT DISTINCT name FROM t", &["t.name"]),
    (
        "SELECT name, count(*) FROM t GROUP BY name",
        &["t.name", "-"],
    ),
    (
        "SELECT id, row_number() OVER (ORDER BY id) FROM t",
        &["t.id", "-"],
    ),
    ("WITH w AS (SELECT id FROM t) SELECT id FROM w", &["t.id"]),
    ("SELECT id FROM t UNION SELECT id FROM u", &["-"]),
    ("SELECT n, k, upper(n) FROM vw", &["vw.n", "vw.k", "-"]),
    ("SELECT x.k FROM vw AS x JOIN t ON x.k = t.id", &["vw.k"]),
    (
        "SELECT relname FROM pg_class LIMIT 1",
        &["pg_class.relname"],
    ),
    ("SELECT s.vw.id FROM s.vw", &["vw.id"]),
    ("VALUES (1)", &["-"]),
];

fn origins(wire: &mut Wire) -> TestResult {
    wire.simple(
        "CREATE TABLE t (id integer PRIMARY KEY, name text); CREATE TABLE u (id integer PRIMARY KEY, v integer); \
         CREATE VIEW vw AS SELECT name AS n, id + 1 AS k FROM t; CREATE SCHEMA s; \
         CREATE TABLE s.vw (x integer PRIMARY KEY, id integer)",
    )?;
    for (sql, expected) in QUERIES {
        let (_, prepared) = wire.prepare("", sql)?;
        let queried = wire.query(sql)?.columns;
        expect_eq(&format!("{sql}: by both protocols"), &queried, &prepared)?;
        let mut found = Vec::new();
        for column in prepared.unwrap_or_default() {
            let (relation, number) = column.origin;
            let names = wire.texts(&format!(
                "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
                 WHERE c.oid = {relation} AND a.attnum = {number}"
            ))?;
            let name = names.first().and_then(|row| row.first());
            found.push(name.cloned().unwrap_or_else(|| "-".to_string()));
        }
        let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        expect_eq(sql, &found, &expected)?;
    }
    Ok(())
}
