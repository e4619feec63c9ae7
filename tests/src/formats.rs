//! Data directories that earlier versions of the server have written.
//!
//! | fixture | written by | holds |
//! | --- | --- | --- |
//! | `format-1-first.tgz` | the last version without ALTER TABLE | an open table, one without a key, a hybrid table after housekeeping with a reopened and a deleted row, a snapshot with fresh rows, a view |
//!
//! A fixture is made once and never changed. Each is opened, read, written to and altered.

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::wire::Wire;
use crate::harness::{TestResult, expect_eq, trial};

/// The directory as the last version without ALTER TABLE left it.
const FIRST: &str = "format-1-first.tgz";

/// One trial for what is done to a fixture.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("formats::first_is_read", first_is_read),
        trial("formats::first_is_altered", first_is_altered),
    ]
}

fn same(wire: &mut Wire, sql: &str, expected: &[&str]) -> Result<(), Failed> {
    let rows = wire.texts(sql)?;
    let rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    expect_eq(sql, &rows.as_slice(), &expected)
}

fn check_contents(wire: &mut Wire) -> Result<(), Failed> {
    let plain = "SELECT id, n, price, note FROM plain ORDER BY id";
    same(
        wire,
        plain,
        &["1|10|1.50|one", "2|NULL|NULL|NULL", "3|31|3.25|three"],
    )?;
    same(
        wire,
        "SELECT a, b FROM loose ORDER BY a",
        &["1|x", "2|NULL"],
    )?;
    let contracts = "SELECT id, amount, note, attrs FROM contracts ORDER BY id";
    let all = [
        "1|10|contract 1|{\"g\": 1}",
        "2|21|contract 2|{\"g\": 1}",
        "4|40|contract 4|{\"g\": 1}",
        "5|50|contract 5|{\"g\": 1}",
        "6|60|contract 6|{\"g\": 1}",
    ];
    same(wire, contracts, &all)?;
    same(
        wire,
        "SELECT id FROM contracts$closed ORDER BY id",
        &["1", "4"],
    )?;
    same(wire, "SELECT count(*), sum(v) FROM snapped", &["39|917"])?;
    same(
        wire,
        "SELECT count(*), sum(v) FROM snapped$snapshot",
        &["40|820"],
    )?;
    same(
        wire,
        "SELECT count(*) FROM notes WHERE note IS NOT NULL",
        &["5"],
    )
}

fn first_is_read() -> TestResult {
    Server::on_fixture(FIRST)?.scope(|server| {
        let mut wire = server.connect()?;
        check_contents(&mut wire)?;
        server.crash()?;
        let mut wire = server.connect()?;
        check_contents(&mut wire)?;
        same(
            &mut wire,
            "CALL nyala.housekeeping('contracts')",
            &["0|2|1|2|1|1"],
        )?;
        wire.simple("UPDATE plain SET n = n + 1 WHERE id = 1")?;
        same(&mut wire, "SELECT n FROM plain WHERE id = 1", &["11"])
    })
}

fn first_is_altered() -> TestResult {
    Server::on_fixture(FIRST)?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("ALTER TABLE plain ALTER n TYPE integer, ADD COLUMN k text DEFAULT 'k'")?;
        wire.simple("ALTER TABLE loose ADD COLUMN c integer NOT NULL DEFAULT 3")?;
        wire.simple(
            "ALTER TABLE contracts ALTER amount TYPE bigint, ADD COLUMN r text DEFAULT 'r'",
        )?;
        wire.simple("ALTER TABLE snapped ADD COLUMN w integer DEFAULT 2")?;
        check_contents(&mut wire)?;
        same(
            &mut wire,
            "SELECT count(*) FROM plain WHERE k = 'k'",
            &["3"],
        )?;
        same(&mut wire, "SELECT sum(c) FROM loose", &["6"])?;
        same(
            &mut wire,
            "SELECT count(*) FROM contracts WHERE r = 'r'",
            &["5"],
        )?;
        same(&mut wire, "SELECT sum(w) FROM snapped", &["78"])?;
        server.crash()?;
        let mut wire = server.connect()?;
        check_contents(&mut wire)?;
        same(
            &mut wire,
            "CALL nyala.housekeeping('contracts')",
            &["0|2|1|2|1|1"],
        )?;
        same(
            &mut wire,
            "SELECT count(*) FROM contracts WHERE r = 'r'",
            &["5"],
        )?;
        wire.simple("UPDATE snapped SET w = 3 WHERE id > 20")?;
        same(&mut wire, "CALL nyala.offload('snapped')", &["39|22|1|1|2"])?;
        same(&mut wire, "SELECT sum(w) FROM snapped", &["98"])
    })
}
