//! `DEFERRABLE`, which `sqlparser` does not know as a mode of transactions.

use sqlparser::ast::TransactionModifier;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// How a statement that begins a transaction says that it was DEFERRABLE: `BEGIN DEFERRED` is not PostgreSQL's.
pub const DEFERRABLE: TransactionModifier = TransactionModifier::Deferred;

/// Leaves `[NOT] DEFERRABLE` out of statements about transactions. Tells which statements said it to begin one.
pub fn leave_out(tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, Vec<usize>) {
    let is = |token: &TokenWithSpan, text: &str| match &token.token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text),
        _ => false,
    };
    if !tokens.iter().any(|token| is(token, "deferrable")) {
        return (tokens, Vec::new());
    }
    let (mut left, mut deferrable) = (Vec::with_capacity(tokens.len()), Vec::new());
    let mut number = 0;
    for statement in tokens.split_inclusive(|token| token.token == Token::SemiColon) {
        let blank = |token: &&TokenWithSpan| matches!(token.token, Token::Whitespace(_));
        let words: Vec<_> = statement.iter().filter(|token| !blank(token)).collect();
        let starts = |expected: &[&str]| {
            let mut pairs = words.iter().zip(expected);
            words.len() >= expected.len() && pairs.all(|(one, text)| is(one, text))
        };
        let begins = starts(&["begin"]) || starts(&["start", "transaction"]);
        let sets =
            starts(&["set", "transaction"]) || starts(&["set", "session", "characteristics"]);
        for token in statement {
            if !(begins || sets) || !is(token, "deferrable") {
                left.push(token.clone());
                continue;
            }
            // NOT before it, and the comma that keeps it apart, go with it.
            drop_blanks(&mut left);
            match left.pop_if(|last| is(last, "not")) {
                Some(_) => drop_blanks(&mut left),
                None if begins => deferrable.push(number),
                None => {}
            }
            left.pop_if(|last| last.token == Token::Comma);
        }
        let is_empty = words.iter().all(|token| token.token == Token::SemiColon);
        number += usize::from(!is_empty);
    }
    (left, deferrable)
}

fn drop_blanks(tokens: &mut Vec<TokenWithSpan>) {
    let blank = |last: &mut TokenWithSpan| matches!(last.token, Token::Whitespace(_));
    while tokens.pop_if(blank).is_some() {}
}
