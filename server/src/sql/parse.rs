//! Query text to syntax trees, with PostgreSQL's words for what is wrong with it.

use nyala_catalog::definitions::ExternalFormat;
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    ColumnDef, CreateTable, DataType, Ident, ObjectName, OnCommit, Reset, ResetStatement, SetExpr,
    Statement,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{IsOptional, Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::dialect::{PLAIN_DIALECT, dialect_of};
use crate::sql::precedence;

mod assignments;
pub mod constraints;
pub mod cursors;
mod deferrable;
pub mod definitions;
mod depth;
pub mod fetch;
pub mod like;
pub mod maintenance;
pub mod merge;
pub mod two_phase;

use constraints::SetConstraints;
use cursors::Fetch;
pub use deferrable::DEFERRABLE;
use definitions::Definition;
use like::CreateTableLike;
use maintenance::Maintenance;
use two_phase::TwoPhase;

/// Bytes of one query string.
const QUERY_BYTES_MAX: usize = 64 << 20;

/// Nesting of expressions and subqueries.
const NESTING_MAX: usize = 200;

/// A statement as parsed.
#[derive(Debug, Clone)]
pub enum Tree {
    /// What `sqlparser` knows.
    Sql(Box<Statement>),
    /// `CREATE EXTERNAL TABLE … STORED AS … LOCATION …`.
    CreateExternalTable(CreateExternalTable),
    /// `FETCH` and `MOVE`.
    Fetch(Fetch),
    /// A definition that `sqlparser` does not know as PostgreSQL does.
    Define(Definition),
    /// Two-phase commit.
    TwoPhase(TwoPhase),
    /// `CREATE TABLE t (LIKE s …)`.
    CreateLike(Box<CreateTableLike>),
    /// `VACUUM` and `ANALYZE`.
    Maintain(Maintenance),
    /// `SET CONSTRAINTS`.
    SetConstraints(SetConstraints),
}

/// `CREATE EXTERNAL TABLE [IF NOT EXISTS] name STORED AS format LOCATION 'url'`.
#[derive(Debug, Clone)]
pub struct CreateExternalTable {
    /// Name of the new table.
    pub name: ObjectName,
    /// Whether an existing relation of that name is no error.
    pub if_not_exists: bool,
    /// Format of the files.
    pub format: ExternalFormat,
    /// Path or URL.
    pub location: String,
}

/// The statements of a query string.
pub fn parse(sql: &str) -> Result<Vec<Tree>> {
    if sql.len() > QUERY_BYTES_MAX {
        return Err(PgError::new(
            sqlstate::PROGRAM_LIMIT_EXCEEDED,
            format!("query is longer than {QUERY_BYTES_MAX} bytes"),
        ));
    }
    let dialect = PLAIN_DIALECT;
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| syntax_error(sql, &ParserError::TokenizerError(error.to_string())))?;
    depth::limit_stretches(&tokens).map_err(|error| syntax_error(sql, &error))?;
    let (tokens, deferrable) = deferrable::leave_out(tokens);
    let mut parser = Parser::new(dialect_of(&tokens))
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(spelled_out(tokens));
    let mut parsed = statements(&mut parser).map_err(|error| syntax_error(sql, &error))?;
    for number in deferrable {
        if let Some(Tree::Sql(statement)) = parsed.get_mut(number)
            && let Statement::StartTransaction { modifier, .. } = statement.as_mut()
        {
            *modifier = Some(DEFERRABLE);
        }
    }
    Ok(parsed)
}

/// Tokens in the forms that the parser reads.
fn spelled_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let tokens = fetch::spell_out(merge::spell_out(tokens));
    let tokens = spell_out_reset(spell_out_flags(spell_out_stars(spell_out_table(tokens))));
    definitions::spell_out_overriding(definitions::order_identity_options(tokens))
}

/// `TABLE t` is `SELECT * FROM t`.
fn spell_out_table(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut spelled = Vec::with_capacity(tokens.len() + 2);
    let mut starts = true;
    for token in tokens {
        let is_table = matches!(&token.token, Token::Word(word) if word.keyword == Keyword::TABLE);
        if starts && is_table {
            for part in [
                Token::make_keyword("SELECT"),
                Token::Mul,
                Token::make_keyword("FROM"),
            ] {
                spelled.push(TokenWithSpan::new(part, token.span));
            }
            starts = false;
            continue;
        }
        starts = match token.token {
            Token::SemiColon => true,
            Token::Whitespace(_) => starts,
            _ => false,
        };
        spelled.push(token);
    }
    spelled
}

