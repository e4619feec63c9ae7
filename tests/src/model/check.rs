//! Compares the server's table with the flat one: whole content, parts, filters, aggregates, lookups.
//!
//! Most of a history's time goes here, so after a plain statement only some queries are asked; the same seed asks the same ones.

use libtest_mimic::Failed;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::flat::{Flat, Key, Row};
use super::history::Kind;
use super::step::{key, predicate, predicate_sql, value};
use crate::harness::wire::{Format, Wire};

/// All columns of the table.
fn columns(flat: &Flat) -> String {
    let first = ["k1", "k2", "v", "note", "closed_on"].into_iter();
    let all = first.chain(flat.extras.iter().map(|extra| extra.name));
    all.collect::<Vec<_>>().join(", ")
}

/// One query, or a few that belong together, whose answer the flat table knows.
type Look = fn(&mut Wire, &Flat, &mut StdRng) -> Result<(), Failed>;

/// What is asked of every table.
const LOOKS: [Look; 9] = [
    starred, content, count, filtered, aggregated, limited, by_key, by_keys, by_value,
];

/// What is asked of a hybrid table besides.
const HYBRID_LOOKS: [Look; 1] = [parts];

/// Queries of a glance.
const GLANCE: usize = 2;

/// Keys of a list.
const LISTED: usize = 8;

fn looks(kind: Kind) -> Vec<Look> {
    let mut looks = LOOKS.to_vec();
    if kind == Kind::Hybrid {
        looks.extend(HYBRID_LOOKS);
    }
    looks
}

/// Asks all that can be asked; fails with the first difference.
pub fn check(wire: &mut Wire, kind: Kind, flat: &Flat, random: &mut StdRng) -> Result<(), Failed> {
    looks(kind)
        .iter()
        .try_for_each(|look| look(wire, flat, random))
}

/// Asks some of it, drawn at random.
pub fn glance(wire: &mut Wire, kind: Kind, flat: &Flat, random: &mut StdRng) -> Result<(), Failed> {
    let looks = looks(kind);
    let drawn: Vec<Look> = looks.choose_multiple(random, GLANCE).copied().collect();
    drawn.iter().try_for_each(|look| look(wire, flat, random))
}

fn starred(wire: &mut Wire, flat: &Flat, _: &mut StdRng) -> Result<(), Failed> {
    let found = wire.texts("SELECT * FROM m ORDER BY k1, k2")?;
    same("all columns", &found, &rows(flat))
}

fn content(wire: &mut Wire, flat: &Flat, _: &mut StdRng) -> Result<(), Failed> {
    let sql = format!("SELECT {} FROM m ORDER BY k1, k2", columns(flat));
    same("content", &wire.texts(&sql)?, &rows(flat))
}

fn count(wire: &mut Wire, flat: &Flat, _: &mut StdRng) -> Result<(), Failed> {
    let expected = vec![vec![flat.rows.len().to_string()]];
    same("count", &wire.texts("SELECT count(*) FROM m")?, &expected)
}

fn filtered(wire: &mut Wire, flat: &Flat, random: &mut StdRng) -> Result<(), Failed> {
    let wanted = predicate(random, flat);
    let (all, filter) = (columns(flat), predicate_sql(&wanted));
    let keys = flat.matching(&wanted);
    let expected: Vec<Vec<String>> = keys
        .iter()
        .filter_map(|key| flat.rows.get_key_value(key))
        .map(texts)
        .collect();
    let sql = format!("SELECT {all} FROM m WHERE {filter} ORDER BY k1, k2");
    same(&sql, &wire.texts(&sql)?, &expected)
}

fn aggregated(wire: &mut Wire, flat: &Flat, random: &mut StdRng) -> Result<(), Failed> {
    let wanted = predicate(random, flat);
    let filter = predicate_sql(&wanted);
    let keys = flat.matching(&wanted);
    let sum: i64 = keys
        .iter()
        .filter_map(|key| flat.rows.get(key))
        .map(|row| row.v)
        .sum();
    let sql = format!("SELECT count(*), coalesce(sum(v), 0) FROM m WHERE {filter}");
    let expected = vec![vec![keys.len().to_string(), sum.to_string()]];
    same(&sql, &wire.texts(&sql)?, &expected)
}

fn limited(wire: &mut Wire, flat: &Flat, _: &mut StdRng) -> Result<(), Failed> {
    let found = wire.query("SELECT k1 FROM m LIMIT 3")?.rows.len();
    same("LIMIT 3", &found, &flat.rows.len().min(3))
}

/// A prepared lookup of a row by its key.
fn by_key(wire: &mut Wire, flat: &Flat, random: &mut StdRng) -> Result<(), Failed> {
    let key = key(random, flat);
    let first = key.0.to_string();
    let parameters = [Some(first.as_str()), Some(key.1.as_str())];
    let all = columns(flat);
    let sql = format!("SELECT {all} FROM m WHERE k1 = $1 AND k2 = $2");
    let found = wire.extended(&sql, &parameters, Format::Text)?.texts();
    let expected: Vec<_> = flat
        .rows
        .get_key_value(&key)
        .map(texts)
        .into_iter()
        .collect();
    same(&format!("{sql} with {key:?}"), &found, &expected)
}

