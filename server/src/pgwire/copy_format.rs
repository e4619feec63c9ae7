//! The formats of COPY: chunks of bytes to record batches and back.
//!
//! Owns the options with PostgreSQL's defaults and checks. It never touches a socket or a table: `reader`
//! is fed bytes by its caller, `writer` fills a buffer that its caller frames. Values are parsed by
//! `decode` and printed by `encode`.

mod binary;
mod csv;
mod reader;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub use reader::{CopyError, CopyReader};
pub use writer::CopyWriter;

use super::decode::ValueError;

/// Bytes of the longest record that COPY FROM accepts, as PostgreSQL's longest line.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// `FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyFormat {
    /// Tab-separated with backslash escapes.
    #[default]
    Text,
    /// Comma-separated with quotes.
    Csv,
    /// The binary forms of the types.
    Binary,
}

/// `HEADER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// No line with column names.
    #[default]
    No,
    /// Written by COPY TO, skipped by COPY FROM.
    Yes,
    /// COPY FROM checks that the line names the columns.
    Match,
}

/// Columns that a `FORCE_…` option names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ForceColumns {
    /// The option was not given.
    #[default]
    None,
    /// `*`.
    All,
    /// A list of names.
    Named(Vec<String>),
}

impl ForceColumns {
    fn contains(&self, column: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == column),
        }
    }
}

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// COPY FROM.
    From,
    /// COPY TO.
    To,
}

/// The options of a COPY statement as it gave them; `None` takes the format's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// `FORMAT`.
    pub format: CopyFormat,
    /// `DELIMITER`: a tab, in CSV a comma.
    pub delimiter: Option<u8>,
    /// `NULL`: `\N`, in CSV the empty string without quotes.
    pub null: Option<String>,
    /// `HEADER`.
    pub header: Header,
    /// `QUOTE`, CSV only: `"`.
    pub quote: Option<u8>,
    /// `ESCAPE`, CSV only: the quote.
    pub escape: Option<u8>,
    /// `FORCE_QUOTE`, CSV and COPY TO only.
    pub force_quote: ForceColumns,
    /// `FORCE_NULL`, CSV and COPY FROM only.
    pub force_null: ForceColumns,
    /// `FORCE_NOT_NULL`, CSV and COPY FROM only.
    pub force_not_null: ForceColumns,
}

/// The options with all defaults filled in.
#[derive(Debug, Clone)]
struct Dialect {
    format: CopyFormat,
    delimiter: u8,
    null: String,
    quote: u8,
    escape: u8,
}

impl CopyOptions {
    /// The byte of an option that takes one; `option` is its name in messages (`delimiter`).
    ///
    /// # Errors
    /// 0A000 for anything but one one-byte character.
    pub fn single_byte(option: &str, value: &str) -> Result<u8, ValueError> {
        match value.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(ValueError::new(
                "0A000",
                format!("COPY {option} must be a single one-byte character"),
            )),
        }
    }

    /// Reads the value of `ENCODING`.
    ///
    /// # Errors
    /// 22023 for any encoding but UTF-8.
    pub fn check_encoding(value: &str) -> Result<(), ValueError> {
        let is = |name: &str| value.eq_ignore_ascii_case(name);
        if is("utf8") || is("utf-8") || is("unicode") {
            return Ok(());
        }
        Err(ValueError::new(
            "22023",
            "argument to option \"encoding\" must be a valid encoding name",
        )
        .with_detail("Only UTF8 is supported."))
    }

    /// Checks the options against each other and against the `columns` of the statement.
    ///
    /// # Errors
    /// 0A000, 22023, 42P10 as PostgreSQL's `ProcessCopyOptions`.
    pub fn validate(&self, direction: Direction, columns: &[String]) -> Result<(), ValueError> {
        let unsupported = |message: String| Err(ValueError::new("0A000", message));
        let invalid = |message: &str| Err(ValueError::new("22023", message));
        let dialect = self.dialect();
        let csv = self.format == CopyFormat::Csv;
        if self.format == CopyFormat::Binary {
            for (option, given) in [
                ("DELIMITER", self.delimiter.is_some()),
                ("NULL", self.null.is_some()),
                ("HEADER", self.header != Header::No),
            ] {
                if given {
                    let message = format!("cannot specify {option} in BINARY mode");
                    return Err(ValueError::new("42601", message));
                }
            }
        }
        if matches!(dialect.delimiter, b'\n' | b'\r') {
            return invalid("COPY delimiter cannot be newline or carriage return");
        }
        if dialect.null.contains(['\n', '\r']) {
            return invalid("COPY null representation cannot use newline or carriage return");
        }
        let reserved = matches!(dialect.delimiter, b'\\' | b'.' | b'a'..=b'z' | b'0'..=b'9');
        if !csv && reserved {
            let shown = char::from(dialect.delimiter);
            return invalid(&format!("COPY delimiter cannot be \"{shown}\""));
        }
        for (option, given) in [
            ("quote", self.quote.is_some()),
            ("escape", self.escape.is_some()),
        ] {
            if given && !csv {
                return unsupported(format!("COPY {option} available only in CSV mode"));
            }
        }
        if csv && dialect.delimiter == dialect.quote {
            return invalid("COPY delimiter and quote must be different");
        }
        let force = [
            ("quote", "QUOTE", &self.force_quote, Direction::To),
            (
                "not null",
                "NOT_NULL",
                &self.force_not_null,
                Direction::From,
            ),
            ("null", "NULL", &self.force_null, Direction::From),
        ];
        for (option, keyword, named, way) in force {
            if *named == ForceColumns::None {
                continue;
            }
            if !csv {
                return unsupported(format!("COPY force {option} available only in CSV mode"));
            }
            if direction != way {
                let statement = if way == Direction::To {
                    "COPY TO"
                } else {
                    "COPY FROM"
                };
                return unsupported(format!(
                    "COPY force {option} only available using {statement}"
                ));
            }
            if let ForceColumns::Named(names) = named
                && let Some(name) = names.iter().find(|name| !columns.contains(name))
            {
                let message = format!("FORCE_{keyword} column \"{name}\" not referenced by COPY");
                return Err(ValueError::new("42P10", message));
            }
        }
        if memchr::memchr(dialect.delimiter, dialect.null.as_bytes()).is_some() {
            return invalid("COPY delimiter character must not appear in the NULL specification");
        }
        if csv && memchr::memchr(dialect.quote, dialect.null.as_bytes()).is_some() {
            return invalid("CSV quote character must not appear in the NULL specification");
        }
        if self.header == Header::Match && direction == Direction::To {
            return unsupported("cannot use \"match\" with HEADER in COPY TO".to_string());
        }
        Ok(())
    }

    fn dialect(&self) -> Dialect {
        let csv = self.format == CopyFormat::Csv;
        let quote = self.quote.unwrap_or(b'"');
        Dialect {
            format: self.format,
            delimiter: self.delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
            null: self
                .null
                .clone()
                .unwrap_or_else(|| if csv { "" } else { "\\N" }.to_string()),
            quote,
            escape: self.escape.unwrap_or(quote),
        }
    }
}
