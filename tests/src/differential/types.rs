//! The types of the grammar, and literals of them.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Integer,
    Bigint,
    Numeric,
    Float,
    Text,
    Boolean,
    Date,
    Timestamp,
    Integers,
}

pub const TYPES: &[Type] = &[
    Type::Integer,
    Type::Bigint,
    Type::Numeric,
    Type::Float,
    Type::Text,
    Type::Boolean,
    Type::Date,
    Type::Timestamp,
    Type::Integers,
];

impl Type {
    /// The name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Float => "double precision",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Integers => "integer[]",
        }
    }

    /// The name of its placeholder in a template.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Integer => "int",
            Self::Bigint => "big",
            Self::Numeric => "num",
            Self::Float => "float",
            Self::Text => "text",
            Self::Boolean => "bool",
            Self::Date => "date",
            Self::Timestamp => "ts",
            Self::Integers => "ints",
        }
    }

    pub fn of_placeholder(name: &str) -> Option<Self> {
        TYPES.iter().copied().find(|t| t.placeholder() == name)
    }

    /// Any type, the plain ones more often.
    pub fn draw(random: &mut StdRng) -> Self {
        if random.random_bool(0.5) {
            return *[Self::Integer, Self::Text]
                .choose(random)
                .unwrap_or(&Self::Integer);
        }
        *TYPES.choose(random).unwrap_or(&Self::Integer)
    }

    /// A value's text, as in quotes and as a parameter. Few different ones, so that rows meet.
    /// No letters beyond ASCII that have two cases: PostgreSQL's C locale leaves them alone.
    pub fn draw_value(self, random: &mut StdRng) -> String {
        match self {
            Self::Integer => random.random_range(-2..8).to_string(),
            Self::Bigint => match random.random_range(0..10) {
                0 => "5000000000".into(),
                _ => random.random_range(-2..8).to_string(),
            },
            Self::Numeric => {
                let cents: i32 = random.random_range(-200..800);
                let sign = if cents < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
            }
            Self::Float => (f64::from(random.random_range(-8..32)) / 4.0).to_string(),
            Self::Text => {
                const WORDS: &[&str] = &[
                    "", "a", "b", "ab", "abc", "B", "aB c", "世", "xyz", " b ", "a%", "12", "O'N",
                ];
                (*WORDS.choose(random).unwrap_or(&"a")).to_string()
            }
            Self::Boolean => random.random_bool(0.5).to_string(),
            Self::Date => format!(
                "2024-0{}-1{}",
                random.random_range(1..4),
                random.random_range(0..4)
            ),
            Self::Timestamp => format!(
                "2024-0{}-1{} 0{}:30:00",
                random.random_range(1..4),
                random.random_range(0..4),
                random.random_range(0..3)
            ),
            Self::Integers => {
                let length = random.random_range(0..4);
                let items: Vec<String> = (0..length)
                    .map(|_| match random.random_range(0..6) {
                        0 => "NULL".to_string(),
                        _ => random.random_range(0..5).to_string(),
                    })
                    .collect();
                format!("{{{}}}", items.join(","))
            }
        }
    }

    /// A value written in a statement.
    pub fn literal(self, value: &str) -> String {
        match self {
            Self::Integer | Self::Numeric if value.starts_with('-') => format!("({value})"),
            Self::Integer | Self::Numeric | Self::Boolean => value.to_string(),
            _ => format!("'{}'::{}", value.replace('\'', "''"), self.name()),
        }
    }
}
