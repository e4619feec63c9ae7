//! COPY FROM STDIN and TO STDOUT as drivers speak it, and what its errors leave behind.

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt, pin_mut};
use libtest_mimic::Trial;
use postgres_protocol::message::frontend;

use super::driver::{block_on, connect};
use crate::harness::shared::{self, Engine};
use crate::harness::wire::{Message, Wire};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("copy::driver_round_trip", driver_round_trip),
        trial("copy::binary", binary),
        trial("copy::errors", errors),
        trial("copy::in_a_transaction", in_a_transaction),
        trial("copy::client_gives_up", client_gives_up),
        trial("copy::into_hybrid", into_hybrid),
    ]
}

fn driver_round_trip() -> TestResult {
    const ROWS: usize = 20_000;
    let login = Engine::Nyala.create_database("copy_driver")?;
    block_on(async {
        let client = connect(&login).await?;
        client
            .batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, name text, n numeric(10,2))")
            .await?;
        let sink = client.copy_in("COPY t (id, name, n) FROM STDIN").await?;
        pin_mut!(sink);
        let mut expected = String::new();
        for id in 0..ROWS {
            let line = match id % 3 {
                0 => format!("{id}\t\\N\t{}.50\n", id % 97),
                1 => format!("{id}\ttab\\tnewline\\nback\\\\slash\t0.00\n"),
                _ => format!("{id}\tüñ✓ {id}\t-{}.25\n", id % 89),
            };
            expected.push_str(&line);
            sink.send(Bytes::from(line)).await?;
        }
        expect_eq("rows copied in", &sink.finish().await?, &(ROWS as u64))?;
        let stream = client
            .copy_out("COPY (SELECT * FROM t ORDER BY id) TO STDOUT")
            .await?;
        let chunks: Vec<Bytes> = stream.try_collect().await?;
        let copied = String::from_utf8(chunks.concat())?;
        expect(copied == expected, || {
            let differ = copied.lines().zip(expected.lines()).find(|(a, b)| a != b);
            format!("COPY TO differs from what COPY FROM was given, first at {differ:?}")
        })
    })
    .map_err(|failure| shared::explain(failure.message().unwrap_or("failed")))
}

/// Rows of every type: the bytes are PostgreSQL's, one row a message, and come back the same.
fn binary() -> TestResult {
    const COLUMNS: &str = "b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision, n numeric(12,3), \
        t text, y bytea, d date, ti time, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb, a integer[], ta text[]";
    const ROWS: &str = "(1, true, -2, 3, 4, 1.5, -2.25, 123456789.125, 'x,y', '\\x00ff', '1999-12-31', '23:59:59.999999', \
        '2020-02-29 12:00:00.5', '2020-02-29 12:00:00+02', '1 mon 2 days 03:04:05', '6f1c2f7e-6e2e-4b3f-9d67-0f6a2a3b4c5d', \
        '{\"a\": 1}', '{\"a\": [1, null]}', '{1,NULL,3}', '{a,\"b c\"}'), \
        (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
        (3, false, 0, 0, 0, 'NaN', '-Infinity', -0.001, '', '', '0001-01-01', '00:00', '2262-04-11', '1970-01-01+00', '-1 year', \
        '00000000-0000-0000-0000-000000000000', '[]', '\"text\"', '{}', '{NULL}')";
    let mut sent = Vec::new();
    for engine in [Engine::Postgres, Engine::Nyala] {
        let login = engine.create_database("copy_binary")?;
        let rows = block_on(async {
            let client = connect(&login).await?;
            client
                .batch_execute(&format!(
                    "CREATE TABLE t (id integer PRIMARY KEY, {COLUMNS}); CREATE TABLE back (id integer PRIMARY KEY, {COLUMNS}); \
                     INSERT INTO t VALUES {ROWS}"
                ))
                .await?;
            let copy = "COPY (SELECT * FROM t ORDER BY id) TO STDOUT (FORMAT binary)";
            let messages: Vec<Bytes> = client.copy_out(copy).await?.try_collect().await?;
            let sink = client
                .copy_in("COPY back FROM STDIN WITH (FORMAT binary)")
                .await?;
            pin_mut!(sink);
            // In pieces that know nothing of rows.
            for piece in messages.concat().chunks(17) {
                sink.send(Bytes::copy_from_slice(piece)).await?;
            }
            expect_eq("rows copied in", &sink.finish().await?, &3)?;
            let again = "COPY (SELECT * FROM back ORDER BY id) TO STDOUT (FORMAT binary)";
            let back: Vec<Bytes> = client.copy_out(again).await?.try_collect().await?;
            expect_eq("what came back", &back, &messages)?;
            Ok::<_, libtest_mimic::Failed>(messages)
        })?;
        sent.push(rows);
    }
    let [postgresql, nyala] = sent.as_slice() else {
        return Err("not both engines".into());
    };
    expect_eq("messages", &nyala.len(), &postgresql.len())?;
    for (at, (ours, theirs)) in nyala.iter().zip(postgresql).enumerate() {
        expect_eq(&format!("message {at}"), ours, theirs)?;
    }
    let login = Engine::Nyala.create_database("copy_lines")?;
    let rows = block_on(async {
        let client = connect(&login).await?;
        let copy = "COPY (SELECT g FROM generate_series(1, 1000) AS x(g)) TO STDOUT (FORMAT csv)";
        let messages: Vec<Bytes> = client.copy_out(copy).await?.try_collect().await?;
        Ok::<_, libtest_mimic::Failed>(messages)
    })?;
    expect_eq("messages of csv", &rows.len(), &1000)
}

