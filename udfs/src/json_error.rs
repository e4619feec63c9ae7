//! Owns the one error of this crate: what is wrong with a JSON value, in PostgreSQL's words and with its SQLSTATE.
//!
//! Functions raise it as `DataFusionError::External`, so that the server finds it again with [`JsonError::find`] whatever
//! context DataFusion has wrapped around it, and never has to read the text of a message.

use std::error::Error;
use std::fmt;

use datafusion::error::DataFusionError;

/// SQLSTATE of text that is not JSON (`invalid_text_representation`).
pub const INVALID_TEXT_REPRESENTATION: &str = "22P02";
/// SQLSTATE of an escape that no text can hold (`untranslatable_character`).
pub const UNTRANSLATABLE_CHARACTER: &str = "22P05";
/// SQLSTATE of a document of another kind than a function takes (`invalid_parameter_value`).
pub const INVALID_PARAMETER_VALUE: &str = "22023";
/// SQLSTATE of NULL where a value has to be (`null_value_not_allowed`).
pub const NULL_VALUE_NOT_ALLOWED: &str = "22004";
/// SQLSTATE of nesting beyond the limit (`statement_too_complex`).
pub const STATEMENT_TOO_COMPLEX: &str = "54001";
/// SQLSTATE of a value beyond its limit (`program_limit_exceeded`).
pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";

/// Bytes of the offending document that a detail quotes.
const EXCERPT_BYTES_MAX: usize = 60;

/// What is wrong with a JSON value. `message` and `detail` are worded as PostgreSQL words them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// The primary message, for instance `invalid input syntax for type json`.
    pub message: String,
    /// What exactly is wrong and, once known, in which row and where in the document. May be empty.
    pub detail: String,
    /// The five characters of the SQLSTATE.
    pub sqlstate: &'static str,
}

impl JsonError {
    /// Text that is not JSON; `detail` says which token is wrong.
    pub(crate) fn syntax(detail: impl Into<String>) -> Self {
        Self {
            message: "invalid input syntax for type json".to_string(),
            detail: detail.into(),
            sqlstate: INVALID_TEXT_REPRESENTATION,
        }
    }

    /// The escape `\u0000`, which is JSON but no text.
    pub(crate) fn nul_escape() -> Self {
        Self {
            message: "unsupported Unicode escape sequence".to_string(),
            detail: "\\u0000 cannot be converted to text.".to_string(),
            sqlstate: UNTRANSLATABLE_CHARACTER,
        }
    }

    /// A document that nests deeper than `depth_max`.
    pub(crate) fn too_deep(depth_max: usize) -> Self {
        Self {
            message: "stack depth limit exceeded".to_string(),
            detail: format!("JSON values may nest at most {depth_max} levels deep."),
            sqlstate: STATEMENT_TOO_COMPLEX,
        }
    }

    /// A value that grew beyond a limit of this crate.
    pub(crate) fn limit(message: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: detail.into(),
            sqlstate: PROGRAM_LIMIT_EXCEEDED,
        }
    }

    /// A text that is neither an array literal nor anything else a path can be read from.
    pub(crate) fn array_literal(literal: &str, detail: &str) -> Self {
        Self {
            message: format!("malformed array literal: \"{literal}\""),
            detail: detail.to_string(),
            sqlstate: INVALID_TEXT_REPRESENTATION,
        }
    }

    /// Adds to the detail where in `text` the reader had arrived, as PostgreSQL's context line does.
    pub(crate) fn in_document(mut self, text: &str, end: usize) -> Self {
        let end = text.ceil_char_boundary(end);
        let start = text.floor_char_boundary(end.saturating_sub(EXCERPT_BYTES_MAX));
        let excerpt = text.get(start..end).unwrap_or_default();
        let head = if start > 0 { "..." } else { "" };
        let tail = if end < text.len() { "..." } else { "" };
        self.append(&format!("JSON data: {head}{excerpt}{tail}"));
        self
    }

    /// Names the row of the batch, counted from 1, that the value stands in.
    pub(crate) fn in_row(mut self, row: usize) -> Self {
        let named = format!("JSON data, row {}: ", row + 1);
        if self.detail.contains("JSON data: ") {
            self.detail = self.detail.replacen("JSON data: ", &named, 1);
        } else {
            self.append(named.trim_end_matches(": "));
        }
        self
    }

    fn append(&mut self, sentence: &str) {
        if !self.detail.is_empty() {
            self.detail.push(' ');
        }
        self.detail.push_str(sentence);
    }

    /// The `JsonError` a DataFusion error was raised from, through any context, sharing or collection around it.
    pub fn find(error: &DataFusionError) -> Option<&JsonError> {
        if let DataFusionError::Collection(errors) = error {
            return errors.iter().find_map(Self::find);
        }
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(current) = cause {
            if let Some(found) = current.downcast_ref::<JsonError>() {
                return Some(found);
            }
            cause = current.source();
        }
        None
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl Error for JsonError {}

impl From<JsonError> for DataFusionError {
    fn from(error: JsonError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_row_replaces_the_bare_position() {
        let error = JsonError::syntax("Token \"x\" is invalid.")
            .in_document("[x]", 2)
            .in_row(2);
        assert_eq!(
            error.detail,
            "Token \"x\" is invalid. JSON data, row 3: [x..."
        );
    }

    #[test]
    fn found_through_every_wrapper() {
        let raised: DataFusionError = JsonError::nul_escape().into();
        let wrapped = DataFusionError::Shared(Arc::new(raised.context("while planning")));
        let collected =
            DataFusionError::Collection(vec![DataFusionError::Plan("other".into()), wrapped]);
        assert_eq!(JsonError::find(&collected), Some(&JsonError::nul_escape()));
        assert_eq!(
            JsonError::find(&DataFusionError::Plan("other".into())),
            None
        );
    }
}
