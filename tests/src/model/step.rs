//! Random statements: drawn from a seed, written as SQL, applied to the flat table.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::alter::Alter;
use super::flat::{Change, Flat, Key, OnConflict, Predicate, Refusal, Row};

/// First key column: small, so that histories meet the same keys again and again.
const FIRST_KEYS: std::ops::Range<i32> = 0..40;
const SECOND_KEYS: &[&str] = &["", "a", "b", "zz", "it's"];
const NOTES: &[Option<&str>] = &[None, Some(""), Some("note"), Some("üñ ✓"), Some("it's")];
/// Rows of one INSERT.
const BATCH_MAX: usize = 12;
/// Values stay far from overflow however often they are doubled and added in one history.
const VALUES: std::ops::Range<i64> = 0..1000;
const VALUE_LIMIT: i64 = 1 << 50;

/// One statement that changes rows or columns.
#[derive(Debug, Clone)]
pub enum Dml {
    Alter(Alter),
    Insert(Vec<(Key, Row)>, OnConflict),
    Update(Change, Predicate),
    Delete(Predicate),
}

impl Dml {
    /// Draws a statement; `state` only helps to aim at keys that exist.
    pub fn draw(random: &mut StdRng, state: &Flat) -> Self {
        match random.random_range(0..11) {
            10 => Self::Alter(Alter::draw(random, state)),
            0..=2 => Self::Insert(batch(random, state), OnConflict::Fail),
            3 => Self::Insert(batch(random, state), OnConflict::Nothing),
            4..=5 => Self::Insert(batch(random, state), OnConflict::Update),
            6..=8 => Self::Update(change(random, state), predicate(random, state)),
            _ => Self::Delete(narrow(random, state)),
        }
    }

    /// The statement's text.
    pub fn sql(&self) -> String {
        match self {
            Self::Alter(alter) => alter.sql(),
            Self::Insert(rows, on_conflict) => {
                let values: Vec<String> = rows.iter().map(values).collect();
                let tail = match on_conflict {
                    OnConflict::Fail => "",
                    OnConflict::Nothing => " ON CONFLICT DO NOTHING",
                    OnConflict::Update => {
                        " ON CONFLICT (k1, k2) DO UPDATE SET v = m.v + excluded.v, \
                         note = excluded.note, closed_on = excluded.closed_on"
                    }
                };
                format!(
                    "INSERT INTO m (k1, k2, v, note, closed_on) VALUES {}{tail}",
                    values.join(", ")
                )
            }
            Self::Update(change, predicate) => {
                let set = match change {
                    Change::Add(amount) => format!("v = v + {amount}"),
                    Change::Note(note) => format!("note = {}", text(note.as_deref())),
                    Change::Extra(name, Some(value)) => format!("{name} = {value}"),
                    Change::Extra(name, None) => format!("{name} = NULL"),
                    Change::ClosedOn(day) => format!("closed_on = {}", date(*day)),
                    Change::CloseAndDouble(day) => {
                        let day = date(Some(*day));
                        format!("closed_on = {day}, v = v * 2, note = k1::text || k2")
                    }
                };
                format!("UPDATE m SET {set} WHERE {}", predicate_sql(predicate))
            }
            Self::Delete(predicate) => format!("DELETE FROM m WHERE {}", predicate_sql(predicate)),
        }
    }

    /// The number of rows the statement must report, or the SQLSTATE it must fail with.
    pub fn apply(&self, state: &mut Flat) -> Result<u64, Refusal> {
        match self {
            Self::Alter(alter) => {
                alter.apply(state);
                Ok(0)
            }
            Self::Insert(rows, on_conflict) => state.insert(rows, *on_conflict),
            Self::Update(change, predicate) => Ok(state.update(change, predicate)),
            Self::Delete(predicate) => Ok(state.delete(predicate)),
        }
    }
}

/// A random predicate, for a statement or for a query that checks.
pub fn predicate(random: &mut StdRng, state: &Flat) -> Predicate {
    match random.random_range(0..13) {
        12 => match state.extras.choose(random) {
            Some(extra) => Predicate::ExtraIs(extra.name, extra.value(random)),
            None => narrow(random, state),
        },
        8 => Predicate::Value(value(random, state)),
        9 => {
            let low = value(random, state);
            Predicate::ValueBetween(low, low + random.random_range(0..40))
        }
        10 => Predicate::And(
            Box::new(Predicate::SecondKey(key(random, state).1)),
            Box::new(Predicate::NoteIs(note(random))),
        ),
        11 => Predicate::ClosedOnOrAfter(random.random_range(20..=28)),
        0..=1 => Predicate::Key(key(random, state)),
        2 => {
            let low = random.random_range(FIRST_KEYS);
            Predicate::FirstKeyBetween(low, low + random.random_range(0..5))
        }
        3 => remainder(random, Predicate::Remainder),
        4 => Predicate::Closed(random.random_bool(0.5)),
        5 => Predicate::NoteIs(note(random)),
        6 => remainder(random, Predicate::SharesFirstKey),
        _ => narrow(random, state),
    }
}

