//! PostgreSQL's dialect with versions of tables: `t FOR SYSTEM_TIME AS OF …`, `t VERSION AS OF n`.
//!
//! Everything else is `PostgreSqlDialect`'s own, but for one thing: the names of arguments are identifiers, not expressions. With
//! expressions the parser reads each argument twice, and nested calls in time that doubles with each level.
//!
//! Versions are switched on for texts that contain one of the two phrases only: the parser then takes a few more words behind a
//! table's name for their beginning.

use std::any::TypeId;

use sqlparser::ast::{BinaryOperator, Expr};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

const PLAIN: PostgreSqlDialect = PostgreSqlDialect {};

/// See the module.
#[derive(Debug)]
pub struct NyalaDialect {
    versions: bool,
}

/// The dialect of texts without versions.
pub const PLAIN_DIALECT: NyalaDialect = NyalaDialect { versions: false };

const VERSIONED_DIALECT: NyalaDialect = NyalaDialect { versions: true };

/// Answers each method as `PostgreSqlDialect` does.
macro_rules! as_postgresql {
    ($($name:ident($($argument:ident: $ty:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($argument: $ty),*) -> $answer {
            PLAIN.$name($($argument),*)
        })*
    };
}

impl Dialect for NyalaDialect {
    /// The parser asks for the type where no method stands for a difference.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn supports_table_versioning(&self) -> bool {
        self.versions
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    /// `x::text COLLATE "C"`: the parser reads COLLATE behind names and literals alone.
    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if parser.parse_keyword(Keyword::COLLATE) {
            return Some(
                parser
                    .parse_object_name(false)
                    .map(|collation| Expr::Collate {
                        expr: Box::new(expr.clone()),
                        collation,
                    }),
            );
        }
        if let Some(quantified) = over_query(parser, expr) {
            return Some(Ok(quantified));
        }
        PLAIN.parse_infix(parser, expr, precedence)
    }

    as_postgresql! {
        identifier_quote_style(identifier: &str) -> Option<char>;
        is_delimited_identifier_start(ch: char) -> bool;
        is_identifier_start(ch: char) -> bool;
        is_identifier_part(ch: char) -> bool;
        supports_unicode_string_literal() -> bool;
        is_reserved_for_identifier(word: Keyword) -> bool;
        is_custom_operator_part(ch: char) -> bool;
        get_next_precedence(parser: &Parser) -> Option<Result<u8, ParserError>>;
        supports_filter_during_aggregation() -> bool;
        supports_group_by_expr() -> bool;
        prec_value(precedence: Precedence) -> u8;
        allow_extract_custom() -> bool;
        allow_extract_single_quotes() -> bool;
        supports_create_index_with_clause() -> bool;
        supports_explain_with_utility_options() -> bool;
        supports_listen_notify() -> bool;
        supports_factorial_operator() -> bool;
        supports_bitwise_shift_operators() -> bool;
        supports_comment_on() -> bool;
        supports_load_extension() -> bool;
        supports_named_fn_args_with_colon_operator() -> bool;
        supports_empty_projections() -> bool;
        supports_nested_comments() -> bool;
        supports_string_escape_constant() -> bool;
        supports_numeric_literal_underscores() -> bool;
        supports_array_typedef_with_brackets() -> bool;
        supports_geometric_types() -> bool;
        supports_set_names() -> bool;
        supports_alter_column_type_using() -> bool;
        supports_notnull_operator() -> bool;
        supports_interval_options() -> bool;
        supports_insert_table_alias() -> bool;
        supports_create_table_like_parenthesized() -> bool;
        supports_select_wildcard_with_alias() -> bool;
        supports_comma_separated_trim() -> bool;
        supports_xml_expressions() -> bool;
        supports_comment_optimizer_hint() -> bool;
    }
}

