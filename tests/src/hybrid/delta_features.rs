//! Delta tables with features that Nyala itself does not write: each is read right or refused, never read wrong.
//! `tests/fixtures/delta/make.py` tells what the tables are and how they were made.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hybrid::delta_deletion_vectors", deletion_vectors),
        trial("hybrid::delta_column_mapping", column_mapping),
        trial("hybrid::delta_refused_features", refused_features),
    ]
}

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("fixtures/delta").join(name)
}

fn open(wire: &mut Wire, name: &str) -> TestResult {
    let location = fixture(name);
    let location = location.display();
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE {name} STORED AS DELTA LOCATION '{location}'"
    ))?;
    Ok(())
}

fn same(wire: &mut Wire, sql: &str, expected: &[&[&str]]) -> TestResult {
    let expected: Vec<Vec<String>> = expected
        .iter()
        .map(|row| row.iter().map(ToString::to_string).collect())
        .collect();
    expect_eq(sql, &wire.texts(sql)?, &expected)
}

fn deletion_vectors() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        open(&mut wire, "dv_inline")?;
        let ids = "SELECT id, label FROM dv_inline ORDER BY id";
        let expected: &[&[&str]] = &[
            &["1", "row 1"],
            &["4", "NULL"],
            &["6", "row 6"],
            &["7", "row 7"],
            &["8", "NULL"],
            &["9", "row 9"],
            &["10", "row 10"],
        ];
        same(&mut wire, ids, expected)?;
        // What the log tells of files counts the deleted rows, too.
        let all = "SELECT count(*), count(label), min(id), max(id), sum(id) FROM dv_inline";
        same(&mut wire, all, &[&["7", "5", "1", "10", "45"]])?;
        same(
            &mut wire,
            "SELECT count(*) FROM dv_inline WHERE id < 6",
            &[&["2"]],
        )?;
        same(&mut wire, "SELECT id FROM dv_inline WHERE id = 2", &[])?;
        same(
            &mut wire,
            "SELECT count(*) FROM dv_inline WHERE label IS NULL",
            &[&["2"]],
        )?;
        let limited = wire.texts("SELECT id FROM dv_inline LIMIT 5")?;
        expect_eq("LIMIT", &limited.len(), &5)?;
        expect(
            limited
                .iter()
                .all(|row| !["2", "3", "5"].contains(&row[0].as_str())),
            || format!("LIMIT shows deleted rows: {limited:?}"),
        )?;

        open(&mut wire, "dv_file")?;
        let all = "SELECT count(*), min(id), max(id), sum(id) FROM dv_file";
        same(&mut wire, all, &[&["2000", "1", "2999", "3000000"]])?;
        same(
            &mut wire,
            "SELECT count(*) FROM dv_file WHERE id % 3 = 0",
            &[&["0"]],
        )?;
        let filtered = "SELECT count(*), sum(id) FROM dv_file WHERE id BETWEEN 1000 AND 1010";
        same(&mut wire, filtered, &[&["8", "8040"]])?;
        let joined = "SELECT count(*) FROM dv_file a JOIN dv_inline b ON a.id = b.id";
        same(&mut wire, joined, &[&["5"]])?;

        open(&mut wire, "dv_replaced")?;
        let all = "SELECT id FROM dv_replaced ORDER BY id DESC";
        same(&mut wire, all, &[&["5"], &["4"], &["3"], &["2"]])
    })
}

fn column_mapping() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        open(&mut wire, "mapping_name")?;
        let all = "SELECT id, label, kind FROM mapping_name WHERE id IN (1, 4, 7, 8) ORDER BY id";
        let expected: &[&[&str]] = &[
            &["1", "row 1", "a"],
            &["4", "NULL", "a"],
            &["7", "row 7", "NULL"],
            &["8", "NULL", "NULL"],
        ];
        same(&mut wire, all, expected)?;
        let grouped = "SELECT kind, count(*), count(label), min(id), max(label) FROM mapping_name GROUP BY kind ORDER BY kind";
        let expected: &[&[&str]] = &[&["a", "5", "4", "1", "row 5"], &["NULL", "3", "2", "6", "row 7"]];
        same(&mut wire, grouped, expected)?;
        same(&mut wire, "SELECT count(*) FROM mapping_name WHERE kind = 'a' AND id > 2", &[&["3"]])?;
        same(&mut wire, "SELECT id FROM mapping_name WHERE label = 'row 6'", &[&["6"]])?;
        same(&mut wire, "SELECT id FROM mapping_name WHERE kind IS NULL AND label IS NULL", &[&["8"]])?;

        open(&mut wire, "mapping_dv")?;
        let all = "SELECT id, label, kind FROM mapping_dv WHERE id < 4 ORDER BY id";
        same(&mut wire, all, &[&["1", "row 1", "a"], &["3", "row 3", "a"]])?;
        same(&mut wire, "SELECT count(*), sum(id) FROM mapping_dv", &[&["4", "13"]])
    })
}

fn refused_features() -> TestResult {
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        for (name, feature) in [
            ("mapping_id", "'columnMapping' in mode 'id'"),
            ("future", "'timeTravelToTheFuture'"),
        ] {
            let refused = wire.simple(&format!(
                "CREATE EXTERNAL TABLE refused STORED AS DELTA LOCATION '{}'",
                fixture(name).display()
            ));
            let Err(error) = refused else {
                return Err(Failed::from(format!("{name} was opened")));
            };
            expect_eq(name, &error.code(), &Some("0A000"))?;
            expect(error.to_string().contains(feature), || {
                format!("{name}: the error does not name the feature: {error}")
            })?;
        }
        Ok(())
    })
}
