//! `closed_location`: files of others as the closed part of a new table. They must show the rows they hold, follow every change
//! of these, and stay on disk when the table goes.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::harness::server::Server;
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hybrid::adopt_delta", delta),
        trial("hybrid::adopt_deletion_vectors", deletion_vectors),
        trial("hybrid::adopt_partitioned_delta", partitioned_delta),
        trial("hybrid::adopt_parquet", parquet),
        trial("hybrid::adopt_hive_directories", hive_directories),
        trial("hybrid::adopt_refused", refused),
        trial("hybrid::adopt_other_writer", other_writer),
    ]
}

/// A copy of a fixture that may be written to.
fn copied(name: &str) -> Result<(TempDir, String), std::io::Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir()?;
    copy(&root.join("fixtures/delta").join(name), directory.path())?;
    let location = directory.path().display().to_string();
    Ok((directory, location))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => std::fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

/// Data files below a directory.
fn data_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(data_files(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn same(wire: &mut Wire, sql: &str, expected: &[&[&str]]) -> TestResult {
    let expected: Vec<Vec<String>> = expected
        .iter()
        .map(|row| row.iter().map(ToString::to_string).collect())
        .collect();
    expect_eq(sql, &wire.texts(sql)?, &expected)
}

fn fails(wire: &mut Wire, sql: &str, code: &str, says: &str) -> TestResult {
    match wire.simple(sql) {
        Ok(_) => Err(format!("{sql}: was not refused").into()),
        Err(error) => {
            expect_eq(sql, &error.code(), &Some(code))?;
            expect(error.to_string().contains(says), || {
                format!("{sql}: the error does not say \"{says}\": {error}")
            })
        }
    }
}

/// A table over a copy of a fixture, with `done` as what closes rows.
fn delta() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        // The Delta table of a hybrid table, which is then dropped, is one of "others".
        wire.simple("CREATE TABLE s (id bigint, note text, at timestamptz, price numeric(10,2), x float8, PRIMARY KEY (id)) WITH (closed_when = 'id > 0')")?;
        wire.simple("INSERT INTO s SELECT x, 'note ' || x, timestamptz '2024-01-01 00:00:00+00' + (x::text || ' hours')::interval, x * 0.25, CASE WHEN x % 9 = 0 THEN 'NaN'::float8 ELSE x::float8 END FROM generate_series(1, 1000) AS g(x)")?;
        wire.simple("CALL nyala.housekeeping('s')")?;
        let closed = server.data_dir().join("closed");
        let folder = std::fs::read_dir(closed)?.next().ok_or("no closed table")??.path();
        let directory = tempfile::tempdir()?;
        copy(&folder, directory.path())?;
        let location = directory.path().display().to_string();
        let before = data_files(directory.path())?;
        let definition = "id bigint PRIMARY KEY, note text, at timestamptz, price numeric(10,2), x float8";
        wire.simple(&format!(
            "CREATE TABLE a ({definition}) WITH (closed_when = 'id > 0', closed_location = '{location}')"
        ))?;
        let all = "count(*), sum(id), min(at), sum(price), count(*) FILTER (WHERE x > '1000000000'::float8)";
        let adopted = wire.texts(&format!("SELECT {all} FROM a"))?;
        expect_eq("rows", &adopted, &wire.texts(&format!("SELECT {all} FROM s"))?)?;
        same(&mut wire, "SELECT (SELECT count(*) FROM a$open), (SELECT count(*) FROM a$closed)", &[&["0", "1000"]])?;
        same(&mut wire, "SELECT note FROM a WHERE id = 77", &[&["note 77"]])?;
        same(&mut wire, "SELECT count(*) FROM a WHERE x = 'NaN'", &[&["111"]])?;
        fails(&mut wire, "INSERT INTO a (id) VALUES (500)", "23505", "a_pkey")?;

        // Rows are reopened, deleted, added, and housekeeping brings it into the files.
        wire.simple("UPDATE a SET note = 'changed' WHERE id IN (1, 500)")?;
        wire.simple("DELETE FROM a WHERE id BETWEEN 10 AND 19")?;
        wire.simple("INSERT INTO a (id, note) VALUES (2000, 'new')")?;
        let counts = "SELECT count(*), sum(id), count(*) FILTER (WHERE note IN ('changed', 'new')) FROM a";
        let expected: &[&[&str]] = &[&["991", "502355", "3"]];
        same(&mut wire, counts, expected)?;
        wire.simple("CALL nyala.housekeeping('a')")?;
        same(&mut wire, counts, expected)?;
        same(&mut wire, "SELECT count(*) FROM a$open", &[&["0"]])?;
        let mut wire = {
            drop(wire);
            server.restart()?;
            server.connect()?
        };
        same(&mut wire, counts, expected)?;

        // Another reader of the Delta table sees the same, and the files of before are still there.
        wire.simple(&format!("CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{location}'"))?;
        same(&mut wire, "SELECT count(*), sum(id) FROM e", &[&["991", "502355"]])?;
        let create = format!("CREATE TABLE again ({definition}) WITH (closed_when = 'id > 0', closed_location = 'file://{location}/')");
        fails(&mut wire, &create, "55006", "another table")?;
        let options = wire.texts("SELECT array_to_string(reloptions, ' ') FROM pg_class WHERE relname = 'a'")?;
        expect(options[0][0].contains("closed_location=file://"), || format!("{options:?}"))?;
        wire.simple("DROP TABLE a")?;
        server.restart()?;
        let mut wire = server.connect()?;
        let after = data_files(directory.path())?;
        expect(before.iter().all(|file| after.contains(file)), || {
            format!("files are gone: {before:?}, {after:?}")
        })?;
        same(&mut wire, "SELECT count(*), sum(id) FROM e", &[&["991", "502355"]])?;
        // What was left can be adopted again, and TRUNCATE leaves it.
        wire.simple(&create)?;
        same(&mut wire, "SELECT count(*) FROM again", &[&["991"]])?;
        wire.simple("TRUNCATE again")?;
        same(&mut wire, "SELECT count(*) FROM again", &[&["0"]])?;
        wire.simple("INSERT INTO again (id) VALUES (1)")?;
        wire.simple("CALL nyala.housekeeping('again')")?;
        same(&mut wire, "SELECT count(*) FROM again$closed", &[&["1"]])?;
        same(&mut wire, "SELECT count(*), sum(id) FROM e", &[&["991", "502355"]])
    })
}

