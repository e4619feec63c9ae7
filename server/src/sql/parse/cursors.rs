//! DECLARE, FETCH and MOVE as PostgreSQL has them, which `sqlparser` reads in part.
//!
//! Nothing is consumed of any other statement. DECLARE becomes `sqlparser`'s own tree, so that parameters in its query
//! are found as in any other; FETCH and MOVE become a [`Fetch`].

use sqlparser::ast::{Declare, DeclareType, Ident, Statement};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// Count of `ALL`.
pub const ALL: i64 = i64::MAX;

/// `FETCH` or `MOVE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The cursor.
    pub name: Ident,
    /// Which rows.
    pub direction: Direction,
    /// Whether the position changes only and no row is returned.
    pub moves: bool,
}

/// Which rows a FETCH takes. A negative count goes the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The next rows: so many, or [`ALL`].
    Forward(i64),
    /// The rows before, nearest first: so many, or [`ALL`].
    Backward(i64),
    /// One row by its number from the start, or from the end if negative.
    Absolute(i64),
    /// One row by its distance from the current one.
    Relative(i64),
}

/// Reads `DECLARE name options CURSOR … FOR query`.
pub fn declare(parser: &mut Parser<'_>) -> Result<Option<Statement>, ParserError> {
    if !parser.parse_keyword(Keyword::DECLARE) {
        return Ok(None);
    }
    let name = parser.parse_identifier()?;
    let (mut binary, mut sensitive, mut scroll) = (false, None, None);
    loop {
        if parser.parse_keyword(Keyword::BINARY) {
            binary = true;
        } else if parser.parse_keyword(Keyword::INSENSITIVE) {
            once(&mut sensitive, true, "INSENSITIVE and ASENSITIVE")?;
        } else if parser.parse_keyword(Keyword::ASENSITIVE) {
            once(&mut sensitive, false, "INSENSITIVE and ASENSITIVE")?;
        } else if parser.parse_keyword(Keyword::SCROLL) {
            once(&mut scroll, true, "SCROLL and NO SCROLL")?;
        } else if parser.parse_keywords(&[Keyword::NO, Keyword::SCROLL]) {
            once(&mut scroll, false, "SCROLL and NO SCROLL")?;
        } else {
            break;
        }
    }
    parser.expect_keyword(Keyword::CURSOR)?;
    let hold = match parser.parse_one_of_keywords(&[Keyword::WITH, Keyword::WITHOUT]) {
        Some(with) => {
            parser.expect_keyword(Keyword::HOLD)?;
            Some(with == Keyword::WITH)
        }
        None => None,
    };
    parser.expect_keyword(Keyword::FOR)?;
    const CHANGES: &[Keyword] = &[
        Keyword::INSERT,
        Keyword::UPDATE,
        Keyword::DELETE,
        Keyword::MERGE,
    ];
    let first = parser.peek_token();
    if matches!(&first.token, Token::Word(word) if CHANGES.contains(&word.keyword)) {
        return parser.expected("a query", first);
    }
    let query = parser.parse_query()?;
    Ok(Some(Statement::Declare {
        stmts: vec![Declare {
            names: vec![name],
            data_type: None,
            assignment: None,
            declare_type: Some(DeclareType::Cursor),
            binary: Some(binary),
            sensitive,
            scroll,
            hold,
            for_query: Some(query),
        }],
    }))
}

/// Takes an option that must not contradict an earlier one.
fn once(option: &mut Option<bool>, value: bool, both: &str) -> Result<(), ParserError> {
    match option.replace(value) {
        Some(other) if other != value => {
            Err(ParserError::ParserError(format!("{CONTRADICTION}{both}")))
        }
        _ => Ok(()),
    }
}

/// Begins the message about two options that exclude each other; it is not a syntax error to PostgreSQL.
pub const CONTRADICTION: &str = "cannot specify both ";

/// Reads `FETCH` and `MOVE`.
pub fn fetch(parser: &mut Parser<'_>) -> Result<Option<Fetch>, ParserError> {
    // MOVE is no keyword of the parser's.
    let moves = matches!(&parser.peek_token_ref().token,
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("move"));
    if moves {
        let _ = parser.next_token();
    } else if !parser.parse_keyword(Keyword::FETCH) {
        return Ok(None);
    }
    let direction = direction(parser)?;
    let _ = parser.parse_one_of_keywords(&[Keyword::FROM, Keyword::IN]);
    let name = parser.parse_identifier()?;
    Ok(Some(Fetch {
        name,
        direction,
        moves,
    }))
}

