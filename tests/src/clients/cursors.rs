//! Cursors as drivers use them: a cursor of DECLARE is a portal of the protocol, and a portal of Bind is a cursor for FETCH and
//! MOVE. What a FETCH returns from where is told by `slt/cursors.slt`.

use std::time::Duration;

use bytes::BytesMut;
use libtest_mimic::Trial;
use postgres_protocol::message::frontend;

use crate::harness::server::{Options, Server};
use crate::harness::shared::{self, Engine};
use crate::harness::wire::{Format, Message, Reply, Wire, WireError, bind};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    let on = |engine: Engine, name: &str, body: fn(&mut Wire) -> TestResult| {
        let database = format!("cursors_{name}");
        trial(format!("cursors::{}::{name}", engine.name()), move || {
            let login = engine.create_database(&database)?;
            body(&mut Wire::connect(&login)?)
                .map_err(|failure| shared::explain(failure.message().unwrap_or("failed")))
        })
    };
    let mut trials = Vec::new();
    for engine in [Engine::Nyala, Engine::Postgres] {
        trials.push(on(engine, "a_cursor_is_a_portal", a_cursor_is_a_portal));
        trials.push(on(engine, "a_portal_is_a_cursor", a_portal_is_a_cursor));
        trials.push(on(engine, "tags_and_formats", tags_and_formats));
        trials.push(on(engine, "blocks", blocks));
        trials.push(on(engine, "a_fetch_in_pieces", a_fetch_in_pieces));
    }
    trials.push(trial("cursors::memory_is_bounded", memory_is_bounded));
    trials.push(trial("cursors::a_fetch_is_cancelled", a_fetch_is_cancelled));
    trials
}

const NUMBERS: &str = "SELECT x::int AS x FROM generate_series(1, 10) AS g(x)";

/// Sends messages and a Sync; the replies.
fn send(
    wire: &mut Wire,
    messages: impl FnOnce(&mut BytesMut) -> Result<(), WireError>,
) -> Result<Vec<Reply>, WireError> {
    let mut out = BytesMut::new();
    messages(&mut out)?;
    frontend::sync(&mut out);
    wire.send(&out)?;
    wire.collect(&[])
}

/// Rows, whether suspended, and the tag.
fn shape(replies: &[Reply]) -> Vec<(usize, bool, Option<&str>)> {
    let one = |reply: &Reply| (reply.rows.len(), reply.suspended);
    replies
        .iter()
        .map(|reply| (one(reply).0, one(reply).1, reply.tag.as_deref()))
        .collect()
}

fn code<T>(result: &Result<T, WireError>) -> Option<&str> {
    result.as_ref().err().and_then(WireError::code)
}

/// What Describe tells of a portal: names and types.
fn described(wire: &mut Wire, portal: &str) -> Result<Option<Vec<(String, u32)>>, WireError> {
    let mut out = BytesMut::new();
    frontend::describe(b'P', portal, &mut out)?;
    frontend::sync(&mut out);
    wire.send(&out)?;
    let mut columns = None;
    loop {
        match wire.receive()? {
            Message::Columns(found) => {
                let found = found.into_iter().map(|one| (one.name, one.type_oid));
                columns = Some(found.collect());
            }
            Message::NoData => {}
            Message::Ready(_) => return Ok(columns),
            other => {
                return Err(WireError::Protocol(format!("Describe answered {other:?}")));
            }
        }
    }
}