/// A prepared lookup of the rows of a list of keys, in which one may come twice.
fn by_keys(wire: &mut Wire, flat: &Flat, random: &mut StdRng) -> Result<(), Failed> {
    let second = key(random, flat).1;
    let firsts: Vec<i32> = (0..LISTED).map(|_| key(random, flat).0).collect();
    let list = firsts.iter().map(i32::to_string).collect::<Vec<_>>();
    let list = format!("{{{},NULL}}", list.join(","));
    let all = columns(flat);
    let sql = format!("SELECT {all} FROM m WHERE k1 = ANY ($1) AND k2 = $2");
    let parameters = [Some(list.as_str()), Some(second.as_str())];
    let mut found = wire.extended(&sql, &parameters, Format::Text)?.texts();
    let mut expected: Vec<_> = flat
        .rows
        .iter()
        .filter(|(key, _)| key.1 == second && firsts.contains(&key.0))
        .map(texts)
        .collect();
    found.sort();
    expected.sort();
    same(&format!("{sql} with {parameters:?}"), &found, &expected)
}

/// Prepared lookups by a column that may have an index.
fn by_value(wire: &mut Wire, flat: &Flat, random: &mut StdRng) -> Result<(), Failed> {
    let value = value(random, flat);
    let text = value.to_string();
    let all = columns(flat);
    let sql = format!("SELECT {all} FROM m WHERE v = $1");
    let mut found = wire.extended(&sql, &[Some(&text)], Format::Text)?.texts();
    let mut expected: Vec<_> = flat
        .rows
        .iter()
        .filter(|(_, row)| row.v == value)
        .map(texts)
        .collect();
    found.sort();
    expected.sort();
    same(&format!("{sql} with {value}"), &found, &expected)
}

/// Each key lies in exactly one part, and the parts together are the table.
fn parts(wire: &mut Wire, flat: &Flat, _: &mut StdRng) -> Result<(), Failed> {
    let all = columns(flat);
    let sql = format!(
        "SELECT {all} FROM (SELECT {all} FROM m$open UNION ALL \
         SELECT {all} FROM m$closed) parts ORDER BY k1, k2"
    );
    same(
        "m$open and m$closed together",
        &wire.texts(&sql)?,
        &rows(flat),
    )
}

/// After housekeeping no row is left on the wrong side.
pub fn settled(wire: &mut Wire, flat: &Flat) -> Result<(), Failed> {
    let closed = flat
        .rows
        .values()
        .filter(|row| row.closed_on.is_some())
        .count() as i64;
    let open = flat.rows.len() as i64 - closed;
    let found = wire.number("SELECT count(*) FROM m$open WHERE closed_on IS NULL")?;
    same("open rows in m$open after housekeeping", &found, &open)?;
    let found = wire.number("SELECT count(*) FROM m$closed WHERE closed_on IS NOT NULL")?;
    same(
        "closed rows in m$closed after housekeeping",
        &found,
        &closed,
    )
}

/// All rows, in the order of their keys.
fn rows(flat: &Flat) -> Vec<Vec<String>> {
    flat.rows.iter().map(texts).collect()
}

fn texts((key, row): (&Key, &Row)) -> Vec<String> {
    let null = || "NULL".to_string();
    let mut texts = vec![
        key.0.to_string(),
        key.1.clone(),
        row.v.to_string(),
        row.note.clone().unwrap_or_else(null),
        row.closed_on
            .map_or_else(null, |day| format!("2024-02-{day:02}")),
    ];
    let extras = row.extras.iter();
    texts.extend(extras.map(|value| value.map_or_else(null, |value| value.to_string())));
    texts
}

fn same<T: PartialEq + std::fmt::Debug + Differ>(
    what: &str,
    got: &T,
    expected: &T,
) -> Result<(), Failed> {
    if got == expected {
        Ok(())
    } else {
        Err(format!("{what}: {}", got.differ(expected)).into())
    }
}

/// A short account of a difference.
trait Differ {
    fn differ(&self, expected: &Self) -> String;
}

impl Differ for usize {
    fn differ(&self, expected: &Self) -> String {
        format!("expected {expected}, got {self}")
    }
}

impl Differ for i64 {
    fn differ(&self, expected: &Self) -> String {
        format!("expected {expected}, got {self}")
    }
}

impl Differ for Vec<Vec<String>> {
    fn differ(&self, expected: &Self) -> String {
        let missing: Vec<_> = expected
            .iter()
            .filter(|row| !self.contains(row))
            .take(5)
            .collect();
        let extra: Vec<_> = self
            .iter()
            .filter(|row| !expected.contains(row))
            .take(5)
            .collect();
        let (got, wanted) = (self.len(), expected.len());
        format!("expected {wanted} rows, got {got}; missing {missing:?}, unexpected {extra:?}")
    }
}
