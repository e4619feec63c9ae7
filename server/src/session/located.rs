//! Where in its text a statement is wrong, for errors that name what is.

use crate::error::{PgError, sqlstate};
use crate::sql::parse;

/// Adds where in the query an unknown name or a malformed literal stands.
pub(super) fn located(error: PgError, sql: &str) -> PgError {
    let malformed = matches!(
        error.code,
        sqlstate::INVALID_TEXT_REPRESENTATION
            | sqlstate::DATETIME_FIELD_OVERFLOW
            | sqlstate::INVALID_DATETIME_FORMAT
    );
    if malformed && error.position.is_none() {
        let literal = error
            .message
            .split_once(": \"")
            .and_then(|(_, literal)| literal.strip_suffix('"'));
        return match literal.and_then(|text| parse::position_of_string(sql, text)) {
            Some(position) => error.with_position(position),
            None => error,
        };
    }
    if error.code == sqlstate::UNDEFINED_FUNCTION && error.position.is_none() {
        let name = error.message.strip_prefix("function ");
        let name = name.and_then(|rest| rest.split_once('('));
        return match name.and_then(|(name, _)| parse::position_of_name(sql, name)) {
            Some(position) => error.with_position(position),
            None => error,
        };
    }
    let named = matches!(
        error.code,
        sqlstate::UNDEFINED_TABLE | sqlstate::UNDEFINED_COLUMN
    );
    // As PostgreSQL: what a query names has a position, what DROP names has none.
    let words = ["relation ", "column ", "missing FROM-clause "];
    let queried = words.iter().any(|word| error.message.starts_with(word));
    if !named || !queried || error.position.is_some() {
        return error;
    }
    let quoted = error.message.split('"').nth(1);
    let bare = || error.message.split(' ').nth(1);
    match quoted
        .or_else(bare)
        .and_then(|name| parse::position_of_name(sql, name))
    {
        Some(position) => error.with_position(position),
        None => error,
    }
}
