//! Syntax of definitions that `sqlparser` does not read as PostgreSQL does: sequences with their options in any order, and
//! comments on constraints.

use sqlparser::ast::{DataType, Ident, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// A statement of this file.
#[derive(Debug, Clone)]
pub enum Definition {
    /// `CREATE [TEMP] SEQUENCE [IF NOT EXISTS] name …`
    CreateSequence {
        /// Name of the new sequence.
        name: ObjectName,
        /// Whether it is only the session's.
        temporary: bool,
        /// Whether an existing relation of that name is no error.
        if_not_exists: bool,
        /// What is said about it.
        options: SequenceOptions,
    },
    /// `ALTER SEQUENCE [IF EXISTS] name …`
    AlterSequence {
        /// Name of the sequence.
        name: ObjectName,
        /// Whether a missing one is no error.
        if_exists: bool,
        /// What is changed.
        options: SequenceOptions,
        /// Its new name.
        rename: Option<Ident>,
    },
    /// `REFRESH MATERIALIZED VIEW [CONCURRENTLY] name [WITH [NO] DATA]`
    RefreshView {
        /// Name of the view.
        name: ObjectName,
        /// Whether readers must not be kept waiting.
        concurrently: bool,
        /// Whether it has rows then.
        with_data: bool,
    },
    /// `ALTER MATERIALIZED VIEW [IF EXISTS] name RENAME TO …`
    RenameMaterialized {
        /// Name of the view.
        name: ObjectName,
        /// Whether a missing one is no error.
        if_exists: bool,
        /// Its new name.
        rename: Ident,
    },
    /// `COMMENT ON CONSTRAINT name ON table IS …`
    CommentOnConstraint {
        /// Name of the constraint.
        name: Ident,
        /// Its table.
        table: ObjectName,
        /// The text; none to remove it.
        comment: Option<String>,
    },
}

impl Definition {
    /// The words that name the statement's kind.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateSequence { .. } => "CREATE SEQUENCE",
            Self::AlterSequence { .. } => "ALTER SEQUENCE",
            Self::RefreshView { .. } => "REFRESH MATERIALIZED VIEW",
            Self::RenameMaterialized { .. } => "ALTER MATERIALIZED VIEW",
            Self::CommentOnConstraint { .. } => "COMMENT",
        }
    }
}

/// What a statement says about a sequence.
#[derive(Debug, Clone, Default)]
pub struct SequenceOptions {
    /// `AS type`
    pub data_type: Option<DataType>,
    /// `INCREMENT BY n`
    pub increment: Option<i64>,
    /// `MINVALUE n`, or `NO MINVALUE`
    pub min: Option<Option<i64>>,
    /// `MAXVALUE n`, or `NO MAXVALUE`
    pub max: Option<Option<i64>>,
    /// `START WITH n`
    pub start: Option<i64>,
    /// `RESTART`, with or without a value
    pub restart: Option<Option<i64>>,
    /// `CACHE n`
    pub cache: Option<i64>,
    /// `CYCLE`, or `NO CYCLE`
    pub cycle: Option<bool>,
    /// `OWNED BY column`, or `OWNED BY NONE`
    pub owned_by: Option<Option<ObjectName>>,
}

/// Whether `WITH NO DATA` does not follow; `WITH DATA` may.
pub fn with_data(parser: &mut Parser<'_>) -> bool {
    if parser.parse_keywords(&[Keyword::WITH, Keyword::NO, Keyword::DATA]) {
        return false;
    }
    let _said = parser.parse_keywords(&[Keyword::WITH, Keyword::DATA]);
    true
}