fn deletion_vectors() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let (_directory, location) = copied("dv_file")?;
        wire.simple(&format!(
            "CREATE TABLE v (id bigint PRIMARY KEY, label text) WITH (closed_when = 'label IS NOT NULL', closed_location = '{location}')"
        ))?;
        let all = "SELECT count(*), min(id), max(id), sum(id) FROM v";
        same(&mut wire, all, &[&["2000", "1", "2999", "3000000"]])?;
        same(&mut wire, "SELECT count(*) FROM v WHERE id % 3 = 0", &[&["0"]])?;
        let limited = wire.texts("SELECT id FROM v LIMIT 1500")?;
        expect_eq("LIMIT", &limited.len(), &1500)?;
        same(&mut wire, "SELECT label FROM v WHERE id = 6", &[])?;
        // A deleted key is free, one beside it is not.
        fails(&mut wire, "INSERT INTO v VALUES (7, 'x')", "23505", "v_pkey")?;
        wire.simple("INSERT INTO v VALUES (6, 'six')")?;
        wire.simple("UPDATE v SET label = 'seven' WHERE id = 7")?;
        wire.simple("DELETE FROM v WHERE id = 8")?;
        let after: &[&[&str]] = &[&["2000", "1", "2999", "2999998"]];
        same(&mut wire, all, after)?;
        same(&mut wire, "SELECT id, label FROM v WHERE id BETWEEN 5 AND 9 ORDER BY id", &[&["5", "row 5"], &["6", "six"], &["7", "seven"]])?;
        wire.simple("CALL nyala.housekeeping('v')")?;
        same(&mut wire, all, after)?;
        same(&mut wire, "SELECT id, label FROM v$closed WHERE id BETWEEN 5 AND 9 ORDER BY id", &[&["5", "row 5"], &["6", "six"], &["7", "seven"]])?;
        wire.simple(&format!("CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{location}'"))?;
        same(&mut wire, "SELECT count(*), min(id), max(id), sum(id) FROM e", after)
    })
}