fn errors() -> TestResult {
    let login = Engine::Nyala.create_database("copy_errors")?;
    let mut wire = Wire::connect(&login)?;
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY, n integer NOT NULL, word text)")?;
    wire.simple("INSERT INTO t VALUES (1, 1, 'kept')")?;
    for (data, code, mention) in [
        (
            "2\t2\ta\nx\t3\tb\n",
            "22P02",
            "invalid input syntax for type integer: \"x\"",
        ),
        ("2\t2\ta\n1\t3\tb\n", "23505", "duplicate key value"),
        ("2\t2\ta\n2\t3\tb\n", "23505", "duplicate key value"),
        (
            "2\t2\ta\n3\t\\N\tb\n",
            "23502",
            "null value in column \"n\"",
        ),
        (
            "2\t2\ta\n3\t3\n",
            "22P04",
            "missing data for column \"word\"",
        ),
        (
            "2\t2\ta\n3\t3\tb\textra\n",
            "22P04",
            "extra data after last expected column",
        ),
        ("2\t2\ta\n3\t99999999999\tb\n", "22003", "out of range"),
    ] {
        let error = match wire.copy_in("COPY t FROM STDIN", data.as_bytes()) {
            Ok(_) => return Err(format!("COPY accepted {data:?}").into()),
            Err(error) => error,
        };
        expect_eq(
            &format!("COPY of {data:?}: {error}"),
            &error.code(),
            &Some(code),
        )?;
        expect_contains(&format!("COPY of {data:?}"), &error.to_string(), mention)?;
        expect_eq("rows left", &wire.number("SELECT count(*) FROM t")?, &1)?;
    }
    for (sql, code) in [
        ("COPY nosuch FROM STDIN", "42P01"),
        ("COPY t (nosuch) FROM STDIN", "42703"),
        ("COPY nosuch TO STDOUT", "42P01"),
        ("COPY t FROM STDIN (format nosuch)", "22023"),
        ("COPY t TO STDOUT (delimiter 'ab')", "0A000"),
    ] {
        let error = wire.copy_in(sql, b"").err();
        expect_eq(
            sql,
            &error.as_ref().and_then(|error| error.code()),
            &Some(code),
        )?;
    }
    let csv = "id,n,word\n5,5,\"a \"\"b\"\"\nc\"\n6,6,\n7,7,\"\"\n";
    let reply = wire.copy_in("COPY t FROM STDIN (format csv, header)", csv.as_bytes())?;
    expect_eq("tag", &reply.tag.as_deref(), &Some("COPY 3"))?;
    let rows = wire.texts("SELECT id, word FROM t WHERE id > 1 ORDER BY id")?;
    let expected = [["5", "a \"b\"\nc"], ["6", "NULL"], ["7", ""]];
    expect_eq(
        "csv rows",
        &rows,
        &expected.map(|row| row.map(String::from).to_vec()).to_vec(),
    )?;
    // The old end-of-data mark is still sent by some clients.
    let reply = wire.copy_in("COPY t FROM STDIN", b"8\t8\tx\n\\.\n")?;
    expect_eq("tag", &reply.tag.as_deref(), &Some("COPY 1"))
}

