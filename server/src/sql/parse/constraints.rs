//! Syntax of SET CONSTRAINTS, which `sqlparser` does not know.

use sqlparser::ast::ObjectName;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// `SET CONSTRAINTS { ALL | name [, …] } { DEFERRED | IMMEDIATE }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetConstraints {
    /// The constraints; none for all.
    pub names: Vec<ObjectName>,
    /// Whether they are checked at the commit.
    pub deferred: bool,
}

/// Looks ahead for SET CONSTRAINTS; consumes nothing otherwise.
pub fn set_constraints(parser: &mut Parser<'_>) -> Result<Option<SetConstraints>, ParserError> {
    let is_set = matches!(&parser.peek_token_ref().token,
        Token::Word(word) if word.keyword == Keyword::SET && word.quote_style.is_none());
    let of_constraints = matches!(&parser.peek_nth_token_ref(1).token,
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("constraints"));
    if !is_set || !of_constraints {
        return Ok(None);
    }
    parser.next_token();
    parser.next_token();
    let mut names = Vec::new();
    if !parser.parse_keyword(Keyword::ALL) {
        loop {
            names.push(parser.parse_object_name(false)?);
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
    }
    let when = parser.expect_one_of_keywords(&[Keyword::DEFERRED, Keyword::IMMEDIATE])?;
    let deferred = when == Keyword::DEFERRED;
    Ok(Some(SetConstraints { names, deferred }))
}

#[cfg(test)]
mod tests {
    use crate::sql::parse::{Tree, parse};

    #[test]
    fn set_constraints_is_told_from_settings() {
        let parsed = |sql: &str| match parse(sql).unwrap().as_slice() {
            [Tree::SetConstraints(statement)] => Some(statement.clone()),
            _ => None,
        };
        let all = parsed("set constraints all deferred").unwrap();
        assert!(all.names.is_empty() && all.deferred);
        let some = parsed("SET CONSTRAINTS a, s.\"B\" IMMEDIATE").unwrap();
        assert_eq!(some.names.len(), 2);
        assert!(!some.deferred);
        assert_eq!(parsed("SET work_mem = '1MB'"), None);
        assert!(parse("SET CONSTRAINTS ALL").is_err());
    }
}
