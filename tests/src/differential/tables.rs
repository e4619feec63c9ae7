//! The tables of a round: few rows of few different values, many of them NULL.
//!
//! `t1` has no key and only open rows; `t2` and `t3` have rows in both parts, and changes that cover closed ones.

use rand::Rng;
use rand::rngs::StdRng;

use super::types::Type;

/// Names and types of the columns, the same in all tables. The first is the key of the tables that have one.
pub const COLUMNS: &[(&str, Type)] = &[
    ("a", Type::Integer),
    ("b", Type::Integer),
    ("g", Type::Bigint),
    ("n", Type::Numeric),
    ("x", Type::Float),
    ("s", Type::Text),
    ("f", Type::Boolean),
    ("d", Type::Date),
    ("ts", Type::Timestamp),
    ("l", Type::Integers),
];
pub const TABLES: &[&str] = &["t1", "t2", "t3"];
/// Columns that no change may set: the key, and what is NOT NULL.
pub const FIXED: &[&str] = &["a"];
const ROWS_MAX: u32 = 14;
const NULLS: f64 = 0.25;

/// A statement of both sides, or of one.
#[derive(Debug, Clone)]
pub enum Step {
    Both(String),
    Each { nyala: String, postgres: String },
    Nyala(String),
}

/// What makes and fills the tables.
pub fn statements(random: &mut StdRng) -> Vec<Step> {
    let mut steps = Vec::new();
    for table in TABLES {
        steps.push(Step::Both(format!("DROP TABLE IF EXISTS {table}")));
        let (key, closed_when) = match *table {
            "t1" => ("", None),
            "t2" => (" PRIMARY KEY", Some("f")),
            _ => (" PRIMARY KEY", Some("b > 2")),
        };
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|(name, kind)| {
                let key = if *name == "a" { key } else { "" };
                let not_null = if *name == "g" && *table == "t3" {
                    " NOT NULL"
                } else {
                    ""
                };
                format!("{name} {}{key}{not_null}", type_of_column(*kind))
            })
            .collect();
        let postgres = format!("CREATE TABLE {table} ({})", columns.join(", "));
        steps.push(match closed_when {
            None => Step::Both(postgres),
            Some(when) => Step::Each {
                nyala: format!("{postgres} WITH (closed_when = '{when}')"),
                postgres,
            },
        });
        // Sometimes a table is empty.
        let rows = random.random_range(0..=ROWS_MAX);
        for number in 0..rows {
            steps.push(Step::Both(insert(random, table, number)));
        }
        if closed_when.is_some() {
            steps.push(Step::Nyala(format!("CALL nyala.housekeeping('{table}')")));
            for number in rows..rows + random.random_range(0..3) {
                steps.push(Step::Both(insert(random, table, number)));
            }
            let text = Type::Text.literal(&Type::Text.draw_value(random));
            steps.push(Step::Both(format!(
                "UPDATE {table} SET s = {text} WHERE a % 4 = 0"
            )));
            steps.push(Step::Both(format!("DELETE FROM {table} WHERE a % 7 = 3")));
        }
    }
    steps
}

/// The type as a column's: numeric with a scale, as contracts have it.
fn type_of_column(kind: Type) -> &'static str {
    match kind {
        Type::Numeric => "numeric(10,2)",
        other => other.name(),
    }
}

fn insert(random: &mut StdRng, table: &str, number: u32) -> String {
    let values: Vec<String> = COLUMNS
        .iter()
        .map(|(name, kind)| {
            if *name == "a" && table != "t1" {
                return number.to_string();
            }
            if random.random_bool(NULLS) && !(*name == "g" && table == "t3") {
                return "NULL".into();
            }
            kind.literal(&kind.draw_value(random))
        })
        .collect();
    format!("INSERT INTO {table} VALUES ({})", values.join(", "))
}