/// Name of the only column in a list that stands for all columns.
pub const ALL_COLUMNS: &str = "\u{1}*";

/// `FORCE_QUOTE *` becomes a list of one column, [`ALL_COLUMNS`].
fn spell_out_stars(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut spelled = Vec::with_capacity(tokens.len());
    let mut forces = false;
    for token in tokens {
        if forces && token.token == Token::Mul {
            for part in [
                Token::LParen,
                Token::make_word(ALL_COLUMNS, Some('"')),
                Token::RParen,
            ] {
                spelled.push(TokenWithSpan::new(part, token.span));
            }
            forces = false;
            continue;
        }
        forces = match &token.token {
            Token::Word(word) => matches!(
                word.keyword,
                Keyword::FORCE_QUOTE | Keyword::FORCE_NULL | Keyword::FORCE_NOT_NULL
            ),
            Token::Whitespace(_) => forces,
            _ => false,
        };
        spelled.push(token);
    }
    spelled
}

/// `(FREEZE on, HEADER off)` of COPY has TRUE and FALSE.
fn spell_out_flags(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let (mut starts, mut copies) = (true, false);
    // Whether an option may begin; whether one that is a flag has begun.
    let (mut in_list, mut flag) = (false, false);
    for token in &mut tokens {
        if matches!(token.token, Token::Whitespace(_)) {
            continue;
        }
        let keyword = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        if starts {
            copies = keyword == Keyword::COPY;
        }
        starts = token.token == Token::SemiColon;
        if flag {
            let value = match &token.token {
                Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
                Token::Number(text, _) | Token::SingleQuotedString(text) => text.to_lowercase(),
                _ => String::new(),
            };
            match value.as_str() {
                "on" | "1" | "true" => token.token = Token::make_keyword("TRUE"),
                "off" | "0" | "false" => token.token = Token::make_keyword("FALSE"),
                _ => {}
            }
        }
        flag = copies && in_list && matches!(keyword, Keyword::FREEZE | Keyword::HEADER);
        in_list = matches!(token.token, Token::LParen | Token::Comma);
    }
    tokens
}

/// Value of an option that `RESET (…)` names.
pub const RESET_OPTION: &str = "\u{1}reset";

/// `RESET (a, b)` in ALTER becomes `SET (a = x, b = x)`, x being [`RESET_OPTION`].
fn spell_out_reset(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut spelled: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let (mut starts, mut alters) = (true, false);
    // Where the last token that counts is, if it is RESET; whether a list that it began is open.
    let (mut resets, mut in_list) = (None, false);
    for token in tokens {
        let span = token.span;
        if starts && !matches!(token.token, Token::Whitespace(_)) {
            starts = false;
            alters = matches!(&token.token, Token::Word(word) if word.keyword == Keyword::ALTER);
        }
        match &token.token {
            Token::Whitespace(_) => {}
            Token::SemiColon => (starts, resets, in_list) = (true, None, false),
            Token::Word(word) if alters && word.keyword == Keyword::RESET && !in_list => {
                resets = Some(spelled.len());
            }
            Token::LParen => {
                if let Some(at) = resets.take()
                    && let Some(word) = spelled.get_mut(at)
                {
                    *word = TokenWithSpan::new(Token::make_keyword("SET"), word.span);
                    in_list = true;
                }
            }
            Token::Word(_) if in_list => {
                spelled.push(token);
                for part in [Token::Eq, Token::make_word(RESET_OPTION, Some('"'))] {
                    spelled.push(TokenWithSpan::new(part, span));
                }
                continue;
            }
            Token::Comma if in_list => {}
            _ => (resets, in_list) = (None, false),
        }
        spelled.push(token);
    }
    spelled
}

fn statements(parser: &mut Parser<'_>) -> Result<Vec<Tree>, ParserError> {
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        if parser.peek_token_ref().token == Token::EOF {
            return Ok(statements);
        }
        statements.push(statement(parser)?);
        let next = parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return parser.expected("end of statement", next);
        }
    }
}

/// What DO is answered with.
const NO_BLOCKS: &str = "DO is not supported";

