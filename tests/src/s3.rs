//! Closed tables, snapshots and restore points in an object store, over the real protocol.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::harness::s3::S3;
use crate::harness::server::{Options, Server};
use crate::harness::wire::{Wire, WireError};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("s3::whole_life", whole_life),
        trial("s3::killed_in_the_middle", killed_in_the_middle),
        trial("s3::store_goes_away", store_goes_away),
        trial("s3::one_writer_wins", one_writer_wins),
        trial("s3::places_have_one_owner", places_have_one_owner),
        trial("s3::external_tables", external_tables),
        trial("s3::adopted_tables", adopted_tables),
        trial("s3::what_is_read_once", what_is_read_once),
    ]
}

/// An error of a store that does not answer comes within this.
const ERROR_LIMIT: Duration = Duration::from_secs(90);

/// Files of a dropped table go within this.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);

const CREATE: &str = "CREATE TABLE h (id bigint PRIMARY KEY, done boolean, v bigint, note text) \
                      WITH (closed_when = 'done', retention = '1 day')";

/// Rows of which each second is closed.
fn load(wire: &mut Wire, rows: i64) -> TestResult {
    wire.simple(CREATE)?;
    let sql = format!(
        "INSERT INTO h SELECT x, x % 2 = 0, x, md5(x::text) FROM generate_series(1, {rows}) AS g(x)"
    );
    wire.simple(&sql)?;
    Ok(())
}

fn totals(wire: &mut Wire) -> Result<Vec<Vec<String>>, Failed> {
    Ok(wire.texts("SELECT count(*), sum(v), count(note) FROM h")?)
}

fn one(count: i64, sum: i64) -> Vec<Vec<String>> {
    vec![vec![count.to_string(), sum.to_string(), count.to_string()]]
}

fn whole_life() -> TestResult {
    let s3 = S3::start()?;
    Server::start(s3.options("a/b"))?.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire, 10_000)?;
        wire.simple("CALL nyala.offload('h')")?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        expect_eq("loaded", &totals(&mut wire)?, &one(10_000, 50_005_000))?;
        let closed = "SELECT count(*) FROM h$closed";
        expect_eq("closed", &wire.number(closed)?, &5_000)?;
        for folder in ["closed", "snapshots", "points"] {
            let there = s3.objects(&format!("a/b/{folder}/"))?;
            expect(!there.is_empty(), || format!("nothing in {folder}"))?;
            let here = server.data_dir().join(folder);
            expect(!here.exists(), || format!("{} exists", here.display()))?;
        }

        // Reopened: closed rows change, one goes, one key is refused.
        wire.simple("UPDATE h SET v = 0 WHERE id IN (2, 4)")?;
        wire.simple("UPDATE h SET done = false WHERE id = 6")?;
        wire.simple("DELETE FROM h WHERE id = 8")?;
        let taken = wire.simple("INSERT INTO h VALUES (10, true, 1, 'x')").err();
        let code = taken.as_ref().and_then(WireError::code);
        expect_eq("a closed key", &code, &Some("23505"))?;
        let sum = 50_005_000 - 2 - 4 - 8;
        expect_eq("reopened", &totals(&mut wire)?, &one(9_999, sum))?;
        expect_eq(
            "a lookup",
            &wire.number("SELECT v FROM h WHERE id = 5000")?,
            &5_000,
        )?;
        wire.simple("CALL nyala.offload('h')")?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        expect_eq("folded", &totals(&mut wire)?, &one(9_999, sum))?;
        let first = wire.number("SELECT sum(v) FROM h VERSION AS OF 1")?;
        expect_eq("the first version", &first, &50_005_000)?;
        wire.simple("ALTER TABLE h ADD COLUMN extra bigint DEFAULT 7")?;
        let extra = wire.number("SELECT sum(extra) FROM h")?;
        expect_eq("a new column", &extra, &(7 * 9_999))?;

        server.restart()?;
        let mut wire = server.connect()?;
        expect_eq("after a restart", &totals(&mut wire)?, &one(9_999, sum))?;
        wire.simple(
            "INSERT INTO h SELECT x, true, 0, 'n' FROM generate_series(20001, 20100) AS g(x)",
        )?;
        server.crash()?;
        let mut wire = server.connect()?;
        expect_eq("after a crash", &totals(&mut wire)?, &one(10_099, sum))?;
        wire.simple("CALL nyala.housekeeping('h')")?;

        // What a crash leaves: a file that nothing names.
        let files = s3.objects("a/b/closed/")?;
        let folder = folder_of(&files)?;
        let orphan = format!("{folder}/part-orphan.parquet");
        expect_eq("an orphan", &s3.put_new(&orphan, b"half")?, &200)?;
        wire.simple("CALL nyala.vacuum('h')")?;
        let left = s3.objects(folder)?;
        expect(!left.contains(&orphan), || "the orphan stays".to_string())?;
        expect_eq("vacuumed", &totals(&mut wire)?, &one(10_099, sum))?;
        let first = wire.number("SELECT sum(v) FROM h VERSION AS OF 1")?;
        expect_eq("the first version stays", &first, &50_005_000)?;
        wire.simple("CALL nyala.restore('h', 1)")?;
        expect_eq("restored", &totals(&mut wire)?, &one(10_000, 50_005_000))?;

        wire.simple("DROP TABLE h")?;
        let dropped = Instant::now();
        loop {
            let left = s3.objects("a/b/")?;
            if left == ["a/b/nyala-owner"] {
                return Ok(());
            }
            expect(dropped.elapsed() < REMOVAL_LIMIT, || {
                format!("files stay: {left:?}")
            })?;
            std::thread::sleep(Duration::from_millis(100));
        }
    })
}

