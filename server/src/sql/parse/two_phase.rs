//! Syntax of two-phase commit, which `sqlparser` does not know: PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.

use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// A statement of two-phase commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TwoPhase {
    /// `PREPARE TRANSACTION 'name'`.
    Prepare,
    /// `COMMIT PREPARED 'name'` and `ROLLBACK PREPARED 'name'`.
    Finish {
        /// What to do with the prepared transaction.
        verb: &'static str,
        /// Its name.
        name: String,
    },
}

impl TwoPhase {
    /// What the statement is called.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Prepare => "PREPARE TRANSACTION",
            Self::Finish { verb, .. } => verb,
        }
    }
}

/// Looks ahead for a statement of two-phase commit; consumes nothing otherwise.
pub fn two_phase(parser: &mut Parser<'_>) -> Result<Option<TwoPhase>, ParserError> {
    if parser.parse_keywords(&[Keyword::PREPARE, Keyword::TRANSACTION]) {
        parser.parse_literal_string()?;
        return Ok(Some(TwoPhase::Prepare));
    }
    let verb = match &parser.peek_token_ref().token {
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::COMMIT => "COMMIT PREPARED",
            Keyword::ROLLBACK => "ROLLBACK PREPARED",
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    // No key word for the parser.
    let prepared = matches!(&parser.peek_nth_token_ref(1).token,
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("prepared"));
    if !prepared {
        return Ok(None);
    }
    parser.next_token();
    parser.next_token();
    let name = parser.parse_literal_string()?;
    Ok(Some(TwoPhase::Finish { verb, name }))
}

#[cfg(test)]
mod tests {
    use super::TwoPhase;
    use crate::sql::parse::{Tree, parse};

    #[test]
    fn statements_are_told_from_those_that_begin_alike() {
        let verb = |sql: &str| match parse(sql).unwrap().as_slice() {
            [Tree::TwoPhase(statement)] => Some(statement.clone()),
            _ => None,
        };
        let rollback = TwoPhase::Finish {
            verb: "ROLLBACK PREPARED",
            name: "a b".to_string(),
        };
        assert_eq!(verb("prepare transaction 'x'"), Some(TwoPhase::Prepare));
        assert_eq!(verb("ROLLBACK PREPARED 'a b'"), Some(rollback));
        assert_eq!(verb("PREPARE p AS SELECT 1"), None);
        assert_eq!(verb("COMMIT"), None);
        assert_eq!(verb("ROLLBACK TO s"), None);
    }
}