fn in_a_transaction() -> TestResult {
    let login = Engine::Nyala.create_database("copy_transaction")?;
    let mut wire = Wire::connect(&login)?;
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY)")?;
    wire.simple("BEGIN")?;
    wire.copy_in("COPY t FROM STDIN", b"1\n2\n3\n")?;
    expect_eq("own rows", &wire.number("SELECT count(*) FROM t")?, &3)?;
    expect_eq(
        "others see none",
        &Wire::connect(&login)?.number("SELECT count(*) FROM t")?,
        &0,
    )?;
    wire.simple("ROLLBACK")?;
    expect_eq(
        "after the rollback",
        &wire.number("SELECT count(*) FROM t")?,
        &0,
    )?;
    wire.simple("BEGIN")?;
    let failed = wire.copy_in("COPY t FROM STDIN", b"1\nx\n");
    expect_eq(
        "code",
        &failed.err().as_ref().and_then(|e| e.code()),
        &Some("22P02"),
    )?;
    expect_eq("transaction status", &wire.status, &'E')?;
    wire.simple("ROLLBACK")?;
    let reply = wire.copy_in("COPY t FROM STDIN", b"4\n")?;
    expect_eq("tag", &reply.tag.as_deref(), &Some("COPY 1"))?;
    let out = wire.query("COPY t TO STDOUT")?;
    expect_eq(
        "COPY TO",
        &(out.copied.as_slice(), out.tag.as_deref()),
        &(&b"4\n"[..], Some("COPY 1")),
    )
}

fn client_gives_up() -> TestResult {
    let login = Engine::Nyala.create_database("copy_fail")?;
    let mut wire = Wire::connect(&login)?;
    wire.simple("CREATE TABLE t (id integer PRIMARY KEY)")?;
    let mut out = BytesMut::new();
    frontend::query("COPY t FROM STDIN", &mut out)?;
    wire.send(&out)?;
    expect(matches!(wire.receive()?, Message::CopyIn), || {
        "no CopyInResponse".into()
    })?;
    let mut out = BytesMut::new();
    frontend::CopyData::new(&b"1\n2\n"[..])?.write(&mut out);
    frontend::copy_fail("changed my mind", &mut out)?;
    wire.send(&out)?;
    let error = match wire.collect(&[]) {
        Ok(_) => return Err("CopyFail must fail the statement".into()),
        Err(error) => error,
    };
    expect_eq("code", &error.code(), &Some("57014"))?;
    expect_contains("message", &error.to_string(), "changed my mind")?;
    expect_eq("rows", &wire.number("SELECT count(*) FROM t")?, &0)?;

    // A connection that breaks in the middle leaves nothing either.
    let mut broken = Wire::connect(&login)?;
    let mut out = BytesMut::new();
    frontend::query("COPY t FROM STDIN", &mut out)?;
    frontend::CopyData::new(&b"1\n2\n"[..])?.write(&mut out);
    broken.send(&out)?;
    expect(matches!(broken.receive()?, Message::CopyIn), || {
        "no CopyInResponse".into()
    })?;
    drop(broken);
    expect_eq("rows", &wire.number("SELECT count(*) FROM t")?, &0)
}

fn into_hybrid() -> TestResult {
    let login = Engine::Nyala.create_database("copy_hybrid")?;
    let mut wire = Wire::connect(&login)?;
    wire.simple(
        "CREATE TABLE h (id integer PRIMARY KEY, done boolean) WITH (closed_when = 'done')",
    )?;
    wire.copy_in("COPY h FROM STDIN", b"1\tt\n2\tf\n3\t\\N\n")?;
    wire.simple("CALL nyala.housekeeping('h')")?;
    expect_eq("closed", &wire.number("SELECT count(*) FROM h$closed")?, &1)?;
    let again = wire.copy_in("COPY h FROM STDIN", b"4\tt\n1\tt\n");
    expect_eq(
        "a closed key",
        &again.err().as_ref().and_then(|e| e.code()),
        &Some("23505"),
    )?;
    let out = wire.query("COPY (SELECT * FROM h ORDER BY id) TO STDOUT (format csv)")?;
    expect_eq(
        "both sides",
        &String::from_utf8_lossy(&out.copied).as_ref(),
        &"1,t\n2,f\n3,\n",
    )
}