fn a_cursor_is_a_portal(wire: &mut Wire) -> TestResult {
    wire.simple("BEGIN")?;
    let declare = "DECLARE \"My Cursor\" CURSOR FOR SELECT x::int AS x, x::text AS t FROM generate_series(1, $1::int) AS g(x)";
    let reply = wire.extended(declare, &[Some("10")], Format::Binary)?;
    expect_eq("tag", &reply.tag.as_deref(), &Some("DECLARE CURSOR"))?;
    let columns = Some(vec![("x".to_string(), 23), ("t".to_string(), 25)]);
    expect_eq("Describe", &described(wire, "My Cursor")?, &columns)?;
    let replies = send(wire, |out| {
        frontend::execute("My Cursor", 3, out)?;
        frontend::execute("My Cursor", 3, out)?;
        Ok(())
    })?;
    expect_eq(
        "Execute",
        &shape(&replies),
        &vec![(3, true, None), (3, true, None)],
    )?;
    let fetched = wire.extended("FETCH 2 FROM \"My Cursor\"", &[], Format::Binary)?;
    expect_eq(
        "FETCH goes on",
        &fetched.rows[0][0],
        &Some(vec![0, 0, 0, 7]),
    )?;
    let replies = send(wire, |out| Ok(frontend::execute("My Cursor", 0, out)?))?;
    expect_eq(
        "the rest",
        &shape(&replies),
        &vec![(2, false, Some("SELECT 2"))],
    )?;
    let replies = send(wire, |out| Ok(frontend::execute("My Cursor", 5, out)?))?;
    expect_eq(
        "no more",
        &shape(&replies),
        &vec![(0, false, Some("SELECT 0"))],
    )?;
    send(wire, |out| Ok(frontend::close(b'P', "My Cursor", out)?))?;
    expect_eq(
        "closed",
        &code(&wire.query("FETCH \"My Cursor\"")),
        &Some("34000"),
    )
}

fn a_portal_is_a_cursor(wire: &mut Wire) -> TestResult {
    wire.simple("BEGIN")?;
    wire.prepare("s", NUMBERS)?;
    send(wire, |out| bind("p", "s", &[], &[], out))?;
    expect_eq(
        "pg_cursors",
        &wire.texts("SELECT name, statement, is_holdable, is_scrollable FROM pg_cursors")?,
        &vec![vec!["p".into(), NUMBERS.into(), "f".into(), "f".into()]],
    )?;
    let moved = wire.query("MOVE FORWARD 2 p")?;
    expect_eq(
        "MOVE before it has run",
        &moved.tag.as_deref(),
        &Some("MOVE 2"),
    )?;
    let replies = send(wire, |out| Ok(frontend::execute("p", 2, out)?))?;
    expect_eq(
        "rows",
        &replies[0].texts(),
        &vec![vec!["3".to_string()], vec!["4".into()]],
    )?;
    expect_eq(
        "FETCH",
        &wire.texts("FETCH 1 FROM p")?,
        &vec![vec!["5".to_string()]],
    )?;
    let replies = send(wire, |out| Ok(frontend::execute("p", 0, out)?))?;
    expect_eq(
        "the rest",
        &shape(&replies),
        &vec![(5, false, Some("SELECT 5"))],
    )?;
    let moved = wire.query("MOVE ALL p")?;
    expect_eq("no more", &moved.tag.as_deref(), &Some("MOVE 0"))?;
    expect_eq(
        "it goes forward only",
        &code(&wire.query("FETCH PRIOR p")),
        &Some("55000"),
    )?;
    wire.simple("ROLLBACK")?;

    // One that has run to its end at once is at its end.
    wire.simple("BEGIN")?;
    send(wire, |out| {
        bind("p", "s", &[], &[], out)?;
        Ok(frontend::execute("p", 0, out)?)
    })?;
    expect_eq("at its end", &wire.texts("FETCH ALL FROM p")?.len(), &0)?;
    wire.simple("CLOSE p")?;
    // The end of the transaction ends it.
    send(wire, |out| bind("p", "s", &[], &[], out))?;
    wire.simple("COMMIT")?;
    expect_eq(
        "after COMMIT",
        &code(&wire.query("FETCH p")),
        &Some("34000"),
    )
}