fn partitioned_delta() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let (_directory, location) = copied("plain")?;
        wire.simple(&format!(
            "CREATE TABLE p (kind text, id bigint PRIMARY KEY, label text) WITH (closed_when = 'label IS NOT NULL', closed_location = '{location}')"
        ))?;
        let all = "SELECT id, label, kind FROM p ORDER BY id";
        let expected: &[&[&str]] = &[
            &["1", "row 1", "a b"],
            &["2", "row 2", "NULL"],
            &["3", "row 3", "a b"],
            &["4", "NULL", "NULL"],
            &["5", "row 5", "a b"],
            &["6", "row 6", "NULL"],
            &["7", "row 7", "NULL"],
            &["8", "NULL", "NULL"],
        ];
        same(&mut wire, all, expected)?;
        same(&mut wire, "SELECT array_to_string(reloptions, ' ') LIKE '%closed_partition_by=kind' FROM pg_class WHERE relname = 'p'", &[&["t"]])?;
        same(&mut wire, "SELECT id FROM p WHERE kind = 'a b' ORDER BY id", &[&["1"], &["3"], &["5"]])?;
        same(&mut wire, "SELECT count(*) FROM p WHERE kind IS NULL", &[&["5"]])?;
        same(&mut wire, "SELECT kind, count(*), max(kind) FROM p GROUP BY kind ORDER BY kind", &[&["a b", "3", "a b"], &["NULL", "5", "NULL"]])?;
        same(&mut wire, "SELECT kind FROM p WHERE id = 5", &[&["a b"]])?;
        fails(&mut wire, "INSERT INTO p (id) VALUES (6)", "23505", "p_pkey")?;
        fails(&mut wire, "ALTER TABLE p RESET (closed_partition_by)", "42P16", "kind")?;
        fails(&mut wire, "ALTER TABLE p DROP COLUMN kind", "2BP01", "kind")?;
        wire.simple("UPDATE p SET kind = '' WHERE id = 1")?;
        wire.simple("UPDATE p SET kind = 'it''s/100%' WHERE id = 2")?;
        wire.simple("DELETE FROM p WHERE id = 3")?;
        wire.simple("INSERT INTO p VALUES ('a b', 9, 'row 9'), (NULL, 10, 'row 10')")?;
        wire.simple("ALTER TABLE p RENAME COLUMN kind TO sort")?;
        let all = "SELECT id, label, sort FROM p ORDER BY id";
        let expected: &[&[&str]] = &[
            &["1", "row 1", ""],
            &["2", "row 2", "it's/100%"],
            &["4", "NULL", "NULL"],
            &["5", "row 5", "a b"],
            &["6", "row 6", "NULL"],
            &["7", "row 7", "NULL"],
            &["8", "NULL", "NULL"],
            &["9", "row 9", "a b"],
            &["10", "row 10", "NULL"],
        ];
        same(&mut wire, all, expected)?;
        wire.simple("CALL nyala.housekeeping('p')")?;
        same(&mut wire, all, expected)?;
        same(&mut wire, "SELECT count(*) FROM p$open", &[&["0"]])?;
        same(&mut wire, "SELECT id FROM p WHERE sort = '' OR sort LIKE 'it%' ORDER BY id", &[&["1"], &["2"]])?;
        wire.simple(&format!("CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{location}'"))?;
        // To other readers an empty text in a partition column is NULL.
        same(&mut wire, "SELECT id, label, coalesce(kind, '') FROM e WHERE id IN (1, 2, 5, 9) ORDER BY id", &[&["1", "row 1", ""], &["2", "row 2", "it's/100%"], &["5", "row 5", "a b"], &["9", "row 9", "a b"]])?;
        same(&mut wire, "SELECT count(*), sum(id) FROM e", &[&["9", "52"]])?;
        server.restart()?;
        let mut wire = server.connect()?;
        same(&mut wire, all, expected)
    })
}