fn statement(parser: &mut Parser<'_>) -> Result<Tree, ParserError> {
    if let Token::Word(word) = &parser.peek_token_ref().token
        && word.quote_style.is_none()
        && word.keyword == Keyword::DO
    {
        return Err(ParserError::ParserError(NO_BLOCKS.to_string()));
    }
    if let Some(external) = external_table(parser)? {
        return Ok(Tree::CreateExternalTable(external));
    }
    if let Some(definition) = definitions::definition(parser)? {
        return Ok(Tree::Define(definition));
    }
    if let Some(two_phase) = two_phase::two_phase(parser)? {
        return Ok(Tree::TwoPhase(two_phase));
    }
    if let Some(maintenance) = maintenance::maintenance(parser)? {
        return Ok(Tree::Maintain(maintenance));
    }
    if let Some(set) = constraints::set_constraints(parser)? {
        return Ok(Tree::SetConstraints(set));
    }
    if let Some(reset) = reset_authorization(parser) {
        return Ok(Tree::Sql(Box::new(reset)));
    }
    if let Some(fetch) = cursors::fetch(parser)? {
        return Ok(Tree::Fetch(fetch));
    }
    if let Some(like) = parser.maybe_parse(like::create_table_like)? {
        return Ok(Tree::CreateLike(Box::new(like)));
    }
    if let Some(create) = parser.maybe_parse(table_as_with_names)? {
        return Ok(Tree::Sql(Box::new(Statement::CreateTable(create))));
    }
    let mut statement = match cursors::declare(parser)? {
        Some(declare) => declare,
        None => parser.parse_statement()?,
    };
    if let Statement::CreateView(create) = &mut statement
        && create.materialized
    {
        // What the parser has no place for.
        create.with_no_schema_binding = !definitions::with_data(parser);
    }
    if matches!(&statement, Statement::Merge(merge) if merge.clauses.is_empty()) {
        return parser.expected("WHEN", parser.peek_token());
    }
    depth::limit(&mut statement)?;
    precedence::restore(&mut statement);
    assignments::take_apart(&mut statement)?;
    let statement = into_to_create(statement);
    Ok(Tree::Sql(Box::new(statement)))
}

/// `RESET SESSION AUTHORIZATION` is a reset of `session_authorization`.
fn reset_authorization(parser: &mut Parser<'_>) -> Option<Statement> {
    let words = [Keyword::RESET, Keyword::SESSION, Keyword::AUTHORIZATION];
    parser.parse_keywords(&words).then(|| {
        let name = ObjectName::from(vec![Ident::new("session_authorization")]);
        Statement::Reset(ResetStatement {
            reset: Reset::ConfigurationParameter(name),
        })
    })
}

/// `SELECT … INTO t` is `CREATE TABLE t AS SELECT …`.
fn into_to_create(statement: Statement) -> Statement {
    let Statement::Query(mut query) = statement else {
        return statement;
    };
    let into = match query.body.as_mut() {
        SetExpr::Select(select) => select.into.take(),
        _ => None,
    };
    match into {
        None => Statement::Query(query),
        Some(into) => Statement::CreateTable(
            CreateTableBuilder::new(into.name)
                .temporary(into.temporary)
                .query(Some(query))
                .build(),
        ),
    }
}

/// Looks ahead for `CREATE EXTERNAL TABLE`; consumes nothing otherwise.
fn external_table(parser: &mut Parser<'_>) -> Result<Option<CreateExternalTable>, ParserError> {
    if !parser.parse_keywords(&[Keyword::CREATE, Keyword::EXTERNAL, Keyword::TABLE]) {
        return Ok(None);
    }
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = parser.parse_object_name(false)?;
    parser.expect_keyword(Keyword::STORED)?;
    parser.expect_keyword(Keyword::AS)?;
    let format = parser.next_token();
    let format = match &format.token {
        Token::Word(word) if word.value.eq_ignore_ascii_case("parquet") => ExternalFormat::Parquet,
        Token::Word(word) if word.value.eq_ignore_ascii_case("delta") => ExternalFormat::Delta,
        _ => return parser.expected("PARQUET or DELTA", format),
    };
    parser.expect_keyword(Keyword::LOCATION)?;
    let location = parser.parse_literal_string()?;
    Ok(Some(CreateExternalTable {
        name,
        if_not_exists,
        format,
        location,
    }))
}