fn tags_and_formats(wire: &mut Wire) -> TestResult {
    wire.simple("BEGIN")?;
    let tag = |wire: &mut Wire, sql: &str| -> Result<String, WireError> {
        Ok(wire.query(sql)?.tag.unwrap_or_default())
    };
    let declare = format!("DECLARE b BINARY SCROLL CURSOR FOR {NUMBERS}");
    expect_eq(
        "DECLARE",
        &tag(wire, &declare)?,
        &"DECLARE CURSOR".to_string(),
    )?;
    expect_eq("FETCH", &tag(wire, "FETCH 3 b")?, &"FETCH 3".to_string())?;
    expect_eq("FETCH", &tag(wire, "FETCH ALL b")?, &"FETCH 7".to_string())?;
    expect_eq("MOVE", &tag(wire, "MOVE -4 b")?, &"MOVE 4".to_string())?;
    let reply = wire.query("FETCH 1 b")?;
    expect_eq(
        "binary in a simple query",
        &reply.rows[0][0],
        &Some(vec![0, 0, 0, 8]),
    )?;
    let format = reply.columns.unwrap_or_default()[0].format;
    expect_eq("which the columns tell", &format, &1)?;
    let reply = wire.extended("FETCH 1 b", &[], Format::Text)?;
    expect_eq("as Bind says", &reply.texts(), &vec![vec!["9".to_string()]])?;
    expect_eq("CLOSE", &tag(wire, "CLOSE b")?, &"CLOSE CURSOR".to_string())?;
    expect_eq(
        "CLOSE ALL",
        &tag(wire, "CLOSE ALL")?,
        &"CLOSE CURSOR ALL".to_string(),
    )?;

    // A prepared FETCH has the columns of the cursor that there is now, also after a change of definitions.
    wire.simple("DECLARE c CURSOR FOR SELECT 1 AS a")?;
    let (_, columns) = wire.prepare("f", "FETCH ALL FROM c")?;
    expect_eq("columns", &columns.map(|columns| columns.len()), &Some(1))?;
    wire.simple("CLOSE c")?;
    wire.simple("CREATE TEMP TABLE changes_definitions (id int)")?;
    wire.simple("DECLARE c CURSOR FOR SELECT 'x'::text AS a, 2::bigint AS b")?;
    let replies = send(wire, |out| {
        bind("", "f", &[], &[], out)?;
        frontend::describe(b'P', "", out)?;
        Ok(frontend::execute("", 0, out)?)
    })?;
    expect_eq(
        "rows",
        &replies[0].texts(),
        &vec![vec!["x".to_string(), "2".into()]],
    )?;
    let (_, columns) = wire.prepare("g", "MOVE ALL FROM c")?;
    expect_eq("MOVE has none", &columns, &None)
}

fn blocks(wire: &mut Wire) -> TestResult {
    // Several statements in one message are a block, a pipeline is none.
    let replies = {
        let mut out = BytesMut::new();
        let sql = format!("DECLARE c CURSOR FOR {NUMBERS}; FETCH 2 FROM c; FETCH 1 FROM c");
        frontend::query(&sql, &mut out)?;
        wire.send(&out)?;
        wire.collect(&[])?
    };
    expect_eq(
        "the last",
        &replies[2].texts(),
        &vec![vec!["3".to_string()]],
    )?;
    expect_eq("after it", &code(&wire.query("FETCH c")), &Some("34000"))?;
    wire.prepare("d", &format!("DECLARE c CURSOR FOR {NUMBERS}"))?;
    wire.prepare("one", "SELECT 1")?;
    let pipeline = send(wire, |out| {
        bind("", "one", &[], &[], out)?;
        frontend::execute("", 0, out)?;
        bind("", "d", &[], &[], out)?;
        Ok(frontend::execute("", 0, out)?)
    });
    expect_eq("in a pipeline", &code(&pipeline), &Some("25P01"))?;
    let error = wire.query("DECLARE c CURSOR FOR SELECT 1").err();
    expect_contains(
        "alone",
        &error.ok_or("no error")?.to_string(),
        "DECLARE CURSOR can only be used in transaction blocks",
    )?;
    // WITH HOLD needs none.
    wire.simple(&format!("DECLARE h CURSOR WITH HOLD FOR {NUMBERS}"))?;
    expect_eq(
        "held",
        &wire
            .extended("FETCH 4 FROM h", &[], Format::Text)?
            .rows
            .len(),
        &4,
    )?;
    let broken = send(wire, |out| Ok(frontend::execute("nothing", 0, out)?));
    expect_eq("a portal that is not", &code(&broken), &Some("34000"))?;
    let replies = send(wire, |out| Ok(frontend::execute("h", 0, out)?))?;
    expect_eq(
        "the rest",
        &shape(&replies),
        &vec![(6, false, Some("SELECT 6"))],
    )?;
    expect_eq(
        "still there",
        &wire.number("SELECT count(*) FROM pg_cursors")?,
        &1,
    )?;
    wire.simple("DISCARD ALL")?;
    expect_eq(
        "discarded",
        &wire.number("SELECT count(*) FROM pg_cursors")?,
        &0,
    )
}

