//! What a script cannot show of sequences, constraints, comments and temporary tables: that values are given out once over
//! concurrent sessions, crashes and restarts, that definitions are durable, and what errors name.

use std::collections::HashSet;

use libtest_mimic::{Failed, Trial};

use crate::harness::server::{DATABASE, Server};
use crate::harness::wire::{Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq, trial};

/// The suite.
pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "constraints::values_are_given_out_once",
            values_are_given_out_once,
        ),
        trial(
            "constraints::a_stopped_server_skips_no_value",
            a_stopped_server_skips_no_value,
        ),
        trial(
            "constraints::definitions_are_durable",
            definitions_are_durable,
        ),
        trial(
            "constraints::errors_name_the_schema",
            errors_name_the_schema,
        ),
        trial(
            "constraints::temporary_rows_go_with_the_session",
            temporary_rows_go,
        ),
    ]
}

fn values_are_given_out_once() -> TestResult {
    let mut server = Server::fresh()?;
    server
        .connect()?
        .simple("CREATE SEQUENCE s; CREATE TABLE t (id bigserial PRIMARY KEY, n int)")?;
    let mut seen: HashSet<String> = HashSet::new();
    for round in 0..3 {
        let login = server.login(DATABASE);
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let login = login.clone();
                std::thread::spawn(move || -> Result<Vec<String>, String> {
                    let mut wire = Wire::connect(&login).map_err(|error| error.to_string())?;
                    let mut values = Vec::new();
                    for at in 0..60 {
                        let sql = match at % 3 {
                            0 => "BEGIN; SELECT nextval('s'); ROLLBACK",
                            1 => "SELECT nextval('s') FROM generate_series(1, 7)",
                            _ => "INSERT INTO t (n) VALUES (1), (2)",
                        };
                        let replies = wire
                            .simple(sql)
                            .map_err(|error| format!("{worker}: {error}"))?;
                        for reply in replies {
                            values.extend(reply.texts().into_iter().flatten());
                        }
                    }
                    Ok(values)
                })
            })
            .collect();
        for worker in workers {
            let values = worker
                .join()
                .map_err(|_| Failed::from("a worker panicked"))??;
            for value in values {
                expect(seen.insert(value.clone()), || {
                    format!("round {round}: value {value} was given out twice")
                })?;
            }
        }
        server.crash()?;
    }
    let mut wire = server.connect()?;
    expect_eq(
        "rows",
        &wire.number("SELECT count(*) FROM t")?,
        &(3 * 4 * 20 * 2),
    )?;
    expect_eq(
        "keys",
        &wire.number("SELECT count(DISTINCT id) FROM t")?,
        &(3 * 4 * 20 * 2),
    )?;
    // A crash skips what was reserved at the most.
    let last = wire.number("SELECT nextval('s')")?;
    let given = i64::try_from(seen.len())?;
    expect(last <= given + 3 * 2_048 + 1, || {
        format!("{given} values were given out, and the next one is {last}")
    })
}

fn a_stopped_server_skips_no_value() -> TestResult {
    let mut server = Server::fresh()?;
    let mut wire = server.connect()?;
    wire.simple("CREATE SEQUENCE s INCREMENT BY 3 START WITH 10")?;
    for expected in [10, 13, 16] {
        expect_eq("value", &wire.number("SELECT nextval('s')")?, &expected)?;
    }
    wire.terminate();
    server.restart()?;
    let mut wire = server.connect()?;
    expect_eq("value", &wire.number("SELECT nextval('s')")?, &19)?;
    wire.simple("SELECT setval('s', 100)")?;
    server.crash()?;
    let mut wire = server.connect()?;
    expect_eq("value", &wire.number("SELECT nextval('s')")?, &103)
}

fn definitions_are_durable() -> TestResult {
    let mut server = Server::fresh()?;
    let mut wire = server.connect()?;
    wire.simple(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int CONSTRAINT low CHECK (n < 10));\
         COMMENT ON TABLE t IS 'table'; COMMENT ON COLUMN t.n IS 'column'; COMMENT ON CONSTRAINT low ON t IS 'check'",
    )?;
    server.crash()?;
    let mut wire = server.connect()?;
    let refused = wire.simple("INSERT INTO t (n) VALUES (10)");
    expect(refused.is_err(), || "the constraint is gone".to_string())?;
    wire.simple("INSERT INTO t (n) VALUES (9)")?;
    let refused = wire.simple("INSERT INTO t (id, n) VALUES (5, 9)");
    expect(refused.is_err(), || "the identity is gone".to_string())?;
    let texts = wire.texts(
        "SELECT obj_description('t'::regclass), col_description('t'::regclass, 2), \
         (SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'low')",
    )?;
    expect_eq(
        "comments",
        &texts,
        &vec![["table", "column", "check"].map(String::from).to_vec()],
    )
}

fn errors_name_the_schema() -> TestResult {
    let server = Server::fresh()?;
    let mut wire = server.connect()?;
    wire.simple(
        "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int NOT NULL CHECK (n > 0), u int UNIQUE);\
         INSERT INTO app.t VALUES (1, 1, 1)",
    )?;
    for (sql, code) in [
        ("INSERT INTO app.t VALUES (1, 1, 2)", "23505"),
        ("INSERT INTO app.t VALUES (2, 1, 1)", "23505"),
        ("INSERT INTO app.t VALUES (2, NULL, 2)", "23502"),
        ("INSERT INTO app.t VALUES (2, 0, 2)", "23514"),
        ("UPDATE app.t SET n = 0", "23514"),
        ("ALTER TABLE app.t ADD CHECK (n > 1)", "23514"),
    ] {
        let error = match wire.simple(sql) {
            Err(error) => error,
            Ok(_) => return Err(format!("{sql} must fail").into()),
        };
        let WireError::Db(error) = error else {
            return Err(format!("{sql}: {error}").into());
        };
        expect_eq("code", &error.code.as_str(), &code)?;
        expect_eq(sql, &error.schema.as_deref(), &Some("app"))?;
        expect_eq(sql, &error.table.as_deref(), &Some("t"))?;
    }
    Ok(())
}

fn temporary_rows_go() -> TestResult {
    let mut server = Server::fresh()?;
    let mut wire = server.connect()?;
    let mut other = server.connect()?;
    wire.simple("CREATE TEMP TABLE mine (id serial PRIMARY KEY, n int); INSERT INTO mine (n) SELECT g FROM generate_series(1, 100) g")?;
    expect_eq("rows", &wire.number("SELECT count(*) FROM mine")?, &100)?;
    let unseen = other.simple("SELECT * FROM mine");
    expect(unseen.is_err(), || {
        "another session sees the table".to_string()
    })?;
    other.simple("CREATE TEMP TABLE mine (other text); INSERT INTO mine VALUES ('x')")?;
    expect_eq("rows", &wire.number("SELECT count(*) FROM mine")?, &100)?;
    wire.terminate();
    expect_eq("rows", &other.number("SELECT count(*) FROM mine")?, &1)?;
    server.crash()?;
    let mut wire = server.connect()?;
    let gone = wire.simple("SELECT * FROM mine");
    expect(gone.is_err(), || {
        "a temporary table outlives its server".to_string()
    })?;
    expect_eq(
        "relations",
        &wire.number("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")?,
        &0,
    )
}
