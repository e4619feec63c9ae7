//! What sessions do to each other: advisory locks that are waited for, sessions that are cancelled and terminated, notifications
//! to idle clients, and clients that keep a transaction waiting.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use libtest_mimic::Trial;
use postgres_protocol::message::frontend;

use crate::harness::server::Server;
use crate::harness::wire::{Message, Wire, WireError};
use crate::harness::{TestResult, expect, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "sessions::advisory_locks_are_waited_for",
            locks_are_waited_for,
        ),
        trial("sessions::waits_for_locks_end", waits_for_locks_end),
        trial("sessions::terminated", terminated),
        trial("sessions::idle_clients_are_told", idle_clients_are_told),
        trial("sessions::idle_clients_end", idle_clients_end),
        trial("sessions::serializable_has_no_write_skew", no_write_skew),
        trial("sessions::cached_plan_has_its_routine", cached_plan),
    ]
}

/// Time for a statement to be under way; too short only weakens the test.
const UNDER_WAY: Duration = Duration::from_millis(400);

fn start(wire: &mut Wire, sql: &str) -> TestResult {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out)?;
    wire.send(&out)?;
    std::thread::sleep(UNDER_WAY);
    Ok(())
}

fn code_of<T>(result: Result<T, WireError>) -> Option<String> {
    let error = result.err()?;
    error.code().map(str::to_string)
}

fn code(text: &str) -> Option<String> {
    Some(text.to_string())
}

/// The SQLSTATE that the server ends a connection with.
fn last_code(wire: &mut Wire) -> Result<Option<String>, WireError> {
    loop {
        match wire.receive()? {
            Message::Error(error) => return Ok(Some(error.code)),
            Message::Ready(_) => return Ok(None),
            _ => {}
        }
    }
}

fn waiting(wire: &mut Wire) -> Result<i64, WireError> {
    wire.number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
}

fn locks_are_waited_for() -> TestResult {
    Server::fresh()?.scope(|server| {
        let (mut one, mut other) = (server.connect()?, server.connect()?);
        one.simple("SELECT pg_advisory_lock(1)")?;
        start(&mut other, "SELECT pg_advisory_lock(1)")?;
        expect_eq("waiting", &waiting(&mut one)?, &1)?;
        one.simple("SELECT pg_advisory_unlock(1)")?;
        other.collect(&[])?;
        // A transaction's lock is free when the transaction ends, a session's when the session does.
        other.simple("BEGIN; SELECT pg_advisory_xact_lock(2)")?;
        start(&mut one, "SELECT pg_advisory_lock(2)")?;
        other.simple("ROLLBACK")?;
        one.collect(&[])?;
        start(&mut one, "SELECT pg_advisory_lock(1)")?;
        other.terminate();
        one.collect(&[])?;
        expect_eq("waiting", &waiting(&mut one)?, &0)
    })
}

fn waits_for_locks_end() -> TestResult {
    Server::fresh()?.scope(|server| {
        let (mut one, mut other) = (server.connect()?, server.connect()?);
        one.simple("SELECT pg_advisory_lock(1)")?;
        other.simple("SET lock_timeout = '200ms'")?;
        let late = code_of(other.simple("SELECT pg_advisory_lock(1)"));
        expect_eq("lock_timeout", &late, &code("55P03"))?;
        other.simple("RESET lock_timeout; SET statement_timeout = '200ms'")?;
        let late = code_of(other.simple("SELECT pg_advisory_lock(1)"));
        expect_eq("statement_timeout", &late, &code("57014"))?;
        other.simple("RESET statement_timeout")?;
        start(&mut other, "SELECT pg_advisory_lock(1)")?;
        Wire::cancel(server.port(), other.key)?;
        let cancelled = code_of(other.collect(&[]));
        expect_eq("cancelled", &cancelled, &code("57014"))?;
        // One of two that wait for each other fails.
        other.simple("SELECT pg_advisory_lock(2)")?;
        start(&mut other, "SELECT pg_advisory_lock(1)")?;
        let refused = code_of(one.simple("SELECT pg_advisory_lock(2)"));
        expect_eq("deadlock", &refused, &code("40P01"))?;
        one.simple("SELECT pg_advisory_unlock_all()")?;
        other.collect(&[])?;
        // Nobody who gave up is in the queue still.
        expect_eq("waiting", &waiting(&mut one)?, &0)
    })
}