fn parquet() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let (directory, location) = copied("dv_inline")?;
        // Without their log they are files: no row of them is deleted.
        std::fs::remove_dir_all(directory.path().join("_delta_log"))?;
        wire.simple(&format!(
            "CREATE TABLE q (id bigint PRIMARY KEY, label text) WITH (closed_when = 'label IS NOT NULL', closed_location = '{location}', closed_partition_by = 'bucket(2, id)')"
        ))?;
        same(&mut wire, "SELECT count(*), sum(id), count(label) FROM q", &[&["10", "55", "8"]])?;
        same(&mut wire, "SELECT label FROM q WHERE id = 9", &[&["row 9"]])?;
        same(&mut wire, "SELECT count(*) FROM q WHERE label IS NULL", &[&["2"]])?;
        fails(&mut wire, "INSERT INTO q VALUES (3)", "23505", "q_pkey")?;
        wire.simple("UPDATE q SET label = 'all' WHERE id > 2")?;
        wire.simple("CALL nyala.housekeeping('q')")?;
        same(&mut wire, "SELECT count(*), sum(id), count(*) FILTER (WHERE label = 'all') FROM q$closed", &[&["10", "55", "8"]])?;
        wire.simple(&format!("CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{location}'"))?;
        same(&mut wire, "SELECT count(*), sum(id) FROM e", &[&["10", "55"]])
    })
}

fn hive_directories() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let (directory, location) = copied("dv_inline")?;
        let root = directory.path();
        std::fs::remove_dir_all(root.join("_delta_log"))?;
        for (file, folder) in [
            ("first.parquet", "day=2024-02-29/kind=a%2Fb"),
            ("second.parquet", "day=2024-03-01/kind=__HIVE_DEFAULT_PARTITION__"),
        ] {
            std::fs::create_dir_all(root.join(folder))?;
            std::fs::rename(root.join(file), root.join(folder).join(file))?;
        }
        std::fs::write(root.join("_SUCCESS"), b"")?;
        let columns = "id bigint, label text, day date, kind text, PRIMARY KEY (day, id)";
        wire.simple(&format!(
            "CREATE TABLE d ({columns}) WITH (closed_when = 'label IS NOT NULL', closed_location = '{location}')"
        ))?;
        let grouped = "SELECT day, kind, count(*), sum(id) FROM d GROUP BY day, kind ORDER BY day";
        same(&mut wire, grouped, &[&["2024-02-29", "a/b", "6", "21"], &["2024-03-01", "NULL", "4", "34"]])?;
        same(&mut wire, "SELECT label FROM d WHERE day = '2024-03-01' AND id = 9", &[&["row 9"]])?;
        same(&mut wire, "SELECT count(*) FROM d WHERE day >= '2024-03-01'", &[&["4"]])?;
        fails(&mut wire, "INSERT INTO d VALUES (9, 'x', '2024-03-01')", "23505", "d_pkey")?;
        wire.simple("INSERT INTO d VALUES (9, 'x', '2024-02-29', 'a/b')")?;
        wire.simple("DELETE FROM d WHERE id = 1")?;
        wire.simple("UPDATE d SET kind = 'c' WHERE id = 10")?;
        wire.simple("CALL nyala.housekeeping('d')")?;
        let expected: &[&[&str]] = &[
            &["2024-02-29", "a/b", "6", "29"],
            &["2024-03-01", "c", "1", "10"],
            &["2024-03-01", "NULL", "3", "24"],
        ];
        let grouped = "SELECT day, kind, count(*), sum(id) FROM d GROUP BY day, kind ORDER BY day, kind";
        same(&mut wire, grouped, expected)?;
        wire.simple(&format!("CREATE EXTERNAL TABLE e STORED AS DELTA LOCATION '{location}'"))?;
        same(&mut wire, &grouped.replace("FROM d", "FROM e"), expected)
    })
}

