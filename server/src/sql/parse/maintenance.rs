//! Syntax of VACUUM and ANALYZE, of which `sqlparser` knows other systems' forms.

use sqlparser::ast::{Ident, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{IsOptional, Parser, ParserError};
use sqlparser::tokenizer::Token;

/// Options of VACUUM that stand in parentheses.
const VACUUM_OPTIONS: [&str; 11] = [
    "analyze",
    "disable_page_skipping",
    "freeze",
    "full",
    "index_cleanup",
    "parallel",
    "process_toast",
    "skip_locked",
    "truncate",
    "verbose",
    ANALYSE,
];

/// Options of ANALYZE that stand in parentheses.
const ANALYZE_OPTIONS: [&str; 2] = ["skip_locked", "verbose"];

const ANALYSE: &str = "analyse";

/// `VACUUM …` or `ANALYZE …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// Whether it is VACUUM.
    pub vacuum: bool,
    /// Whether it is ANALYZE, or VACUUM with that option.
    pub analyze: bool,
    /// Whether it tells what it does.
    pub verbose: bool,
    /// Tables and the columns named with them; none for all tables.
    pub tables: Vec<(ObjectName, Vec<Ident>)>,
}

impl Maintenance {
    /// What the statement is called.
    pub fn verb(&self) -> &'static str {
        match self.vacuum {
            true => "VACUUM",
            false => "ANALYZE",
        }
    }
}

/// Looks ahead for VACUUM and ANALYZE; consumes nothing otherwise.
pub fn maintenance(parser: &mut Parser<'_>) -> Result<Option<Maintenance>, ParserError> {
    let vacuum = parser.parse_keyword(Keyword::VACUUM);
    if !vacuum && !analyze_word(parser) {
        return Ok(None);
    }
    let mut statement = Maintenance {
        vacuum,
        analyze: !vacuum,
        verbose: false,
        tables: Vec::new(),
    };
    if parser.consume_token(&Token::LParen) {
        loop {
            option(parser, &mut statement)?;
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parser.expect_token(&Token::RParen)?;
    } else {
        if vacuum {
            // There are no pages to rewrite or to freeze.
            let _full = parser.parse_keyword(Keyword::FULL);
            let _freeze = parser.parse_keyword(Keyword::FREEZE);
        }
        statement.verbose = parser.parse_keyword(Keyword::VERBOSE);
        statement.analyze |= vacuum && analyze_word(parser);
    }
    if matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
        return Ok(Some(statement));
    }
    loop {
        let name = parser.parse_object_name(false)?;
        let columns = parser.parse_parenthesized_column_list(IsOptional::Optional, false)?;
        statement.tables.push((name, columns));
        if !parser.consume_token(&Token::Comma) {
            return Ok(Some(statement));
        }
    }
}

/// PostgreSQL knows both spellings.
fn analyze_word(parser: &mut Parser<'_>) -> bool {
    let british = matches!(&parser.peek_token_ref().token,
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(ANALYSE));
    if british {
        parser.next_token();
    }
    british || parser.parse_keyword(Keyword::ANALYZE)
}

/// `name [value]`
fn option(parser: &mut Parser<'_>, statement: &mut Maintenance) -> Result<(), ParserError> {
    let name = parser.parse_identifier()?.value.to_lowercase();
    let known: &[&str] = match statement.vacuum {
        true => &VACUUM_OPTIONS,
        false => &ANALYZE_OPTIONS,
    };
    if !known.contains(&name.as_str()) {
        let verb = statement.verb();
        let unknown = format!("unrecognized {verb} option \"{name}\"");
        return Err(ParserError::ParserError(unknown));
    }
    let mut on = true;
    if !matches!(parser.peek_token_ref().token, Token::Comma | Token::RParen) {
        let value = parser.next_token();
        let value = match &value.token {
            Token::Word(word) => word.value.to_lowercase(),
            Token::Number(text, _) | Token::SingleQuotedString(text) => text.to_lowercase(),
            _ => return parser.expected("a value", value),
        };
        on = !matches!(value.as_str(), "off" | "false" | "0" | "no");
    }
    match name.as_str() {
        "verbose" => statement.verbose = on,
        "analyze" | ANALYSE => statement.analyze = on,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Maintenance;
    use crate::sql::parse::{Tree, parse};

    fn read(sql: &str) -> Option<Maintenance> {
        match parse(sql).unwrap().as_slice() {
            [Tree::Maintain(statement)] => Some(statement.clone()),
            _ => None,
        }
    }

    #[test]
    fn all_forms_are_read() {
        let full = read("VACUUM FULL VERBOSE ANALYZE public.t (a, b), u").unwrap();
        assert!(full.vacuum && full.analyze && full.verbose);
        assert_eq!(full.tables.len(), 2);
        assert_eq!(full.tables[0].1.len(), 2);
        let listed = read("vacuum (freeze, analyze off, parallel 2) t").unwrap();
        assert!(listed.vacuum && !listed.analyze && !listed.verbose);
        let plain = read("analyse").unwrap();
        assert!(!plain.vacuum && plain.analyze && plain.tables.is_empty());
        assert!(read("ANALYZE (VERBOSE) t").unwrap().verbose);
        assert!(parse("VACUUM (speed) t").is_err());
        assert!(parse("ANALYZE (full) t").is_err());
        assert_eq!(read("SELECT 1"), None);
    }
}