fn a_fetch_in_pieces(wire: &mut Wire) -> TestResult {
    wire.simple("BEGIN")?;
    wire.simple(&format!("DECLARE c CURSOR FOR {NUMBERS}"))?;
    wire.prepare("f", "FETCH 6 FROM c")?;
    let replies = send(wire, |out| {
        bind("", "f", &[], &[], out)?;
        frontend::execute("", 4, out)?;
        Ok(frontend::execute("", 4, out)?)
    })?;
    expect_eq(
        "pieces",
        &shape(&replies),
        &vec![(4, true, None), (2, false, Some("FETCH 2"))],
    )?;
    wire.simple("MOVE -6 c")?;
    // One that is given up has moved the cursor all the same.
    send(wire, |out| {
        bind("", "f", &[], &[], out)?;
        Ok(frontend::execute("", 2, out)?)
    })?;
    expect_eq(
        "the next row",
        &wire.texts("FETCH 1 FROM c")?,
        &vec![vec!["7".to_string()]],
    )
}

fn memory_is_bounded() -> TestResult {
    // Each of 4,000,000 rows has 200 bytes, and all queries together have 64 MiB.
    const WIDE: &str = "SELECT x, repeat('r', 200) FROM generate_series(1, 4000000) AS g(x)";
    let options = Options::default().with_arguments(&["--query-memory-mb", "64"]);
    Server::start(options)?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("BEGIN")?;
        wire.simple(&format!("DECLARE c CURSOR FOR {WIDE}"))?;
        expect_eq(
            "MOVE",
            &wire.query("MOVE 1000000 c")?.tag.as_deref(),
            &Some("MOVE 1000000"),
        )?;
        let row = wire.texts("FETCH 1 c")?;
        expect_eq("FETCH", &row[0][0], &"1000001".to_string())?;
        wire.simple("SAVEPOINT s")?;
        expect_eq(
            "it is too large to go back",
            &code(&wire.query("FETCH -1 c")),
            &Some("55000"),
        )?;
        wire.simple("ROLLBACK TO s")?;
        wire.simple(&format!("DECLARE s SCROLL CURSOR FOR {WIDE}"))?;
        let error = wire.query("MOVE ALL s").err().ok_or("no error")?;
        expect_eq(&error.to_string(), &error.code(), &Some("53200"))?;
        wire.simple("ROLLBACK")?;
        // What the cursor took is free again.
        wire.simple("BEGIN")?;
        wire.simple(
            "DECLARE s SCROLL CURSOR FOR SELECT x FROM generate_series(1, 1000000) AS g(x)",
        )?;
        expect_eq("last", &wire.number("FETCH LAST s")?, &1_000_000)?;
        wire.simple("COMMIT")?;
        // A session has a limited number of them.
        wire.simple("BEGIN")?;
        let many = (0..1_001).try_for_each(|number| {
            let declare = format!("DECLARE c{number} CURSOR FOR SELECT 1");
            wire.simple(&declare).map(|_| ())
        });
        expect_eq("too many", &code(&many), &Some("53400"))
    })
}

fn a_fetch_is_cancelled() -> TestResult {
    const LONG: &str = "SELECT count(*) FROM generate_series(1, 1000000) AS a(x), \
                        generate_series(1, 1000000) AS b(y) WHERE (x + y) % 7 = 3";
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(&format!("DECLARE h CURSOR WITH HOLD FOR {LONG}"))?;
        let mut out = BytesMut::new();
        frontend::query("FETCH h", &mut out)?;
        wire.send(&out)?;
        std::thread::sleep(Duration::from_millis(700));
        Wire::cancel(server.port(), wire.key)?;
        let cancelled = wire.collect(&[]);
        expect_eq("cancelled", &code(&cancelled), &Some("57014"))?;
        expect_eq(
            "it cannot go on",
            &code(&wire.query("FETCH h")),
            &Some("55000"),
        )?;
        wire.simple("CLOSE h")?;
        wire.simple("SET statement_timeout = 500")?;
        wire.simple("BEGIN")?;
        wire.simple(&format!("DECLARE c CURSOR FOR {LONG}"))?;
        expect_eq("timeout", &code(&wire.query("MOVE c")), &Some("57014"))?;
        expect(wire.status == 'E', || "the block has not failed".into())?;
        wire.simple("ROLLBACK")?;
        expect_eq("and after", &wire.number("SELECT 5")?, &5)
    })
}
