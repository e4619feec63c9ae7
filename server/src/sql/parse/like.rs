//! Syntax of `CREATE TABLE t (LIKE s INCLUDING …)`, whose options `sqlparser` does not know.

use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{CreateTable, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// `CREATE TABLE t (LIKE s …)`.
#[derive(Debug, Clone)]
pub struct CreateTableLike {
    /// The new table, without columns.
    pub create: CreateTable,
    /// The relation whose columns it gets.
    pub source: ObjectName,
    /// What it gets beside them.
    pub including: Including,
}

/// What INCLUDING names; all of it is off to begin with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Including {
    /// Comments of the columns.
    pub comments: bool,
    /// CHECK constraints.
    pub constraints: bool,
    /// Defaults.
    pub defaults: bool,
    /// Identity columns, with sequences of their own.
    pub identity: bool,
    /// The primary key, UNIQUE constraints and indexes.
    pub indexes: bool,
}

impl Including {
    const ALL: Self = Self {
        comments: true,
        constraints: true,
        defaults: true,
        identity: true,
        indexes: true,
    };

    /// Switches what a word names; `None` if it names nothing.
    fn switch(&mut self, word: &str, on: bool) -> Option<()> {
        match word {
            "all" if on => *self = Self::ALL,
            "all" => *self = Self::default(),
            "comments" => self.comments = on,
            "constraints" => self.constraints = on,
            "defaults" => self.defaults = on,
            "identity" => self.identity = on,
            "indexes" => self.indexes = on,
            // Columns have none of these.
            "compression" | "generated" | "statistics" | "storage" => {}
            _ => return None,
        }
        Some(())
    }
}

/// Reads the statement; an error where it is not this one.
pub fn create_table_like(parser: &mut Parser<'_>) -> Result<CreateTableLike, ParserError> {
    parser.expect_keyword(Keyword::CREATE)?;
    let _scope = parser.parse_one_of_keywords(&[Keyword::LOCAL, Keyword::GLOBAL]);
    let temporary = parser.parse_one_of_keywords(&[Keyword::TEMP, Keyword::TEMPORARY]);
    parser.expect_keyword(Keyword::TABLE)?;
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = parser.parse_object_name(false)?;
    parser.expect_token(&Token::LParen)?;
    parser.expect_keyword(Keyword::LIKE)?;
    let source = parser.parse_object_name(false)?;
    let mut including = Including::default();
    loop {
        let on = match parser.parse_one_of_keywords(&[Keyword::INCLUDING, Keyword::EXCLUDING]) {
            Some(Keyword::INCLUDING) => true,
            Some(_) => false,
            None => break,
        };
        let word = parser.next_token();
        let named = match &word.token {
            Token::Word(named) => including.switch(&named.value.to_lowercase(), on),
            _ => None,
        };
        if named.is_none() {
            return parser.expected("an option of LIKE", word);
        }
    }
    parser.expect_token(&Token::RParen)?;
    let on_commit = match parser.parse_keywords(&[Keyword::ON, Keyword::COMMIT]) {
        true => Some(super::on_commit(parser)?),
        false => None,
    };
    if !matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
        return parser.expected("end of statement", parser.peek_token());
    }
    let create = CreateTableBuilder::new(name)
        .if_not_exists(if_not_exists)
        .temporary(temporary.is_some())
        .on_commit(on_commit)
        .build();
    Ok(CreateTableLike {
        create,
        source,
        including,
    })
}

#[cfg(test)]
mod tests {
    use super::Including;
    use crate::sql::parse::{Tree, parse};

    #[test]
    fn what_is_included_is_read_in_order() {
        let including = |sql: &str| match parse(sql).unwrap().as_slice() {
            [Tree::CreateLike(like)] => Some(like.including),
            _ => None,
        };
        assert_eq!(
            including("CREATE TABLE a (LIKE b)"),
            Some(Including::default())
        );
        assert_eq!(
            including(
                "CREATE TEMP TABLE a (LIKE s.b INCLUDING ALL EXCLUDING INDEXES) ON COMMIT DROP"
            ),
            Some(Including {
                indexes: false,
                ..Including::ALL
            })
        );
        assert_eq!(including("CREATE TABLE a (b integer)"), None);
        assert!(parse("CREATE TABLE a (LIKE b INCLUDING NOTHING)").is_err());
    }
}
