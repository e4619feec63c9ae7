//! The protocol message by message: what a driver relies on and no driver shows.

use bytes::BytesMut;
use libtest_mimic::Trial;
use postgres_protocol::message::frontend;

use crate::harness::shared::{self, Engine};
use crate::harness::wire::{Format, Message, Wire, WireError, bind};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    let named = |name: &str, body: fn() -> TestResult| {
        trial(format!("wire::{name}"), move || {
            body().map_err(|failure| shared::explain(failure.message().unwrap_or("failed")))
        })
    };
    vec![
        named("startup_parameters", startup_parameters),
        named("describe", describe),
        named("portal_suspension", portal_suspension),
        named("error_skips_to_sync", error_skips_to_sync),
        named("pipeline_is_one_transaction", pipeline_is_one_transaction),
        named("named_statements_and_portals", named_statements_and_portals),
        named("empty_queries", empty_queries),
        named(
            "multi_statement_is_refused_in_parse",
            multi_statement_is_refused_in_parse,
        ),
        named("sessions_are_separate", sessions_are_separate),
        named("garbage_is_survived", garbage_is_survived),
        named("large_values", large_values),
    ]
}

fn connect(database: &str) -> Result<Wire, libtest_mimic::Failed> {
    Ok(Wire::connect(&Engine::Nyala.create_database(database)?)?)
}

fn startup_parameters() -> TestResult {
    let mut login = Engine::Nyala.create_database("wire_startup")?;
    login.parameters = vec![
        ("application_name".into(), "wire test".into()),
        ("client_encoding".into(), "UTF8".into()),
        ("options".into(), "-c statement_timeout=12345".into()),
    ];
    let mut wire = Wire::connect(&login)?;
    for (name, expected) in [
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("application_name", "wire test"),
        ("TimeZone", "UTC"),
    ] {
        let got = wire.parameters.get(name).map(String::as_str);
        expect_eq(&format!("ParameterStatus {name}"), &got, &Some(expected))?;
    }
    let version = wire
        .parameters
        .get("server_version")
        .cloned()
        .unwrap_or_default();
    expect(
        version
            .split('.')
            .next()
            .is_some_and(|v| v.parse::<u32>().is_ok()),
        || format!("drivers parse server_version as a number, got {version:?}"),
    )?;
    expect(
        wire.parameters
            .get("DateStyle")
            .is_some_and(|s| s.starts_with("ISO")),
        || "drivers parse dates as ISO".into(),
    )?;
    expect_eq(
        "options",
        &wire.texts("SHOW statement_timeout")?,
        &vec![vec!["12345ms".into()]],
    )?;
    wire.simple("SET application_name = 'reported'")?;
    let got = wire.parameters.get("application_name").map(String::as_str);
    expect_eq("a change is reported", &got, &Some("reported"))
}

fn describe() -> TestResult {
    let mut wire = connect("wire_describe")?;
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY, price numeric(12,2), name varchar(20))")?;
    let (types, columns) = wire.prepare("a", "SELECT id, price, name AS n FROM t WHERE id = $1")?;
    expect_eq("parameter types", &types, &vec![23])?;
    let columns = columns.ok_or("no columns described")?;
    let found: Vec<_> = columns
        .iter()
        .map(|c| (c.name.as_str(), c.type_oid, c.type_modifier))
        .collect();
    let numeric_12_2 = ((12 << 16) | 2) + 4;
    let expected = vec![
        ("id", 23, -1),
        ("price", 1700, numeric_12_2),
        ("n", 1043, 24),
    ];
    expect_eq("columns", &found, &expected)?;
    let (types, columns) = wire.prepare("b", "INSERT INTO t VALUES ($1, $2, $3)")?;
    expect_eq("parameter types", &types, &vec![23, 1700, 1043])?;
    expect_eq("INSERT returns no rows", &columns, &None)?;
    let (_, columns) = wire.prepare("c", "DELETE FROM t RETURNING name")?;
    expect_eq(
        "RETURNING has columns",
        &columns.map(|columns| columns.len()),
        &Some(1),
    )?;
    // Describing must not run anything.
    expect_eq("rows", &wire.number("SELECT count(*) FROM t")?, &0)?;
    let described = wire.prepare("d", "BEGIN")?;
    expect_eq("BEGIN", &described, &(vec![], None))?;
    expect_eq("still outside a transaction", &wire.status, &'I')
}