fn refused() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let with = |columns: &str, location: &str| {
            format!("CREATE TABLE r ({columns}) WITH (closed_when = 'label IS NOT NULL', closed_location = '{location}')")
        };
        let right = "id bigint PRIMARY KEY, label text";
        let (_a, delta) = copied("dv_inline")?;
        let (b, files) = copied("dv_inline")?;
        std::fs::remove_dir_all(b.path().join("_delta_log"))?;
        for location in [&delta, &files] {
            fails(&mut wire, &with("id integer PRIMARY KEY, label text", location), "42804", "\"id\"")?;
            fails(&mut wire, &with("id bigint PRIMARY KEY, label jsonb", location), "42804", "\"label\"")?;
            fails(&mut wire, &with("id bigint PRIMARY KEY, label text, more text", location), "42703", "\"more\"")?;
            fails(&mut wire, &with("id bigint PRIMARY KEY", location).replace("label IS NOT NULL", "id > 0"), "42703", "\"label\"")?;
            fails(&mut wire, &with("id bigint PRIMARY KEY, label text NOT NULL", location), "23502", "\"label\"")?;
            fails(&mut wire, &with("id bigint, label text, PRIMARY KEY (label)", location), "23502", "\"label\"")?;
        }
        // What is refused has no log made for it.
        expect(!b.path().join("_delta_log").exists(), || "a log stays".to_string())?;
        // A file twice: each key is there twice.
        std::fs::copy(b.path().join("first.parquet"), b.path().join("third.parquet"))?;
        fails(&mut wire, &with(right, &files), "23505", "twice")?;
        for (name, feature) in [("mapping_name", "columnMapping"), ("future", "timeTravelToTheFuture")] {
            let (_directory, location) = copied(name)?;
            let columns = "id bigint PRIMARY KEY, label text, kind text";
            fails(&mut wire, &with(columns, &location), "0A000", feature)?;
        }
        let empty = tempfile::tempdir()?;
        fails(&mut wire, &with(right, &empty.path().display().to_string()), "58P01", "Parquet")?;
        fails(&mut wire, &with(right, "/nowhere/at/all"), "58P01", "closed_location")?;
        fails(&mut wire, &with(right, "relative"), "22023", "relative")?;
        fails(&mut wire, &with(right, &server.data_dir().join("rows").display().to_string()), "22023", "data directory")?;
        fails(&mut wire, &format!("CREATE TABLE r ({right}) WITH (closed_location = '{delta}')"), "22023", "closed_when")?;
        // What was refused can be done right.
        wire.simple(&with(right, &delta))?;
        fails(&mut wire, "ALTER TABLE r SET (closed_location = '/tmp')", "0A000", "closed_location")?;
        same(&mut wire, "SELECT count(*) FROM r", &[&["7"]])
    })
}

/// A commit of somebody else is never taken for the end of an own run.
fn other_writer() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        let (directory, location) = copied("dv_replaced")?;
        wire.simple(&format!(
            "CREATE TABLE o (id bigint PRIMARY KEY, label text) WITH (closed_when = 'label IS NOT NULL', closed_location = '{location}')"
        ))?;
        same(&mut wire, "SELECT count(*) FROM o", &[&["4"]])?;
        wire.simple("INSERT INTO o VALUES (6, 'open'), (7, 'open')")?;
        // The next commit brings row 6 back.
        let log = directory.path().join("_delta_log");
        let first = std::fs::read_to_string(log.join(format!("{:020}.json", 0)))?;
        let add = first.lines().find(|line| line.contains("\"add\"")).ok_or("no add")?;
        let last = std::fs::read_to_string(log.join(format!("{:020}.json", 2)))?;
        let added = last.lines().find(|line| line.contains("\"add\"")).ok_or("no add")?;
        let mut removed: serde_json::Value = serde_json::from_str(added)?;
        let mut action = removed["add"].take();
        action["deletionTimestamp"] = 1_700_000_000_000_i64.into();
        let remove = serde_json::json!({ "remove": action });
        std::fs::write(log.join(format!("{:020}.json", 3)), format!("{remove}\n{add}\n"))?;
        for _ in 0..3 {
            expect(wire.simple("CALL nyala.housekeeping('o')").is_err(), || {
                "housekeeping went over another writer's commit".to_string()
            })?;
            same(&mut wire, "SELECT count(*), sum(id), count(*) FILTER (WHERE label = 'open') FROM o", &[&["6", "27", "2"]])?;
        }
        server.crash()?;
        let mut wire = server.connect()?;
        same(&mut wire, "SELECT count(*), sum(id), count(*) FILTER (WHERE label = 'open') FROM o", &[&["6", "27", "2"]])
    })
}