/// Looks ahead for a statement of this file; consumes nothing otherwise.
pub fn definition(parser: &mut Parser<'_>) -> Result<Option<Definition>, ParserError> {
    for temporary in [&[][..], &[Keyword::TEMP], &[Keyword::TEMPORARY]] {
        let words: Vec<Keyword> = [&[Keyword::CREATE], temporary, &[Keyword::SEQUENCE]].concat();
        if parser.parse_keywords(&words) {
            let if_not_exists =
                parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
            return Ok(Some(Definition::CreateSequence {
                name: parser.parse_object_name(false)?,
                temporary: !temporary.is_empty(),
                if_not_exists,
                options: sequence_options(parser)?,
            }));
        }
    }
    if parser.parse_keywords(&[Keyword::ALTER, Keyword::SEQUENCE]) {
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let name = parser.parse_object_name(false)?;
        let rename = match parser.parse_keywords(&[Keyword::RENAME, Keyword::TO]) {
            true => Some(parser.parse_identifier()?),
            false => None,
        };
        return Ok(Some(Definition::AlterSequence {
            name,
            if_exists,
            options: sequence_options(parser)?,
            rename,
        }));
    }
    if parser.parse_keywords(&[Keyword::REFRESH, Keyword::MATERIALIZED, Keyword::VIEW]) {
        let concurrently = parser.parse_keyword(Keyword::CONCURRENTLY);
        let name = parser.parse_object_name(false)?;
        return Ok(Some(Definition::RefreshView {
            name,
            concurrently,
            with_data: with_data(parser),
        }));
    }
    if parser.parse_keywords(&[Keyword::ALTER, Keyword::MATERIALIZED, Keyword::VIEW]) {
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let name = parser.parse_object_name(false)?;
        parser.expect_keywords(&[Keyword::RENAME, Keyword::TO])?;
        let rename = parser.parse_identifier()?;
        return Ok(Some(Definition::RenameMaterialized {
            name,
            if_exists,
            rename,
        }));
    }
    if parser.parse_keywords(&[Keyword::COMMENT, Keyword::ON, Keyword::CONSTRAINT]) {
        let name = parser.parse_identifier()?;
        parser.expect_keyword(Keyword::ON)?;
        let table = parser.parse_object_name(false)?;
        parser.expect_keyword(Keyword::IS)?;
        let comment = match parser.parse_keyword(Keyword::NULL) {
            true => None,
            false => Some(parser.parse_literal_string()?),
        };
        return Ok(Some(Definition::CommentOnConstraint {
            name,
            table,
            comment,
        }));
    }
    Ok(None)
}

fn sequence_options(parser: &mut Parser<'_>) -> Result<SequenceOptions, ParserError> {
    let mut options = SequenceOptions::default();
    loop {
        if parser.parse_keyword(Keyword::AS) {
            once(&mut options.data_type, parser.parse_data_type()?)?;
        } else if parser.parse_keyword(Keyword::INCREMENT) {
            let _by = parser.parse_keyword(Keyword::BY);
            once(&mut options.increment, number(parser)?)?;
        } else if parser.parse_keyword(Keyword::MINVALUE) {
            once(&mut options.min, Some(number(parser)?))?;
        } else if parser.parse_keywords(&[Keyword::NO, Keyword::MINVALUE]) {
            once(&mut options.min, None)?;
        } else if parser.parse_keyword(Keyword::MAXVALUE) {
            once(&mut options.max, Some(number(parser)?))?;
        } else if parser.parse_keywords(&[Keyword::NO, Keyword::MAXVALUE]) {
            once(&mut options.max, None)?;
        } else if parser.parse_keyword(Keyword::START) {
            let _with = parser.parse_keyword(Keyword::WITH);
            once(&mut options.start, number(parser)?)?;
        } else if parser.parse_keyword(Keyword::RESTART) {
            let given = parser.parse_keyword(Keyword::WITH) || is_number(parser);
            let value = given.then(|| number(parser)).transpose()?;
            once(&mut options.restart, value)?;
        } else if parser.parse_keyword(Keyword::CACHE) {
            once(&mut options.cache, number(parser)?)?;
        } else if parser.parse_keyword(Keyword::CYCLE) {
            once(&mut options.cycle, true)?;
        } else if parser.parse_keywords(&[Keyword::NO, Keyword::CYCLE]) {
            once(&mut options.cycle, false)?;
        } else if parser.parse_keywords(&[Keyword::OWNED, Keyword::BY]) {
            let owner = match parser.parse_keyword(Keyword::NONE) {
                true => None,
                false => Some(parser.parse_object_name(false)?),
            };
            once(&mut options.owned_by, owner)?;
        } else {
            return Ok(options);
        }
    }
}

fn once<T>(option: &mut Option<T>, value: T) -> Result<(), ParserError> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParserError::ParserError(
            "conflicting or redundant options".to_string(),
        )),
    }
}

fn is_number(parser: &Parser<'_>) -> bool {
    matches!(
        parser.peek_token_ref().token,
        Token::Number(..) | Token::Minus | Token::Plus
    )
}

fn number(parser: &mut Parser<'_>) -> Result<i64, ParserError> {
    let minus = parser.consume_token(&Token::Minus);
    if !minus {
        let _plus = parser.consume_token(&Token::Plus);
    }
    let token = parser.next_token();
    let text = match &token.token {
        Token::Number(text, _) if minus => format!("-{text}"),
        Token::Number(text, _) => text.clone(),
        _ => return parser.expected("a number", token),
    };
    text.parse().map_err(|_| {
        ParserError::ParserError(format!("value \"{text}\" is out of range for type bigint"))
    })
}

