//! A running statement can be stopped: by CancelRequest, by psql's Ctrl-C, by `statement_timeout`,
//! by the client going away. It must stop while planning, while computing and while streaming.

use std::time::Duration;

use bytes::BytesMut;
use libtest_mimic::Trial;
use postgres_protocol::message::frontend;

use super::psql::{Printed, start};
use crate::harness::server::{DATABASE, Server};
use crate::harness::wire::{Message, Wire};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("cancel::request_while_computing", request_while_computing),
        trial("cancel::request_while_streaming", request_while_streaming),
        trial("cancel::wrong_key_is_ignored", wrong_key_is_ignored),
        trial("cancel::statement_timeout", statement_timeout),
        trial("cancel::psql_interrupt", psql_interrupt),
        trial("cancel::vanished_client", vanished_client),
    ]
}

/// Minutes of work without a single row in between.
const LONG_QUERY: &str = "SELECT count(*) FROM generate_series(1, 1000000) AS a(x), \
                          generate_series(1, 1000000) AS b(y) WHERE (x + y) % 7 = 3";
/// More rows than any buffer between server and client holds.
const MANY_ROWS: &str = "SELECT x, repeat('r', 200) FROM generate_series(1, 50000000) AS g(x)";
/// Time for a statement to be under way; too short only weakens the test.
const UNDER_WAY: Duration = Duration::from_millis(700);

fn query(wire: &mut Wire, sql: &str) -> TestResult {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out)?;
    Ok(wire.send(&out)?)
}

fn expect_cancelled(wire: &mut Wire, what: &str) -> TestResult {
    match wire.collect(&[]) {
        Ok(_) => Err(format!("{what}: the statement was not cancelled").into()),
        Err(error) => {
            expect_eq(&format!("{what}: {error}"), &error.code(), &Some("57014"))?;
            expect_eq(
                "the connection works afterwards",
                &wire.number("SELECT 5")?,
                &5,
            )
        }
    }
}

fn request_while_computing() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        query(&mut wire, LONG_QUERY)?;
        std::thread::sleep(UNDER_WAY);
        Wire::cancel(server.port(), wire.key)?;
        expect_cancelled(&mut wire, "computing")?;

        // A cancelled statement leaves nothing behind, and its transaction is failed.
        wire.simple("CREATE TABLE t (n bigint)")?;
        query(&mut wire, &format!("INSERT INTO t {LONG_QUERY}"))?;
        std::thread::sleep(UNDER_WAY);
        Wire::cancel(server.port(), wire.key)?;
        expect_cancelled(&mut wire, "INSERT … SELECT")?;
        expect_eq("rows", &wire.number("SELECT count(*) FROM t")?, &0)?;
        wire.simple("BEGIN")?;
        query(&mut wire, LONG_QUERY)?;
        std::thread::sleep(UNDER_WAY);
        Wire::cancel(server.port(), wire.key)?;
        let error = wire.collect(&[]).err();
        expect_eq(
            "cancelled",
            &error.as_ref().and_then(|e| e.code()),
            &Some("57014"),
        )?;
        expect_eq("transaction status", &wire.status, &'E')?;
        wire.simple("ROLLBACK")?;

        // A request that comes too late stops nothing.
        Wire::cancel(server.port(), wire.key)?;
        expect_eq(
            "next statement",
            &wire.number("SELECT count(*) FROM t")?,
            &0,
        )
    })
}

fn request_while_streaming() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        query(&mut wire, MANY_ROWS)?;
        expect(matches!(wire.receive()?, Message::Columns(_)), || {
            "no columns came first".into()
        })?;
        let mut rows = 0;
        while rows < 1000 {
            match wire.receive()? {
                Message::Data(_) => rows += 1,
                other => return Err(format!("after {rows} rows: {other:?}").into()),
            }
        }
        Wire::cancel(server.port(), wire.key)?;
        expect_cancelled(&mut wire, "streaming")
    })
}

fn wrong_key_is_ignored() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let (process, secret) = wire.key;
        query(
            &mut wire,
            "SELECT count(*) FROM generate_series(1, 3000000)",
        )?;
        Wire::cancel(server.port(), (process, secret.wrapping_add(1)))?;
        Wire::cancel(server.port(), (process.wrapping_add(1), secret))?;
        let replies = wire.collect(&[])?;
        expect_eq(
            "result",
            &replies[0].texts(),
            &vec![vec!["3000000".to_string()]],
        )
    })
}

fn statement_timeout() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("SET statement_timeout = 300")?;
        query(&mut wire, LONG_QUERY)?;
        let error = match wire.collect(&[]) {
            Ok(_) => return Err("statement_timeout did not stop the statement".into()),
            Err(error) => error,
        };
        expect_eq("code", &error.code(), &Some("57014"))?;
        expect_contains(
            "message",
            &error.to_string(),
            "canceling statement due to statement timeout",
        )?;
        query(&mut wire, MANY_ROWS)?;
        expect_cancelled(&mut wire, "timeout while streaming")?;
        let extended = wire.extended(LONG_QUERY, &[], crate::harness::wire::Format::Text);
        let code = extended.as_ref().err().and_then(|error| error.code());
        expect_eq("extended protocol", &code, &Some("57014"))?;
        wire.simple("SET statement_timeout = 0")?;
        expect_eq(
            "without timeout",
            &wire.number("SELECT count(*) FROM generate_series(1, 2000000)")?,
            &2_000_000,
        )
    })
}

fn psql_interrupt() -> TestResult {
    Server::fresh()?.scope(|server| {
        let psql = start(&server.login(DATABASE), &["-c", LONG_QUERY])?;
        // psql must have connected and sent its query before the signal means "cancel".
        std::thread::sleep(UNDER_WAY * 3);
        crate::harness::process::signal(psql.id(), "INT")?;
        let printed = Printed::from(psql.finish(Duration::from_secs(60))?);
        expect_contains(
            "psql",
            &printed.err,
            "ERROR:  canceling statement due to user request",
        )?;
        expect_eq("status", &printed.code, &Some(1))
    })
}

/// A client that disappears must not leave its statement running.
fn vanished_client() -> TestResult {
    const CLIENTS: usize = 4;
    Server::fresh()?.scope(|server| {
        for _ in 0..CLIENTS {
            let mut wire = server.connect()?;
            query(&mut wire, LONG_QUERY)?;
            drop(wire);
        }
        let mut wire = server.connect()?;
        // SIGTERM waits for running statements; it ends soon only if none of the four still runs.
        expect_eq("the server answers", &wire.number("SELECT 1")?, &1)?;
        drop(wire);
        std::thread::sleep(UNDER_WAY);
        let status = server.terminate()?;
        expect(status.success(), || format!("SIGTERM ended with {status}"))
    })
}