/// `CREATE [TEMP] TABLE name [(column, …)] [ON COMMIT …] AS query`: the columns have names and no types.
fn table_as_with_names(parser: &mut Parser<'_>) -> Result<CreateTable, ParserError> {
    parser.expect_keyword(Keyword::CREATE)?;
    let scoped = parser.parse_one_of_keywords(&[Keyword::LOCAL, Keyword::GLOBAL]);
    let temporary = parser.parse_one_of_keywords(&[Keyword::TEMP, Keyword::TEMPORARY]);
    if scoped.is_some() && temporary.is_none() {
        return parser.expected("TEMPORARY", parser.peek_token());
    }
    parser.expect_keyword(Keyword::TABLE)?;
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = parser.parse_object_name(false)?;
    let names = parser.parse_parenthesized_column_list(IsOptional::Optional, false)?;
    let on_commit = match parser.parse_keywords(&[Keyword::ON, Keyword::COMMIT]) {
        true => Some(on_commit(parser)?),
        false => None,
    };
    parser.expect_keyword(Keyword::AS)?;
    let query = parser.parse_query()?;
    let no_data = !definitions::with_data(parser);
    let columns = names.into_iter().map(|name| ColumnDef {
        name,
        data_type: DataType::Unspecified,
        options: Vec::new(),
    });
    Ok(CreateTableBuilder::new(name)
        .if_not_exists(if_not_exists)
        .columns(columns.collect())
        .query(Some(query))
        .temporary(temporary.is_some())
        .on_commit(on_commit)
        // What the parser has no place for: the table has the query's columns and none of its rows.
        .without_rowid(no_data)
        .build())
}

/// What stands behind ON COMMIT.
fn on_commit(parser: &mut Parser<'_>) -> Result<OnCommit, ParserError> {
    if parser.parse_keyword(Keyword::DROP) {
        Ok(OnCommit::Drop)
    } else if parser.parse_keywords(&[Keyword::DELETE, Keyword::ROWS]) {
        Ok(OnCommit::DeleteRows)
    } else {
        parser.expect_keywords(&[Keyword::PRESERVE, Keyword::ROWS])?;
        Ok(OnCommit::PreserveRows)
    }
}

/// PostgreSQL's wording, with the position, from sqlparser's `…, found: X at Line: l, Column: c`.
fn syntax_error(sql: &str, error: &ParserError) -> PgError {
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            return PgError::new("54001", "stack depth limit exceeded").with_hint(format!(
                "Statements can be nested {NESTING_MAX} levels deep, expressions of operators {}.",
                depth::DEPTH_MAX
            ));
        }
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
    };
    if message.starts_with(cursors::CONTRADICTION) {
        return PgError::new(sqlstate::INVALID_CURSOR_DEFINITION, message.clone());
    }
    if message == NO_BLOCKS {
        return PgError::unsupported(NO_BLOCKS)
            .with_hint("There is no procedural language; send the statements one by one.");
    }
    let (text, location) = match message.rsplit_once(" at Line: ") {
        Some((text, location)) => (text, location.split_once(", Column: ")),
        None => (message.as_str(), None),
    };
    let position = location.and_then(|(line, column)| {
        position_of(sql, line.trim().parse().ok()?, column.trim().parse().ok()?)
    });
    // Only the options of COPY are single characters.
    if text.contains("Expect a char, found") {
        return PgError::new(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "COPY delimiter, quote and escape must be single one-byte characters",
        );
    }
    let found = text.rsplit_once("found: ").map(|(_, found)| found);
    let error = match found {
        Some("EOF") => PgError::syntax("syntax error at end of input"),
        Some(found) => PgError::syntax(format!("syntax error at or near \"{found}\"")),
        None => PgError::syntax(text.trim_start_matches("sql parser error: ").to_string()),
    };
    let end = sql.chars().count() + 1;
    match position.or_else(|| (found == Some("EOF")).then_some(end)) {
        Some(position) => error.with_position(position),
        None => error,
    }
}

/// Character position, from 1, of a line and column, both from 1.
fn position_of(sql: &str, line: usize, column: usize) -> Option<usize> {
    if line == 0 || column == 0 {
        return None;
    }
    let before: usize = sql
        .split('\n')
        .take(line - 1)
        .map(|line| line.chars().count() + 1)
        .sum();
    Some(before + column)
}

/// Character position, from 1, of the first `name` or `qualifier.name` in the query, for error
/// messages.
pub fn position_of_name(sql: &str, name: &str) -> Option<usize> {
    let (first, second) = match name.split_once('.') {
        Some((qualifier, name)) => (qualifier, Some(name)),
        None => (name, None),
    };
    let dialect = PLAIN_DIALECT;
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .ok()?;
    let is = |token: Option<&TokenWithSpan>, name: &str| match token.map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => {
            word.value.eq_ignore_ascii_case(name)
        }
        Some(Token::Word(word)) => word.value == name,
        _ => false,
    };
    let found = (0..tokens.len()).find(|at| {
        is(tokens.get(*at), first) && second.is_none_or(|name| is(tokens.get(at + 2), name))
    })?;
    let start = tokens.get(found)?.span.start;
    position_of(
        sql,
        usize::try_from(start.line).ok()?,
        usize::try_from(start.column).ok()?,
    )
}