/// The order in which `sqlparser` reads the options of an identity column.
const IDENTITY_OPTIONS: [Keyword; 6] = [
    Keyword::INCREMENT,
    Keyword::MINVALUE,
    Keyword::MAXVALUE,
    Keyword::START,
    Keyword::CACHE,
    Keyword::CYCLE,
];

/// Puts the options behind `IDENTITY (` into the one order that `sqlparser` reads them in.
pub fn order_identity_options(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut ordered = Vec::with_capacity(tokens.len());
    // The options of an open list, by their place in the order.
    let mut options: Option<Vec<(usize, Vec<TokenWithSpan>)>> = None;
    let (mut identity, mut negated) = (false, Vec::new());
    for token in tokens {
        let Some(list) = &mut options else {
            match &token.token {
                Token::Word(word) => identity = word.keyword == Keyword::IDENTITY,
                Token::LParen if identity => (options, identity) = (Some(Vec::new()), false),
                Token::Whitespace(_) => {}
                _ => identity = false,
            }
            ordered.push(token);
            continue;
        };
        let keyword = match &token.token {
            Token::Word(word) => word.keyword,
            _ => Keyword::NoKeyword,
        };
        let rank = IDENTITY_OPTIONS.iter().position(|known| *known == keyword);
        if token.token == Token::RParen {
            list.sort_by_key(|(rank, _)| *rank);
            let sorted = std::mem::take(list);
            ordered.extend(sorted.into_iter().flat_map(|(_, tokens)| tokens));
            ordered.append(&mut negated);
            ordered.push(token);
            options = None;
        } else if let Some(rank) = rank {
            let mut option = std::mem::take(&mut negated);
            option.push(token);
            list.push((rank, option));
        } else if keyword == Keyword::NO || !negated.is_empty() {
            negated.push(token);
        } else if let Some((_, option)) = list.last_mut() {
            option.push(token);
        } else {
            ordered.push(token);
        }
    }
    if let Some(list) = options {
        ordered.extend(list.into_iter().flat_map(|(_, tokens)| tokens));
        ordered.append(&mut negated);
    }
    ordered
}

/// Name of a column that stands for `OVERRIDING SYSTEM VALUE` in the column list of an INSERT.
pub const OVERRIDING_SYSTEM: &str = "\u{1}overriding system";

/// The same for `OVERRIDING USER VALUE`.
pub const OVERRIDING_USER: &str = "\u{1}overriding user";

/// `INSERT … (a, b) OVERRIDING SYSTEM VALUE` becomes `INSERT … (a, b, x)`, x being [`OVERRIDING_SYSTEM`].
pub fn spell_out_overriding(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let has_any = tokens
        .iter()
        .any(|token| matches!(&token.token, Token::Word(word) if is_word(word, "overriding")));
    if !has_any {
        return tokens;
    }
    let mut spelled: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let starts = matches!(&token.token, Token::Word(word) if is_word(word, "overriding"));
        if !starts {
            spelled.push(token);
            continue;
        }
        let mut words = Vec::new();
        let mut taken = vec![token.clone()];
        while words.len() < 2 {
            match rest.next() {
                Some(next) => {
                    if let Token::Word(word) = &next.token {
                        words.push(word.value.to_lowercase());
                    } else if !matches!(next.token, Token::Whitespace(_)) {
                        taken.push(next);
                        break;
                    }
                    taken.push(next);
                }
                None => break,
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let marker = match words.as_slice() {
            ["system", "value"] => OVERRIDING_SYSTEM,
            ["user", "value"] => OVERRIDING_USER,
            _ => {
                spelled.extend(taken);
                continue;
            }
        };
        let span = token.span;
        let at = |token| TokenWithSpan::new(token, span);
        while matches!(
            spelled.last().map(|last| &last.token),
            Some(Token::Whitespace(_))
        ) {
            spelled.pop();
        }
        let marker = at(Token::make_word(marker, Some('"')));
        if spelled
            .last()
            .is_some_and(|last| last.token == Token::RParen)
        {
            spelled.pop();
            spelled.extend([at(Token::Comma), marker, at(Token::RParen)]);
        } else {
            spelled.extend([at(Token::LParen), marker, at(Token::RParen)]);
        }
    }
    spelled
}

fn is_word(word: &sqlparser::tokenizer::Word, text: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text)
}