fn direction(parser: &mut Parser<'_>) -> Result<Direction, ParserError> {
    const DIRECTIONS: &[Keyword] = &[
        Keyword::NEXT,
        Keyword::PRIOR,
        Keyword::FIRST,
        Keyword::LAST,
        Keyword::ABSOLUTE,
        Keyword::RELATIVE,
        Keyword::ALL,
        Keyword::FORWARD,
        Keyword::BACKWARD,
    ];
    // These words are names as well: `FETCH next` is about a cursor of that name.
    let is_name = matches!(
        parser.peek_nth_token_ref(1).token,
        Token::SemiColon | Token::EOF
    );
    let word = match is_name {
        true => None,
        false => parser.parse_one_of_keywords(DIRECTIONS),
    };
    Ok(match word {
        Some(Keyword::NEXT) => Direction::Forward(1),
        Some(Keyword::PRIOR) => Direction::Backward(1),
        Some(Keyword::FIRST) => Direction::Absolute(1),
        Some(Keyword::LAST) => Direction::Absolute(-1),
        Some(Keyword::ABSOLUTE) => Direction::Absolute(signed(parser)?),
        Some(Keyword::RELATIVE) => Direction::Relative(signed(parser)?),
        Some(Keyword::ALL) => Direction::Forward(ALL),
        Some(Keyword::FORWARD) => Direction::Forward(count(parser)?),
        Some(Keyword::BACKWARD) => Direction::Backward(count(parser)?),
        _ if begins_number(parser) => Direction::Forward(signed(parser)?),
        _ => Direction::Forward(1),
    })
}

/// What follows FORWARD and BACKWARD: `ALL`, a number, or nothing for 1.
fn count(parser: &mut Parser<'_>) -> Result<i64, ParserError> {
    if begins_number(parser) {
        return signed(parser);
    }
    match parser.parse_keyword(Keyword::ALL) {
        true => Ok(ALL),
        false => Ok(1),
    }
}

fn begins_number(parser: &Parser<'_>) -> bool {
    matches!(
        parser.peek_token_ref().token,
        Token::Number(..) | Token::Minus | Token::Plus
    )
}

/// A number as PostgreSQL's grammar takes it here: 32 bits, with a sign.
fn signed(parser: &mut Parser<'_>) -> Result<i64, ParserError> {
    let negative = parser.consume_token(&Token::Minus);
    if !negative {
        let _ = parser.consume_token(&Token::Plus);
    }
    let token = parser.next_token();
    let number = match &token.token {
        Token::Number(digits, false) => digits.parse::<i32>().ok(),
        _ => None,
    };
    match number {
        Some(number) if negative => Ok(-i64::from(number)),
        Some(number) => Ok(i64::from(number)),
        None => parser.expected("a number", token),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tree, parse};
    use super::{ALL, Direction};
    use crate::error::sqlstate;

    fn direction(sql: &str) -> (Direction, String) {
        match parse(sql).unwrap().as_slice() {
            [Tree::Fetch(fetch)] => (fetch.direction, fetch.name.value.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_direction_is_read() {
        for (sql, expected) in [
            ("FETCH c", Direction::Forward(1)),
            ("FETCH FROM c", Direction::Forward(1)),
            ("FETCH IN c", Direction::Forward(1)),
            ("FETCH NEXT c", Direction::Forward(1)),
            ("FETCH PRIOR FROM c", Direction::Backward(1)),
            ("FETCH FIRST IN c", Direction::Absolute(1)),
            ("FETCH LAST c", Direction::Absolute(-1)),
            ("FETCH ABSOLUTE -5 c", Direction::Absolute(-5)),
            ("FETCH RELATIVE +5 FROM c", Direction::Relative(5)),
            ("FETCH -5 c", Direction::Forward(-5)),
            ("FETCH ALL c", Direction::Forward(ALL)),
            ("MOVE FORWARD c", Direction::Forward(1)),
            ("MOVE FORWARD 7 IN c", Direction::Forward(7)),
            ("MOVE FORWARD ALL c", Direction::Forward(ALL)),
            ("MOVE BACKWARD FROM c", Direction::Backward(1)),
            ("MOVE BACKWARD -7 c", Direction::Backward(-7)),
            ("MOVE BACKWARD ALL c", Direction::Backward(ALL)),
        ] {
            assert_eq!(direction(sql), (expected, "c".to_string()), "{sql}");
        }
        assert_eq!(direction("FETCH next").1, "next");
        let error = parse("FETCH 99999999999 c").unwrap_err();
        assert_eq!(error.code, sqlstate::SYNTAX_ERROR);
    }

    #[test]
    fn options_of_declare_come_in_any_order() {
        assert!(parse("DECLARE c NO SCROLL BINARY INSENSITIVE CURSOR FOR SELECT 1").is_ok());
        assert!(parse("DECLARE c SCROLL SCROLL CURSOR WITHOUT HOLD FOR VALUES (1)").is_ok());
        let error = parse("DECLARE c SCROLL NO SCROLL CURSOR FOR SELECT 1").unwrap_err();
        assert_eq!(error.code, sqlstate::INVALID_CURSOR_DEFINITION);
        assert_eq!(error.message, "cannot specify both SCROLL and NO SCROLL");
    }
}
