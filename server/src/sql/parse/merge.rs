//! Parts of MERGE that the parser does not know: `DO NOTHING` and `INSERT DEFAULT VALUES`.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Name of the only column that a clause sets or inserts which does nothing.
pub const NOTHING: &str = "\u{1}nothing";

/// Name of the only column that a clause inserts which gives no values.
pub const DEFAULT_VALUES: &str = "\u{1}default values";

/// Spells both out as clauses that the parser reads.
pub fn spell_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let merges = |token: &TokenWithSpan| keyword(&token.token) == Keyword::MERGE;
    if !tokens.iter().any(merges) {
        return tokens;
    }
    let mut spelled: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // Whether the clause is one for rows of the source alone; the last words, up to THEN and from it on.
    let (mut inserts, mut before, mut after) = (false, [Keyword::NoKeyword; 2], None);
    for token in tokens {
        if matches!(token.token, Token::Whitespace(_)) {
            spelled.push(token);
            continue;
        }
        let word = keyword(&token.token);
        match (before, word) {
            ([_, Keyword::WHEN], Keyword::MATCHED) => inserts = false,
            ([Keyword::WHEN, Keyword::NOT], Keyword::MATCHED) => inserts = true,
            ([Keyword::MATCHED, Keyword::BY], Keyword::SOURCE) => inserts = false,
            _ => {}
        }
        let text = match (&mut after, before, word) {
            (Some(from), [Keyword::THEN, Keyword::DO], Keyword::NOTHING) => Some((
                *from,
                match inserts {
                    true => ("INSERT", NOTHING),
                    false => ("UPDATE", NOTHING),
                },
            )),
            (Some(from), [Keyword::INSERT, Keyword::DEFAULT], Keyword::VALUES) => {
                Some((*from, ("INSERT", DEFAULT_VALUES)))
            }
            _ => None,
        };
        if before[1] == Keyword::THEN {
            after = Some(spelled.len());
        }
        before = [before[1], word];
        match text {
            Some((from, (verb, name))) => {
                let span = token.span;
                spelled.truncate(from);
                let name = Token::make_word(name, Some('"'));
                let null = Token::make_keyword("NULL");
                let clause = match verb {
                    "UPDATE" => vec![
                        Token::make_keyword("UPDATE"),
                        Token::make_keyword("SET"),
                        name,
                        Token::Eq,
                        null,
                    ],
                    _ => vec![
                        Token::make_keyword("INSERT"),
                        Token::LParen,
                        name,
                        Token::RParen,
                        Token::make_keyword("VALUES"),
                        Token::LParen,
                        null,
                        Token::RParen,
                    ],
                };
                let clause = clause.into_iter();
                spelled.extend(clause.map(|part| TokenWithSpan::new(part, span)));
                after = None;
            }
            None => spelled.push(token),
        }
    }
    spelled
}

/// The keyword that a token is, quoted names aside.
pub(super) fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}