/// The steps of the protocols at which a run may end.
const STEPS: [&str; 5] = [
    "closed_table::files_written",
    "closed_table::committed",
    "housekeeping::delta_committed",
    "housekeeping::manifest_committed",
    "offload::delta_committed",
];

fn killed_in_the_middle() -> TestResult {
    let s3 = S3::start()?;
    for (number, step) in STEPS.iter().enumerate() {
        let options = s3.options(&format!("place{number}"));
        Server::start(options.clone())?.scope(|server| {
            let mut wire = server.connect()?;
            load(&mut wire, 2_000)?;
            wire.simple("CALL nyala.offload('h')")?;
            wire.simple("CALL nyala.housekeeping('h')")?;
            wire.simple("UPDATE h SET v = 0 WHERE id <= 500")?;
            wire.simple("UPDATE h SET done = true WHERE id > 1000")?;
            let before = totals(&mut wire)?;
            drop(wire);
            server.kill();
            let mut armed = options.clone();
            let points = Options::failpoint(&format!("{step}=return"));
            armed.environment.extend(points.environment);
            server.start_again(armed)?;
            let mut wire = server.connect()?;
            // One of the two reaches the step.
            wire.simple("CALL nyala.offload('h')").ok();
            if let Ok(mut wire) = server.connect() {
                wire.simple("CALL nyala.housekeeping('h')").ok();
            }
            server.wait_for_end(Duration::from_secs(60))?;
            server.start_again(options.clone())?;
            let mut wire = server.connect()?;
            expect_eq(step, &totals(&mut wire)?, &before)?;
            wire.simple("CALL nyala.housekeeping('h')")?;
            wire.simple("CALL nyala.offload('h')")?;
            expect_eq(step, &totals(&mut wire)?, &before)
        })?;
    }
    Ok(())
}

fn expect_storage_error(what: &str, wire: &mut Wire, sql: &str) -> TestResult {
    let begun = Instant::now();
    let Err(error) = wire.simple(sql) else {
        return Err(format!("{what}: {sql} succeeds without the store").into());
    };
    expect_eq(what, &error.code(), &Some("58030"))?;
    expect(begun.elapsed() < ERROR_LIMIT, || {
        format!("{what} took {:?}", begun.elapsed())
    })
}