/// A predicate that leaves most rows alone.
fn narrow(random: &mut StdRng, state: &Flat) -> Predicate {
    match random.random_range(0..4) {
        3 => Predicate::Value(value(random, state)),
        0 => Predicate::Key(key(random, state)),
        1 => {
            let low = random.random_range(FIRST_KEYS);
            Predicate::FirstKeyBetween(low, low + 2)
        }
        _ => Predicate::And(
            Box::new(Predicate::Closed(random.random_bool(0.5))),
            Box::new(remainder(random, Predicate::Remainder)),
        ),
    }
}

fn remainder(random: &mut StdRng, of: fn(i64, i64) -> Predicate) -> Predicate {
    let divisor = random.random_range(3..9);
    of(divisor, random.random_range(0..divisor))
}

/// Half of the values exist, if any do.
pub fn value(random: &mut StdRng, state: &Flat) -> i64 {
    let existing: Vec<i64> = state.rows.values().map(|row| row.v).collect();
    match existing.choose(random) {
        Some(value) if random.random_bool(0.5) => *value,
        _ => random.random_range(VALUES),
    }
}

/// Half of the keys exist, if any do.
pub fn key(random: &mut StdRng, state: &Flat) -> Key {
    let existing: Vec<&Key> = state.rows.keys().collect();
    match existing.choose(random) {
        Some(key) if random.random_bool(0.5) => (*key).clone(),
        _ => {
            let second = SECOND_KEYS.choose(random).copied().unwrap_or_default();
            (random.random_range(FIRST_KEYS), second.to_string())
        }
    }
}

/// Rows with distinct keys, except that now and then one key comes twice.
fn batch(random: &mut StdRng, state: &Flat) -> Vec<(Key, Row)> {
    let mut rows: Vec<(Key, Row)> = Vec::new();
    let fresh = random.random_bool(0.6);
    for _ in 0..random.random_range(1..=BATCH_MAX) {
        let key = key(random, state);
        let used = rows.iter().any(|(other, _)| *other == key);
        if (used && !random.random_bool(0.05)) || (fresh && state.rows.contains_key(&key)) {
            continue;
        }
        let closed_on = random.random_bool(0.3).then(|| random.random_range(1..=28));
        rows.push((
            key,
            Row {
                v: random.random_range(VALUES),
                note: note(random),
                closed_on,
                extras: Vec::new(),
            },
        ));
    }
    if rows.is_empty() {
        let row = Row {
            v: 1,
            note: None,
            closed_on: None,
            extras: Vec::new(),
        };
        rows.push((key(random, state), row));
    }
    rows
}

fn change(random: &mut StdRng, state: &Flat) -> Change {
    let may_double = state.rows.values().all(|row| row.v < VALUE_LIMIT);
    if let (Some(extra), true) = (state.extras.choose(random), random.random_bool(0.3)) {
        return Change::Extra(extra.name, extra.value(random));
    }
    match random.random_range(0..6) {
        0 => Change::Add(random.random_range(VALUES)),
        1 => Change::Note(note(random)),
        2..=3 => Change::ClosedOn(Some(random.random_range(1..=28))),
        4 if may_double => Change::CloseAndDouble(random.random_range(1..=28)),
        _ => Change::ClosedOn(None),
    }
}

fn note(random: &mut StdRng) -> Option<String> {
    NOTES.choose(random).copied().flatten().map(str::to_string)
}

fn text(value: Option<&str>) -> String {
    value.map_or("NULL".into(), |text| {
        format!("'{}'", text.replace('\'', "''"))
    })
}

fn date(day: Option<u32>) -> String {
    day.map_or("NULL".into(), |day| format!("date '2024-02-{day:02}'"))
}

fn values((key, row): &(Key, Row)) -> String {
    let (note, closed_on) = (text(row.note.as_deref()), date(row.closed_on));
    format!(
        "({}, {}, {}, {note}, {closed_on})",
        key.0,
        text(Some(&key.1)),
        row.v
    )
}

/// The predicate as a WHERE clause.
pub fn predicate_sql(predicate: &Predicate) -> String {
    match predicate {
        Predicate::Key((first, second)) => format!("k1 = {first} AND k2 = {}", text(Some(second))),
        Predicate::FirstKeyBetween(low, high) => format!("k1 BETWEEN {low} AND {high}"),
        Predicate::SecondKey(second) => format!("k2 = {}", text(Some(second))),
        Predicate::Value(value) => format!("v = {value}"),
        Predicate::ValueBetween(low, high) => format!("v BETWEEN {low} AND {high}"),
        Predicate::ClosedOnOrAfter(day) => format!("closed_on >= {}", date(Some(*day))),
        Predicate::Remainder(divisor, remainder) => format!("v % {divisor} = {remainder}"),
        Predicate::Closed(true) => "closed_on IS NOT NULL".into(),
        Predicate::Closed(false) => "closed_on IS NULL".into(),
        Predicate::NoteIs(None) => "note IS NULL".into(),
        Predicate::ExtraIs(name, None) => format!("{name} IS NULL"),
        Predicate::ExtraIs(name, Some(value)) => format!("{name} = {value}"),
        Predicate::NoteIs(note) => format!("note = {}", text(note.as_deref())),
        Predicate::SharesFirstKey(divisor, remainder) => {
            format!("k1 IN (SELECT k1 FROM m WHERE v % {divisor} = {remainder})")
        }
        Predicate::And(left, right) => {
            format!("({}) AND ({})", predicate_sql(left), predicate_sql(right))
        }
    }
}
