//! Changes of the table's columns: extra columns come, go, and change their names and types; the names are few, so that
//! dropped ones come again.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::flat::Flat;

/// Names of extra columns.
const NAMES: [&str; 4] = ["x", "y", "z", "note2"];

/// Types of extra columns, each wider than the one before, with the largest value drawn for it.
const TYPES: [(&str, i64); 3] = [
    ("smallint", 30_000),
    ("integer", 2_000_000_000),
    ("bigint", 1 << 60),
];

/// A column beside those that the table is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    pub name: &'static str,
    /// Index of its type.
    width: usize,
    /// What new rows have.
    pub default: Option<i64>,
}

impl Extra {
    /// A value that the column can hold.
    pub fn value(&self, random: &mut StdRng) -> Option<i64> {
        let (_, largest) = TYPES[self.width];
        let values = [None, Some(0), Some(7), Some(largest), Some(-largest)];
        values.choose(random).copied().flatten()
    }
}

/// One ALTER TABLE.
#[derive(Debug, Clone)]
pub enum Alter {
    Add(Extra),
    Drop(&'static str),
    Rename(&'static str, &'static str),
    Widen(&'static str, usize),
    Default(&'static str, Option<i64>),
}

impl Alter {
    /// Draws one that fits the table.
    pub fn draw(random: &mut StdRng, state: &Flat) -> Self {
        let free = |name: &&&str| !state.extras.iter().any(|extra| extra.name == **name);
        let free = NAMES.iter().filter(free).copied().collect::<Vec<_>>();
        let existing = state.extras.choose(random).cloned();
        let free = free.choose(random).copied();
        match (existing, free, random.random_range(0..6)) {
            (Some(extra), _, 0) => Self::Drop(extra.name),
            (Some(extra), Some(free), 1) => Self::Rename(extra.name, free),
            (Some(extra), _, 2) if extra.width + 1 < TYPES.len() => {
                let width = random.random_range(extra.width + 1..TYPES.len());
                Self::Widen(extra.name, width)
            }
            (Some(extra), _, 3) => Self::Default(extra.name, extra.value(random)),
            (_, Some(name), _) => {
                let width = random.random_range(0..TYPES.len());
                let mut extra = Extra {
                    name,
                    width,
                    default: None,
                };
                extra.default = extra.value(random);
                Self::Add(extra)
            }
            (Some(extra), None, _) => Self::Drop(extra.name),
            (None, None, _) => unreachable!("a name is free or taken"),
        }
    }

    /// The statement's text.
    pub fn sql(&self) -> String {
        match self {
            Self::Add(extra) => {
                let (name, (ty, _)) = (extra.name, TYPES[extra.width]);
                match extra.default {
                    Some(value) => format!("ALTER TABLE m ADD COLUMN {name} {ty} DEFAULT {value}"),
                    None => format!("ALTER TABLE m ADD COLUMN {name} {ty}"),
                }
            }
            Self::Drop(name) => format!("ALTER TABLE m DROP COLUMN {name}"),
            Self::Rename(old, new) => format!("ALTER TABLE m RENAME COLUMN {old} TO {new}"),
            Self::Widen(name, width) => {
                let (ty, _) = TYPES[*width];
                format!("ALTER TABLE m ALTER COLUMN {name} TYPE {ty}")
            }
            Self::Default(name, None) => {
                format!("ALTER TABLE m ALTER COLUMN {name} DROP DEFAULT")
            }
            Self::Default(name, Some(value)) => {
                format!("ALTER TABLE m ALTER COLUMN {name} SET DEFAULT {value}")
            }
        }
    }

    /// Changes the flat table.
    pub fn apply(&self, state: &mut Flat) {
        match self {
            Self::Add(extra) => {
                state.extras.push(extra.clone());
                for row in state.rows.values_mut() {
                    row.extras.push(extra.default);
                }
            }
            Self::Drop(name) => {
                if let Some(at) = state.extra(name) {
                    state.extras.remove(at);
                    for row in state.rows.values_mut() {
                        row.extras.remove(at);
                    }
                }
            }
            Self::Rename(old, new) => {
                if let Some(at) = state.extra(old) {
                    state.extras[at].name = new;
                }
            }
            Self::Widen(name, width) => {
                if let Some(at) = state.extra(name) {
                    state.extras[at].width = *width;
                }
            }
            Self::Default(name, value) => {
                if let Some(at) = state.extra(name) {
                    state.extras[at].default = *value;
                }
            }
        }
    }
}