/// Character position, from 1, of the first string literal with this text.
pub fn position_of_string(sql: &str, text: &str) -> Option<usize> {
    let dialect = PLAIN_DIALECT;
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .ok()?;
    let found = tokens.iter().find(|token| {
        matches!(&token.token,
            Token::SingleQuotedString(literal) | Token::EscapedStringLiteral(literal)
                if literal == text)
    })?;
    let start = found.span.start;
    position_of(
        sql,
        usize::try_from(start.line).ok()?,
        usize::try_from(start.column).ok()?,
    )
}

/// Parses an expression that the catalog keeps as text (a default, a closing rule).
pub fn parse_expression(text: &str) -> Result<sqlparser::ast::Expr> {
    let dialect = PLAIN_DIALECT;
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(ParserError::from)?;
    depth::limit_stretches(&tokens)?;
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens);
    let mut expr = parser.parse_expr()?;
    depth::limit(&mut expr)?;
    precedence::restore(&mut expr);
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(PgError::syntax(format!(
            "syntax error at or near \"{next}\""
        )));
    }
    Ok(expr)
}

/// Parses a query that the catalog keeps as text (a view), or that Nyala itself wrote.
pub fn parse_query(text: &str) -> Result<Box<sqlparser::ast::Query>> {
    let tokens = Tokenizer::new(&PLAIN_DIALECT, text)
        .tokenize_with_location()
        .map_err(ParserError::from)?;
    let mut parser = Parser::new(dialect_of(&tokens))
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens);
    let mut query = parser.parse_query()?;
    depth::limit(&mut query)?;
    precedence::restore(&mut query);
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split() {
        assert_eq!(parse(" ; ;").unwrap().len(), 0);
        assert_eq!(parse("select 1; select 2;").unwrap().len(), 2);
    }

    #[test]
    fn deferrable_is_told_of_the_statement_that_says_it() {
        let sql = "; BEGIN; START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
            BEGIN NOT DEFERRABLE; SET TRANSACTION READ ONLY, DEFERRABLE; SELECT deferrable";
        let told = parse(sql).unwrap().into_iter().map(|tree| match tree {
            Tree::Sql(statement) => match *statement {
                Statement::StartTransaction { modifier, .. } => modifier == Some(DEFERRABLE),
                _ => false,
            },
            _ => false,
        });
        assert_eq!(told.collect::<Vec<_>>(), [false, true, false, false, false]);
    }

    #[test]
    fn flags_of_copy_are_told_from_names() {
        for sql in [
            "COPY t FROM STDIN WITH (FORMAT csv, HEADER on, FREEZE 'off')",
            "COPY (SELECT 1 FROM a JOIN b header ON header.x = a.x) TO STDOUT (HEADER off)",
            "COPY t (header, freeze) FROM STDIN",
            "SELECT header, freeze FROM a AS header JOIN b ON true",
        ] {
            assert!(parse(sql).is_ok(), "{sql}");
        }
        assert!(parse("COPY t FROM STDIN (HEADER perhaps)").is_err());
    }

    #[test]
    fn external_tables_parse() {
        let sql = "CREATE EXTERNAL TABLE IF NOT EXISTS s.t STORED AS delta LOCATION '/x'";
        match parse(sql).unwrap().as_slice() {
            [Tree::CreateExternalTable(table)] => {
                assert_eq!(table.format, ExternalFormat::Delta);
                assert_eq!(table.location, "/x");
                assert!(table.if_not_exists);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_are_worded_and_placed_as_in_postgresql() {
        let error = parse("select 1;\nselec 2").unwrap_err();
        assert_eq!(error.code, sqlstate::SYNTAX_ERROR);
        assert_eq!(error.message, "syntax error at or near \"selec\"");
        assert_eq!(error.position, Some(11));
        let error = parse("select (").unwrap_err();
        assert_eq!(error.message, "syntax error at end of input");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let sql = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert_eq!(parse(&sql).unwrap_err().code, "54001");
    }
}