fn store_goes_away() -> TestResult {
    let s3 = S3::start()?;
    Server::start(s3.options("away"))?.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire, 300_000)?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        // Nothing is in any cache.
        server.restart()?;
        let mut wire = server.connect()?;
        let sum = "SELECT sum(v) FROM h WHERE note IS NOT NULL";
        let before = wire.number(sum)?;
        s3.shut();
        expect_storage_error("a shut store", &mut wire, sum)?;
        expect_storage_error("a shut store", &mut wire, "CALL nyala.offload('h')")?;
        // Open rows are here.
        expect_eq(
            "an open row",
            &wire.number("SELECT v FROM h$open WHERE id = 1")?,
            &1,
        )?;
        s3.open();
        expect_eq("the store is back", &wire.number(sum)?, &before)?;

        s3.silence();
        expect_storage_error("a silent store", &mut wire, sum)?;
        s3.open();
        expect_eq("the store speaks again", &wire.number(sum)?, &before)?;
        wire.simple("UPDATE h SET done = true")?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        expect_eq("all is closed", &wire.number(sum)?, &before)?;

        // A statement can be cancelled while the store is silent.
        s3.silence();
        wire.simple("SET statement_timeout = '2s'")?;
        let begun = Instant::now();
        let code = wire.simple(sum).err();
        let code = code.as_ref().and_then(WireError::code);
        expect_eq("a timeout", &code, &Some("57014"))?;
        expect(begun.elapsed() < Duration::from_secs(10), || {
            "late".to_string()
        })?;

        // No server can start without the store, and it says so.
        server.kill();
        s3.shut();
        let refused = server
            .start_again(s3.options("away"))
            .err()
            .ok_or("started")?;
        let message = refused.message().unwrap_or_default().to_string();
        expect_contains(
            "a start without the store",
            &message,
            "could not access columnar_url",
        )?;
        s3.open();
        server.start_again(s3.options("away"))?;
        let mut wire = server.connect()?;
        expect_eq("after all", &wire.number(sum)?, &before)
    })
}

fn one_writer_wins() -> TestResult {
    let s3 = S3::start()?;
    let racing: Vec<u16> = std::thread::scope(|scope| {
        let puts = (0..8).map(|number| {
            let s3 = &s3;
            scope.spawn(move || {
                s3.put_new("race", format!("{number}").as_bytes())
                    .unwrap_or(0)
            })
        });
        let puts: Vec<_> = puts.collect();
        puts.into_iter()
            .map(|put| put.join().unwrap_or(0))
            .collect()
    });
    let won = racing.iter().filter(|status| **status == 200).count();
    let lost = racing.iter().filter(|status| **status == 412).count();
    expect_eq("conditional puts that won and lost", &(won, lost), &(1, 7))?;

    Server::start(s3.options("log"))?.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire, 1_000)?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        let before = totals(&mut wire)?;
        let log = s3.objects("log/closed/")?;
        let entries = log.iter().filter(|name| name.ends_with(".json"));
        let last = entries.max().ok_or("no log")?;
        let (folder, number) = last.rsplit_once('/').ok_or("no folder")?;
        let number: u64 = number.trim_end_matches(".json").parse()?;
        let next = format!("{folder}/{:020}.json", number + 1);
        let theirs = r#"{"commitInfo":{"timestamp":1700000000000,"operation":"OPTIMIZE"}}"#;
        expect_eq(
            "another writer",
            &s3.put_new(&next, theirs.as_bytes())?,
            &200,
        )?;

        wire.simple("UPDATE h SET done = true WHERE id <= 500")?;
        let refused = wire.simple("CALL nyala.housekeeping('h')").err();
        let code = refused.as_ref().and_then(WireError::code);
        expect_eq("the version is taken", &code, &Some("40001"))?;
        expect_eq("their entry", &s3.get(&next)?, &theirs.to_string())?;
        expect_eq("rows", &totals(&mut wire)?, &before)?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        expect_eq("rows on top of it", &totals(&mut wire)?, &before)?;
        let open = wire.number("SELECT count(*) FROM h$open")?;
        expect_eq("open rows", &open, &250)?;
        expect_eq("their entry", &s3.get(&next)?, &theirs.to_string())
    })
}

fn places_have_one_owner() -> TestResult {
    let s3 = S3::start()?;
    Server::start(s3.options("mine"))?.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire, 100)?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        drop(wire);
        server.kill();
        for other in [s3.options("other"), s3.access()] {
            let refused = server.start_again(other).err().ok_or("started")?;
            let message = refused.message().unwrap_or_default();
            expect_contains(
                "another place",
                message,
                "the database was made with columnar_url",
            )?;
        }
        server.start_again(s3.options("mine"))?;
        let mut wire = server.connect()?;
        expect_eq("rows", &totals(&mut wire)?, &one(100, 5_050))?;

        let refused = Server::start(s3.options("mine")).err().ok_or("started")?;
        let message = refused.message().unwrap_or_default().to_string();
        expect_contains("another database", &message, "belongs to another database")?;
        expect_eq("rows", &totals(&mut wire)?, &one(100, 5_050))
    })
}

