//! The flat table: a `BTreeMap` that does what SQL says, in the plainest way.

use std::collections::BTreeMap;

use super::alter::Extra;

/// The two key columns.
pub type Key = (i32, String);

/// The other columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub v: i64,
    pub note: Option<String>,
    /// A day of 2024, or NULL for an open row.
    pub closed_on: Option<u32>,
    /// Values of the extra columns.
    pub extras: Vec<Option<i64>>,
}

/// Why a statement must fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub &'static str);

/// A key exists already.
pub const DUPLICATE: Refusal = Refusal("23505");
/// ON CONFLICT DO UPDATE meets one key twice.
pub const TWICE: Refusal = Refusal("21000");

/// What INSERT does with a key that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    Fail,
    Nothing,
    Update,
}

/// Which rows a statement is about.
#[derive(Debug, Clone)]
pub enum Predicate {
    Key(Key),
    FirstKeyBetween(i32, i32),
    SecondKey(String),
    Value(i64),
    ValueBetween(i64, i64),
    ClosedOnOrAfter(u32),
    Remainder(i64, i64),
    Closed(bool),
    NoteIs(Option<String>),
    /// An extra column has a value, or NULL.
    ExtraIs(&'static str, Option<i64>),
    /// `k1 IN (SELECT k1 FROM m WHERE v % divisor = remainder)`.
    SharesFirstKey(i64, i64),
    And(Box<Predicate>, Box<Predicate>),
}

/// What UPDATE sets.
#[derive(Debug, Clone)]
pub enum Change {
    Add(i64),
    Note(Option<String>),
    ClosedOn(Option<u32>),
    Extra(&'static str, Option<i64>),
    /// Several columns, one of them from another column's old value.
    CloseAndDouble(u32),
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flat {
    pub rows: BTreeMap<Key, Row>,
    /// Columns beside those that the table is created with.
    pub extras: Vec<Extra>,
}

impl Flat {
    /// Position of an extra column.
    pub fn extra(&self, name: &str) -> Option<usize> {
        self.extras.iter().position(|extra| extra.name == name)
    }

    /// The number of rows inserted or updated; on refusal nothing changes.
    pub fn insert(&mut self, rows: &[(Key, Row)], on_conflict: OnConflict) -> Result<u64, Refusal> {
        let mut after = self.rows.clone();
        let mut touched = std::collections::BTreeSet::new();
        for (key, row) in rows {
            let exists = after.contains_key(key);
            match on_conflict {
                OnConflict::Fail if exists => return Err(DUPLICATE),
                OnConflict::Nothing if exists => continue,
                OnConflict::Update if touched.contains(key) => return Err(TWICE),
                OnConflict::Update if exists => {
                    if let Some(old) = after.get_mut(key) {
                        old.v += row.v;
                        old.note.clone_from(&row.note);
                        old.closed_on = row.closed_on;
                    }
                }
                _ => {
                    let extras = self.extras.iter().map(|extra| extra.default).collect();
                    after.insert(
                        key.clone(),
                        Row {
                            extras,
                            ..row.clone()
                        },
                    );
                }
            }
            touched.insert(key.clone());
        }
        self.rows = after;
        Ok(touched.len() as u64)
    }

    /// Keys of the rows that match.
    pub fn matching(&self, predicate: &Predicate) -> Vec<Key> {
        let matches = |(key, row): &(&Key, &Row)| self.matches(predicate, key, row);
        self.rows
            .iter()
            .filter(matches)
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn matches(&self, predicate: &Predicate, key: &Key, row: &Row) -> bool {
        match predicate {
            Predicate::Key(wanted) => key == wanted,
            Predicate::FirstKeyBetween(low, high) => (*low..=*high).contains(&key.0),
            Predicate::SecondKey(second) => key.1 == *second,
            Predicate::Value(value) => row.v == *value,
            Predicate::ValueBetween(low, high) => (*low..=*high).contains(&row.v),
            Predicate::ClosedOnOrAfter(day) => row.closed_on.is_some_and(|closed| closed >= *day),
            Predicate::Remainder(divisor, remainder) => row.v % divisor == *remainder,
            Predicate::Closed(closed) => row.closed_on.is_some() == *closed,
            Predicate::NoteIs(note) => row.note == *note,
            Predicate::ExtraIs(name, value) => {
                let at = self.extra(name);
                at.is_some_and(|at| row.extras.get(at) == Some(value))
            }
            Predicate::SharesFirstKey(divisor, remainder) => {
                let mut others = self.rows.iter().filter(|(other, _)| other.0 == key.0);
                others.any(|(_, other)| other.v % divisor == *remainder)
            }
            Predicate::And(left, right) => {
                self.matches(left, key, row) && self.matches(right, key, row)
            }
        }
    }

    /// The number of rows updated.
    pub fn update(&mut self, change: &Change, predicate: &Predicate) -> u64 {
        let keys = self.matching(predicate);
        let extra = match change {
            Change::Extra(name, _) => self.extra(name),
            _ => None,
        };
        for key in &keys {
            if let Some(row) = self.rows.get_mut(key) {
                match change {
                    Change::Extra(_, value) => {
                        if let Some(slot) = extra.and_then(|at| row.extras.get_mut(at)) {
                            *slot = *value;
                        }
                    }
                    Change::Add(amount) => row.v += amount,
                    Change::Note(note) => row.note.clone_from(note),
                    Change::ClosedOn(day) => row.closed_on = *day,
                    Change::CloseAndDouble(day) => {
                        row.closed_on = Some(*day);
                        row.v *= 2;
                        row.note = Some(format!("{}{}", key.0, key.1));
                    }
                }
            }
        }
        keys.len() as u64
    }

    /// The number of rows deleted.
    pub fn delete(&mut self, predicate: &Predicate) -> u64 {
        let keys = self.matching(predicate);
        for key in &keys {
            self.rows.remove(key);
        }
        keys.len() as u64
    }
}