fn portal_suspension() -> TestResult {
    let mut wire = connect("wire_portal")?;
    let mut out = BytesMut::new();
    frontend::parse(
        "",
        "SELECT x FROM generate_series(1, 10) AS g(x) ORDER BY x",
        [],
        &mut out,
    )?;
    bind("p", "", &[], &[], &mut out)?;
    for _ in 0..3 {
        frontend::execute("p", 4, &mut out)?;
    }
    frontend::sync(&mut out);
    wire.send(&out)?;
    let replies = wire.collect(&[])?;
    let got: Vec<_> = replies
        .iter()
        .map(|r| (r.rows.len(), r.suspended, r.tag.clone()))
        .collect();
    let expected = vec![
        (4, true, None),
        (4, true, None),
        (2, false, Some("SELECT 2".to_string())),
    ];
    expect_eq("suspensions", &got, &expected)?;
    expect_eq(
        "the third part",
        &replies[2].texts(),
        &vec![vec!["9".into()], vec!["10".into()]],
    )?;

    // Sync ended the implicit transaction and its portals with it.
    let mut out = BytesMut::new();
    frontend::execute("p", 0, &mut out)?;
    frontend::sync(&mut out);
    wire.send(&out)?;
    let code = wire.collect(&[]).err();
    expect_eq(
        "a portal after Sync",
        &code.as_ref().and_then(WireError::code),
        &Some("34000"),
    )?;

    // A suspended INSERT … RETURNING inserts all rows at its first Execute.
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY)")?;
    let mut out = BytesMut::new();
    let sql = "INSERT INTO t SELECT x FROM generate_series(1, 5) AS g(x) RETURNING id";
    frontend::parse("", sql, [], &mut out)?;
    bind("", "", &[], &[], &mut out)?;
    frontend::execute("", 2, &mut out)?;
    frontend::sync(&mut out);
    wire.send(&out)?;
    let replies = wire.collect(&[])?;
    expect_eq("rows of the first part", &replies[0].rows.len(), &2)?;
    expect_eq("inserted", &wire.number("SELECT count(*) FROM t")?, &5)
}

fn error_skips_to_sync() -> TestResult {
    let mut wire = connect("wire_error")?;
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY)")?;
    let mut out = BytesMut::new();
    frontend::parse("", "SELECT * FROM nosuch", [], &mut out)?;
    bind("", "", &[], &[], &mut out)?;
    frontend::execute("", 0, &mut out)?;
    frontend::parse("", "INSERT INTO t VALUES (1)", [], &mut out)?;
    bind("", "", &[], &[], &mut out)?;
    frontend::execute("", 0, &mut out)?;
    frontend::sync(&mut out);
    frontend::parse("", "SELECT 7", [], &mut out)?;
    bind("", "", &[], &[], &mut out)?;
    frontend::execute("", 0, &mut out)?;
    frontend::sync(&mut out);
    wire.send(&out)?;
    let first = wire.collect(&[]).err();
    expect_eq(
        "first",
        &first.as_ref().and_then(WireError::code),
        &Some("42P01"),
    )?;
    let second = wire.collect(&[])?;
    expect_eq("second", &second[0].texts(), &vec![vec!["7".to_string()]])?;
    expect_eq("skipped", &wire.number("SELECT count(*) FROM t")?, &0)
}

fn pipeline_is_one_transaction() -> TestResult {
    let mut wire = connect("wire_pipeline")?;
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY)")?;
    let mut out = BytesMut::new();
    for sql in [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (2)",
        "SELECT 1/0",
    ] {
        frontend::parse("", sql, [], &mut out)?;
        bind("", "", &[], &[], &mut out)?;
        frontend::execute("", 0, &mut out)?;
    }
    frontend::sync(&mut out);
    wire.send(&out)?;
    let error = wire.collect(&[]).err();
    expect_eq(
        "error",
        &error.as_ref().and_then(WireError::code),
        &Some("22012"),
    )?;
    expect_eq("nothing stays", &wire.number("SELECT count(*) FROM t")?, &0)?;
    // So is a simple query of several statements, up to an explicit COMMIT.
    let error = wire.simple("INSERT INTO t VALUES (1); SELECT 1/0").err();
    expect_eq(
        "error",
        &error.as_ref().and_then(WireError::code),
        &Some("22012"),
    )?;
    expect_eq("nothing stays", &wire.number("SELECT count(*) FROM t")?, &0)?;
    let sql = "BEGIN; INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); SELECT 1/0";
    let error = wire.simple(sql).err();
    expect_eq(
        "error",
        &error.as_ref().and_then(WireError::code),
        &Some("22012"),
    )?;
    expect_eq(
        "the committed row stays",
        &wire.texts("SELECT id FROM t")?,
        &vec![vec!["1".into()]],
    )
}