/// The folder of a closed table that has these files.
fn folder_of(files: &[String]) -> Result<&str, Failed> {
    let first = files.first().ok_or("no files")?;
    let folder = first.split("/_delta_log").next();
    let folder = folder.and_then(|name| name.split("/part-").next());
    Ok(folder.ok_or("no folder")?)
}

fn external_tables() -> TestResult {
    let s3 = S3::start()?;
    Server::start(s3.options("x"))?.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire, 1_000)?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        let files = s3.objects("x/closed/")?;
        let file = files.iter().find(|name| name.contains("/part-")).ok_or("no file")?;
        let folder = file.split("/part-").next().ok_or("no folder")?;
        let bucket = crate::harness::s3::BUCKET;
        for (name, format, location) in [
            ("d", "DELTA", folder),
            ("p", "PARQUET", folder),
            ("f", "PARQUET", file),
        ] {
            let sql = format!(
                "CREATE EXTERNAL TABLE {name} STORED AS {format} LOCATION 's3://{bucket}/{location}'"
            );
            wire.simple(&sql)?;
            let sum = format!("SELECT sum(v) FROM {name} WHERE id > 500");
            expect_eq(&sql, &wire.number(&sum)?, &(125 * (502 + 1000)))?;
        }
        for (format, what) in [("DELTA", "has no Delta log"), ("PARQUET", "no Parquet files")] {
            let sql = format!("CREATE EXTERNAL TABLE n STORED AS {format} LOCATION 's3://{bucket}/nothing'");
            let error = wire.simple(&sql).err().ok_or("opened")?;
            expect_eq(&sql, &error.code(), &Some("58P01"))?;
            expect_contains(&sql, &error.to_string(), what)?;
        }
        // New rows are seen by the next statement.
        wire.simple("UPDATE h SET done = true")?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        expect_eq("all rows", &wire.number("SELECT count(*) FROM d")?, &1_000)?;
        server.restart()?;
        let mut wire = server.connect()?;
        expect_eq("all rows", &wire.number("SELECT count(*) FROM d")?, &1_000)
    })
}

/// `closed_location` in a bucket: a Delta table, and files without a log.
fn adopted_tables() -> TestResult {
    let s3 = S3::start()?;
    let bucket = crate::harness::s3::BUCKET;
    Server::start(s3.options("lake"))?.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire, 1_000)?;
        wire.simple("UPDATE h SET done = true")?;
        // The log tells of a later commit than the other server has made when it adopts the table, under the same number.
        for _ in 0..20 {
            wire.simple("CREATE TABLE more (id bigint); DROP TABLE more")?;
        }
        wire.simple("CALL nyala.housekeeping('h')")?;
        // What is the server's own is not for adoption, from above or from below.
        for own in ["lake/closed", "lake", ""] {
            let error = adopt(&mut wire, "o", &format!("s3://{bucket}/{own}"), "22023")?;
            expect_contains(own, &error, "columnar_url")?;
        }
        let beside = adopt(&mut wire, "o", &format!("s3://{bucket}/lakes"), "58P01")?;
        expect_contains("nothing there", &beside, "is not a directory")
    })?;
    let files = s3.objects("lake/closed/")?;
    let folder = folder_of(&files)?;
    let fixture = crate::harness::package_directory().join("fixtures/delta/dv_inline");
    for name in ["first.parquet", "second.parquet"] {
        let bytes = std::fs::read(fixture.join(name))?;
        expect_eq(name, &s3.put_new(&format!("files/{name}"), &bytes)?, &200)?;
    }
    Server::start(s3.access())?.scope(|server| {
        let mut wire = server.connect()?;
        let with = |location: &str| {
            CREATE.replace(
                "retention = '1 day'",
                &format!("closed_location = '{location}'"),
            )
        };
        wire.simple(&with(&format!("s3a://{bucket}/{folder}")))?;
        let twice = adopt(&mut wire, "o", &format!("s3://{bucket}/{folder}/"), "55006")?;
        expect_contains("another name of it", &twice, "another table")?;
        expect_eq("adopted", &totals(&mut wire)?, &one(1_000, 500_500))?;
        wire.simple("UPDATE h SET v = 0 WHERE id = 1000; DELETE FROM h WHERE id = 1")?;
        wire.simple("INSERT INTO h VALUES (2000, true, 5, 'new')")?;
        for _ in 0..2 {
            expect_eq(
                "changed",
                &totals(&mut wire)?,
                &one(1_000, 500_500 - 1_000 - 1 + 5),
            )?;
            let changed = wire.number("SELECT v FROM h WHERE id = 2000")?;
            expect_eq("a lookup", &changed, &5)?;
            wire.simple("CALL nyala.housekeeping('h')")?;
            server.restart()?;
            wire = server.connect()?;
        }
        // Refused, and then done right.
        let location = format!("s3://{bucket}/files");
        let columns = "CREATE TABLE f (id bigint PRIMARY KEY, label text NOT NULL)";
        let create =
            format!("{columns} WITH (closed_when = 'id > 0', closed_location = '{location}')");
        let refused = wire.simple(&create).err();
        let code = refused.as_ref().and_then(WireError::code);
        expect_eq("a NULL", &code, &Some("23502"))?;
        expect_eq("no log", &s3.objects("files/_delta_log")?, &Vec::new())?;
        wire.simple(&create.replace(" NOT NULL", ""))?;
        expect_eq("files", &wire.number("SELECT count(*) FROM f")?, &10)?;
        wire.simple("DROP TABLE f; DROP TABLE h")?;
        expect(!s3.objects("files/first")?.is_empty(), || {
            "a file is gone".to_string()
        })
    })
}

