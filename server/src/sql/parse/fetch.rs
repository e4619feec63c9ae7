//! `FETCH FIRST n ROWS`: another spelling of LIMIT.
//!
//! The parser reads no expression there, and planners no FETCH in a subquery. `FETCH {FIRST | NEXT} [n] {ROW | ROWS} ONLY` becomes
//! `LIMIT n`; with `WITH TIES` it becomes `LIMIT nyala_with_ties(n)`, which `sql::normalize::bounds` gives its meaning.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::merge::keyword;

/// The function whose result in LIMIT lets the peers of the last row in.
pub const WITH_TIES: &str = "nyala_with_ties";

/// Spells FETCH of queries as LIMIT; FETCH that begins a statement reads a cursor and is left alone.
pub fn spell_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let fetches = |token: &TokenWithSpan| keyword(&token.token) == Keyword::FETCH;
    if !tokens.iter().any(fetches) {
        return tokens;
    }
    let mut spelled = Vec::with_capacity(tokens.len());
    let mut rest = tokens.as_slice();
    let mut starts = true;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        if !starts
            && keyword(&token.token) == Keyword::FETCH
            && let Some(clause) = Clause::read(after)
        {
            let span = token.span;
            let mut add = |token| spelled.push(TokenWithSpan::new(token, span));
            add(Token::make_keyword("LIMIT"));
            if clause.with_ties {
                add(Token::make_word(WITH_TIES, None));
                add(Token::LParen);
            }
            match clause.count {
                [] => add(Token::Number("1".to_string(), false)),
                count => spelled.extend_from_slice(count),
            }
            if clause.with_ties {
                spelled.push(TokenWithSpan::new(Token::RParen, span));
            }
            rest = clause.rest;
            continue;
        }
        starts = match token.token {
            Token::SemiColon => true,
            Token::Whitespace(_) => starts,
            _ => false,
        };
        spelled.push(token.clone());
    }
    spelled
}

struct Clause<'a> {
    /// The number of rows, without white space around it; nothing where none is given.
    count: &'a [TokenWithSpan],
    with_ties: bool,
    rest: &'a [TokenWithSpan],
}

impl<'a> Clause<'a> {
    /// What stands behind FETCH, if it is this clause.
    fn read(tokens: &'a [TokenWithSpan]) -> Option<Self> {
        let (first, tokens) = next(tokens)?;
        if !matches!(keyword(&first.token), Keyword::FIRST | Keyword::NEXT) {
            return None;
        }
        let tokens = trim_start(tokens);
        let mut depth = 0_usize;
        for (at, token) in tokens.iter().enumerate() {
            match &token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.checked_sub(1)?,
                Token::SemiColon => return None,
                token if depth == 0 && matches!(keyword(token), Keyword::ROW | Keyword::ROWS) => {
                    let (count, rest) = tokens.split_at_checked(at)?;
                    let (_, rest) = rest.split_first()?;
                    let (end, rest) = next(rest)?;
                    let (with_ties, rest) = match keyword(&end.token) {
                        Keyword::ONLY => (false, rest),
                        Keyword::WITH => match next(rest)? {
                            (ties, rest) if keyword(&ties.token) == Keyword::TIES => (true, rest),
                            _ => return None,
                        },
                        _ => return None,
                    };
                    let end = count.iter().rposition(|token| !is_space(token));
                    let count = count.get(..end.map_or(0, |end| end + 1))?;
                    return Some(Self {
                        count,
                        with_ties,
                        rest,
                    });
                }
                _ => {}
            }
        }
        None
    }
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

fn trim_start(tokens: &[TokenWithSpan]) -> &[TokenWithSpan] {
    let start = tokens.iter().position(|token| !is_space(token));
    tokens
        .get(start.unwrap_or(tokens.len())..)
        .unwrap_or_default()
}

fn next(tokens: &[TokenWithSpan]) -> Option<(&TokenWithSpan, &[TokenWithSpan])> {
    trim_start(tokens).split_first()
}