fn terminated() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut one = server.connect()?;
        for sql in ["SELECT pg_sleep(60)", "BEGIN"] {
            let mut other = server.connect()?;
            start(&mut other, sql)?;
            if sql == "BEGIN" {
                other.collect(&[])?;
            }
            let ended = one.number(&format!(
                "SELECT pg_terminate_backend({}, 5000)::int",
                other.key.0
            ))?;
            expect_eq("ended", &ended, &1)?;
            expect_eq(sql, &last_code(&mut other)?, &code("57P01"))?;
        }
        Ok(())
    })
}

fn idle_clients_are_told() -> TestResult {
    Server::fresh()?.scope(|server| {
        let (mut one, mut other) = (server.connect()?, server.connect()?);
        other.simple("LISTEN news")?;
        one.simple("BEGIN; NOTIFY news, 'a'; NOTIFY news, 'a'; SELECT pg_notify('news', 'b')")?;
        one.simple("COMMIT")?;
        one.simple("BEGIN; NOTIFY news, 'never'; ROLLBACK")?;
        for payload in ["a", "b"] {
            match other.receive()? {
                Message::Notification(sender, channel, told) => {
                    expect_eq("sender", &sender, &one.key.0)?;
                    expect_eq("channel", &channel.as_str(), &"news")?;
                    expect_eq("payload", &told.as_str(), &payload)?;
                }
                _ => return Err("not a notification".into()),
            }
        }
        Ok(())
    })
}

fn idle_clients_end() -> TestResult {
    Server::fresh()?.scope(|server| {
        for (setting, before, expected) in [
            ("idle_in_transaction_session_timeout", "BEGIN", "25P03"),
            ("idle_session_timeout", "SELECT 1", "57P05"),
        ] {
            let mut wire = server.connect()?;
            wire.simple(&format!("SET {setting} = '200ms'"))?;
            wire.simple(before)?;
            let since = Instant::now();
            expect_eq(setting, &last_code(&mut wire)?, &code(expected))?;
            let waited = since.elapsed();
            expect(waited > Duration::from_millis(100), || {
                format!("{waited:?}")
            })?;
        }
        Ok(())
    })
}

fn no_write_skew() -> TestResult {
    Server::fresh()?.scope(|server| {
        let (mut one, mut other) = (server.connect()?, server.connect()?);
        one.simple("CREATE TABLE t (id integer PRIMARY KEY, v integer)")?;
        one.simple("INSERT INTO t VALUES (1, 1), (2, 1); CREATE VIEW w AS SELECT v FROM t")?;
        for (level, expected) in [("REPEATABLE READ", None), ("SERIALIZABLE", code("40001"))] {
            for wire in [&mut one, &mut other] {
                wire.simple(&format!("BEGIN ISOLATION LEVEL {level}"))?;
                expect_eq("both", &wire.number("SELECT sum(v)::bigint FROM w")?, &2)?;
            }
            one.simple("UPDATE t SET v = 0 WHERE id = 1")?;
            other.simple("UPDATE t SET v = 0 WHERE id = 2")?;
            one.simple("COMMIT")?;
            expect_eq(level, &code_of(other.simple("COMMIT")), &expected)?;
            one.simple("UPDATE t SET v = 1")?;
        }
        // What only reads, and what only adds rows, goes side by side.
        for wire in [&mut one, &mut other] {
            wire.simple("BEGIN ISOLATION LEVEL SERIALIZABLE")?;
        }
        one.simple("INSERT INTO t VALUES (3, 1)")?;
        other.simple("INSERT INTO t VALUES (4, 1)")?;
        one.simple("COMMIT")?;
        other.simple("COMMIT")?;
        Ok(())
    })
}

fn cached_plan() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("CREATE TABLE t (a integer)")?;
        wire.simple("PREPARE p AS SELECT * FROM t; ALTER TABLE t ADD COLUMN b integer")?;
        match wire.simple("EXECUTE p") {
            Err(WireError::Db(error)) => {
                expect_eq("code", &error.code.as_str(), &"0A000")?;
                let routine = error.routine.as_deref();
                expect_eq("routine", &routine, &Some("RevalidateCachedQuery"))
            }
            _ => Err("the plan did not change".into()),
        }
    })
}