/// `x = ANY (VALUES …)`, `x = ANY ((SELECT …) UNION …)` and the same behind IN: the parser reads SELECT alone as a query there, and
/// what begins with a query in parentheses as one though it may be a list.
fn over_query(parser: &mut Parser, left: &Expr) -> Option<Expr> {
    let nth = |parser: &Parser, at: usize| parser.peek_nth_token_ref(at).token.clone();
    let is = |token: &Token, words: &[Keyword]| matches!(token, Token::Word(word) if words.contains(&word.keyword));
    let query = |parser: &mut Parser, skipped: usize| {
        let parsed = parser.maybe_parse(|parser| {
            for _ in 0..skipped {
                parser.next_token();
            }
            let query = parser.parse_query()?;
            parser.expect_token(&Token::RParen)?;
            Ok(query)
        });
        parsed.ok().flatten()
    };
    let first = nth(parser, 0);
    let negated = is(&first, &[Keyword::NOT]);
    let before = usize::from(negated);
    if is(&nth(parser, before), &[Keyword::IN]) {
        let nested = [1, 2].map(|at| nth(parser, before + at) == Token::LParen) == [true; 2];
        if !nested {
            return None;
        }
        let expr = Box::new(left.clone());
        if let Some(subquery) = query(parser, before + 2) {
            return Some(Expr::InSubquery {
                expr,
                subquery,
                negated,
            });
        }
        let list = parser.maybe_parse(|parser| {
            for _ in 0..before + 2 {
                parser.next_token();
            }
            let list = parser.parse_comma_separated(Parser::parse_expr)?;
            parser.expect_token(&Token::RParen)?;
            Ok(list)
        });
        return Some(Expr::InList {
            expr,
            list: list.ok().flatten()?,
            negated,
        });
    }
    let compare_op = match first {
        Token::Eq => BinaryOperator::Eq,
        Token::Neq => BinaryOperator::NotEq,
        Token::Lt => BinaryOperator::Lt,
        Token::LtEq => BinaryOperator::LtEq,
        Token::Gt => BinaryOperator::Gt,
        Token::GtEq => BinaryOperator::GtEq,
        _ => return None,
    };
    let all = is(&nth(parser, 1), &[Keyword::ALL]);
    let inner = nth(parser, 3);
    let begins = inner == Token::LParen || is(&inner, &[Keyword::VALUES]);
    if !(all || is(&nth(parser, 1), &[Keyword::ANY, Keyword::SOME]))
        || nth(parser, 2) != Token::LParen
        || !begins
    {
        return None;
    }
    let (left, right) = (
        Box::new(left.clone()),
        Box::new(Expr::Subquery(query(parser, 3)?)),
    );
    Some(match all {
        true => Expr::AllOp {
            left,
            compare_op,
            right,
        },
        false => Expr::AnyOp {
            left,
            compare_op,
            right,
            is_some: false,
        },
    })
}

/// The dialect to parse tokens with.
pub fn dialect_of(tokens: &[TokenWithSpan]) -> &'static dyn Dialect {
    const PHRASES: [&[&str]; 2] = [&["FOR", "SYSTEM_TIME"], &["VERSION", "AS", "OF"]];
    let words: Vec<Option<&str>> = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .map(|token| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.as_str()),
            _ => None,
        })
        .collect();
    let found = PHRASES.iter().any(|phrase| {
        words.windows(phrase.len()).any(|words| {
            let same = |(word, wanted): (&Option<&str>, &&str)| {
                word.is_some_and(|word| word.eq_ignore_ascii_case(wanted))
            };
            words.iter().zip(*phrase).all(same)
        })
    });
    match found {
        true => &VERSIONED_DIALECT,
        false => &PLAIN_DIALECT,
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::ast::{Expr, TableFactor, TableVersion};
    use sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn version(sql: &str) -> Option<TableVersion> {
        let tokens = Tokenizer::new(&PLAIN, sql)
            .tokenize_with_location()
            .unwrap();
        let dialect = dialect_of(&tokens);
        let mut parser = Parser::new(dialect).with_tokens_with_locations(tokens);
        let query = parser.parse_query().unwrap();
        let select = query.body.as_select().unwrap();
        match &select.from[0].relation {
            TableFactor::Table { version, .. } => version.clone(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn nested_calls_are_parsed_in_one_go() {
        let sql = format!(
            "SELECT 1 FROM t AS x, f({}a => 1{})",
            "g(".repeat(40),
            ")".repeat(40)
        );
        assert_eq!(version(&sql), None);
    }

    #[test]
    fn versions_are_parsed_where_they_stand() {
        assert!(matches!(
            version("SELECT 1 FROM t FOR SYSTEM_TIME AS OF now() - interval '1 day' AS a"),
            Some(TableVersion::ForSystemTimeAsOf(Expr::BinaryOp { .. }))
        ));
        assert!(matches!(
            version("SELECT 1 FROM t version as of 7 WHERE x::int = 1"),
            Some(TableVersion::VersionAsOf(_))
        ));
        assert_eq!(version("SELECT 1 FROM t version"), None);
        assert_eq!(version("SELECT 'for system_time' FROM t at"), None);
    }
}