/// The error of a table that is to adopt a location.
fn adopt(wire: &mut Wire, name: &str, location: &str, code: &str) -> Result<String, Failed> {
    let sql = format!(
        "CREATE TABLE {name} (id bigint PRIMARY KEY) \
         WITH (closed_when = 'id > 0', closed_location = '{location}')"
    );
    let error = wire
        .simple(&sql)
        .err()
        .ok_or_else(|| format!("{location} is adopted"))?;
    expect_eq(location, &error.code(), &Some(code))?;
    Ok(error.to_string())
}

/// Log entries, file lists and footers are read once; a lookup of a key then reads its pages.
fn what_is_read_once() -> TestResult {
    let s3 = S3::start()?;
    Server::start(s3.options("once"))?.scope(|server| {
        let mut wire = server.connect()?;
        load(&mut wire, 200_000)?;
        wire.simple("CALL nyala.housekeeping('h')")?;
        server.restart()?;
        let mut wire = server.connect()?;
        s3.requests();
        let lookup = |wire: &mut Wire, id: i64| -> Result<Vec<String>, Failed> {
            s3.requests();
            let found = wire.number(&format!("SELECT v FROM h WHERE id = {id}"))?;
            expect_eq("a lookup", &found, &id)?;
            Ok(s3.requests())
        };
        let first = lookup(&mut wire, 1_000)?;
        let log = |requests: &[String]| {
            requests
                .iter()
                .filter(|head| head.contains("_delta_log"))
                .count()
        };
        expect(log(&first) > 0, || {
            format!("the log was not read: {first:#?}")
        })?;
        let second = lookup(&mut wire, 150_000)?;
        expect_eq("reads of the log", &log(&second), &0)?;
        let third = lookup(&mut wire, 100_000)?;
        expect(third.len() <= 4, || {
            format!("a lookup takes {} requests: {third:#?}", third.len())
        })?;

        // Probes of keys, as INSERT makes them.
        let taken = |wire: &mut Wire, id: i64| -> Result<Vec<String>, Failed> {
            s3.requests();
            let sql = format!("INSERT INTO h VALUES ({id}, true, 0, '')");
            let refused = wire.simple(&sql).err();
            let code = refused.as_ref().and_then(WireError::code);
            expect_eq("a key that is taken", &code, &Some("23505"))?;
            Ok(s3.requests())
        };
        taken(&mut wire, 2_000)?;
        let probe = taken(&mut wire, 2_002)?;
        expect(probe.len() <= 2, || {
            format!("a probe takes {} requests: {probe:#?}", probe.len())
        })?;

        // A scan again reads columns, and no footer.
        let sum = "SELECT sum(v) FROM h";
        wire.number(sum)?;
        s3.requests();
        wire.number(sum)?;
        let scan = s3.requests();
        expect_eq("reads of the log", &log(&scan), &0)?;
        let lists = scan
            .iter()
            .filter(|head| head.contains("list-type"))
            .count();
        expect_eq("listings", &lists, &0)
    })
}