fn named_statements_and_portals() -> TestResult {
    let mut wire = connect("wire_named")?;
    wire.prepare("one", "SELECT $1::integer + 1")?;
    let code = wire.prepare("one", "SELECT 2").err();
    expect_eq(
        "a used name",
        &code.as_ref().and_then(WireError::code),
        &Some("42P05"),
    )?;
    wire.prepare("", "SELECT 1")?;
    wire.prepare("", "SELECT 2")?;
    let mut out = BytesMut::new();
    bind("x", "one", &[Some("41")], &[], &mut out)?;
    bind("y", "one", &[None], &[], &mut out)?;
    frontend::execute("x", 0, &mut out)?;
    frontend::execute("y", 0, &mut out)?;
    frontend::close(b'P', "x", &mut out)?;
    frontend::close(b'S', "one", &mut out)?;
    frontend::close(b'S', "never there", &mut out)?;
    frontend::sync(&mut out);
    wire.send(&out)?;
    let replies = wire.collect(&[])?;
    let got: Vec<_> = replies.iter().map(|reply| reply.texts()).collect();
    expect_eq(
        "results",
        &got,
        &vec![vec![vec!["42".to_string()]], vec![vec!["NULL".into()]]],
    )?;
    for (parameters, code) in [(&[][..], "26000"), (&[Some("1"), Some("2")][..], "08P01")] {
        if code == "08P01" {
            wire.prepare("two", "SELECT $1::integer")?;
        }
        let mut out = BytesMut::new();
        bind(
            "",
            if code == "26000" { "one" } else { "two" },
            parameters,
            &[],
            &mut out,
        )?;
        frontend::sync(&mut out);
        wire.send(&out)?;
        let error = wire.collect(&[]).err();
        expect_eq(
            "bind",
            &error.as_ref().and_then(WireError::code),
            &Some(code),
        )?;
    }
    let mut out = BytesMut::new();
    bind("", "two", &[Some("no number")], &[], &mut out)?;
    frontend::execute("", 0, &mut out)?;
    frontend::sync(&mut out);
    wire.send(&out)?;
    let error = wire.collect(&[]).err();
    expect_eq(
        "a bad parameter",
        &error.as_ref().and_then(WireError::code),
        &Some("22P02"),
    )
}

fn empty_queries() -> TestResult {
    let mut wire = connect("wire_empty")?;
    for sql in ["", "  ", ";", "-- comment"] {
        let replies = wire.simple(sql)?;
        let tags: Vec<_> = replies.iter().map(|reply| reply.tag.clone()).collect();
        expect_eq(&format!("simple {sql:?}"), &tags, &vec![None])?;
        let reply = wire.extended(sql, &[], Format::Text)?;
        expect_eq(&format!("extended {sql:?}"), &reply.tag, &None)?;
    }
    Ok(())
}

fn multi_statement_is_refused_in_parse() -> TestResult {
    let mut wire = connect("wire_multi")?;
    let error = match wire.prepare("", "SELECT 1; SELECT 2") {
        Ok(_) => return Err("Parse accepted two statements".into()),
        Err(error) => error,
    };
    expect_eq("code", &error.code(), &Some("42601"))?;
    expect_contains(
        "message",
        &error.to_string(),
        "cannot insert multiple commands",
    )
}

fn sessions_are_separate() -> TestResult {
    let login = Engine::Nyala.create_database("wire_sessions")?;
    let (mut a, mut b) = (Wire::connect(&login)?, Wire::connect(&login)?);
    a.simple("SET application_name = 'a'; SET statement_timeout = 77")?;
    a.prepare("s", "SELECT 1")?;
    expect_eq(
        "setting",
        &b.texts("SHOW statement_timeout")?,
        &vec![vec!["0".to_string()]],
    )?;
    let mut out = BytesMut::new();
    bind("", "s", &[], &[], &mut out)?;
    frontend::sync(&mut out);
    b.send(&out)?;
    let error = b.collect(&[]).err();
    expect_eq(
        "prepared",
        &error.as_ref().and_then(WireError::code),
        &Some("26000"),
    )?;
    a.simple("BEGIN")?;
    b.simple("SELECT 1")?;
    expect_eq("transactions", &(a.status, b.status), &('T', 'I'))?;
    expect(a.key != b.key, || "two sessions share a cancel key".into())?;
    let pid = |wire: &mut Wire| wire.number("SELECT pg_backend_pid()");
    expect_eq("pg_backend_pid", &pid(&mut a)?, &i64::from(a.key.0))
}

fn garbage_is_survived() -> TestResult {
    let login = Engine::Nyala.create_database("wire_garbage")?;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 4],
        &[0xff; 64],
        &[0, 0, 0, 8, 0, 3, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        &[],
    ] {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", login.port))?;
        std::io::Write::write_all(&mut stream, bytes)?;
        drop(stream);
    }
    // An unknown message inside a session ends that session only.
    let mut wire = Wire::connect(&login)?;
    wire.send(&[b'!', 0, 0, 0, 4])?;
    let ended = loop {
        match wire.receive() {
            Ok(Message::Error(error)) => break error.code == "08P01",
            Ok(_) => {}
            Err(error) => break error.is_lost(),
        }
    };
    expect(ended, || {
        "an unknown message must be a protocol violation".into()
    })?;
    expect_eq(
        "a new session",
        &Wire::connect(&login)?.number("SELECT 3")?,
        &3,
    )
}

fn large_values() -> TestResult {
    const BYTES: usize = 8 << 20;
    let mut wire = connect("wire_large")?;
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY, v text)")?;
    let value = "0123456789abcdef".repeat(BYTES / 16);
    wire.extended(
        "INSERT INTO t VALUES (1, $1)",
        &[Some(&value)],
        Format::Text,
    )?;
    let reply = wire.extended("SELECT v FROM t", &[], Format::Binary)?;
    let same = reply.rows[0][0].as_deref() == Some(value.as_bytes());
    expect(same, || {
        "a value of 8 MiB did not come back as it was".into()
    })
}
