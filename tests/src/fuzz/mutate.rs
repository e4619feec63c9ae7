//! Changes of a statement: by its tokens, so that most of what comes out still parses, and now and then by its bytes.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A statement is not made longer than this.
const BYTES_MAX: usize = 20_000;
/// Deepest nesting that is tried.
const DEPTH_MAX: usize = 3000;
/// The same where planning takes long: what is beyond lies in `tests/fuzz`, as known gaps.
const SLOW_DEPTH_MAX: usize = 8;

/// Values at the edges of types.
const LITERALS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2147483647",
    "-2147483648",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "99999999999999999999999999999999999999",
    "170141183460469231731687303715884105728",
    "0.1",
    "1e308",
    "-1e-320",
    "1e400",
    "NULL",
    "true",
    "''",
    "'a'",
    "'NaN'",
    "'Infinity'",
    "'-infinity'",
    "'0001-01-01 BC'",
    "'294276-12-31 23:59:59.999999'",
    "'5874897-12-31'",
    "'-290308-01-01'",
    "'24:00:00'",
    "'P9999999Y'",
    "'178000000 years'",
    "'{1,NULL,3}'",
    "'{}'",
    "'{{1},{2,3}}'",
    "'[]'",
    "'{\"a\":[1,{\"b\":null}]}'",
    "'\\x'",
    "'\\xzz'",
    "E'\\u0000'",
    "'ü€𝄞'",
    "ARRAY[]::integer[]",
    "ARRAY[1,NULL]",
    "ROW(1,NULL)",
    "DATE '2024-02-30'",
    "TIMESTAMPTZ 'epoch'",
    "INTERVAL '1 mon -1 day'",
    "INTERVAL '2147483647 months'",
    "'1 0'::uuid",
    "'a'::jsonb",
    "(SELECT 1)",
    "(SELECT NULL)",
    "current_timestamp",
    "$1",
    "*",
];
const TYPES: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "numeric(38,38)",
    "numeric(1,0)",
    "real",
    "double precision",
    "text",
    "varchar(0)",
    "varchar(3)",
    "char(5)",
    "boolean",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "bytea",
    "uuid",
    "jsonb",
    "json",
    "integer[]",
    "text[]",
    "oid",
    "regclass",
    "regtype",
    "name",
    "\"char\"",
];
const CALLS: &[&str] = &[
    "abs",
    "-",
    "NOT ",
    "length",
    "upper",
    "sum",
    "count",
    "min",
    "array_agg",
    "string_agg",
    "coalesce",
    "nullif",
    "lower",
    "round",
    "to_char",
    "to_number",
    "date_trunc",
    "extract",
    "age",
    "substring",
    "repeat",
    "lpad",
    "generate_series",
    "unnest",
    "row_number",
    "lag",
    "jsonb_build_object",
    "json_object_agg",
    "jsonb_array_elements",
    "split_part",
    "regexp_replace",
    "format",
    "chr",
    "width_bucket",
    "array_length",
    "array_position",
    "EXISTS ",
    "ANY ",
    "ALL ",
    "pg_get_expr",
    "current_setting",
    "set_config",
    "pg_typeof",
    "sqrt",
    "power",
    "mod",
    "factorial",
];
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "OFFSET",
    "UNION ALL",
    "INTERSECT",
    "EXCEPT",
    "DISTINCT",
    "JOIN",
    "LEFT JOIN",
    "FULL JOIN",
    "CROSS JOIN",
    "LATERAL",
    "ON",
    "USING",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS NULL",
    "IS DISTINCT FROM",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "AS",
    "WITH",
    "RECURSIVE",
    "OVER",
    "PARTITION BY",
    "FILTER",
    "RETURNING",
    "ON CONFLICT",
    "DO UPDATE SET",
    "DO NOTHING",
    "VALUES",
    "DEFAULT",
    "::",
    "AT TIME ZONE",
    "COLLATE",
    "NULLS FIRST",
    "FETCH FIRST",
    "FOR UPDATE",
    "EXPLAIN",
    "ANALYZE",
    ",",
    "(",
    ")",
    "[",
    "]",
    "||",
    "->",
    "->>",
    "#>",
    "@>",
    "?",
    "*",
    "+",
    "-",
    "/",
    "%",
    "^",
    "=",
    "<>",
    "<=",
    "~",
    "!~*",
    ";",
    ".",
    "::text",
    "ROLLUP",
    "GROUPING SETS",
    "TABLESAMPLE",
    "WINDOW",
    "ROWS BETWEEN",
];

/// A statement made of one or two others.
pub fn statement(random: &mut StdRng, one: &str, other: &str) -> String {
    let others = tokens(other);
    let mut tokens = tokens(one);
    // Mostly one change: what does not parse tries the parser only.
    let changes = *[1, 1, 1, 2, 2, 4].choose(random).unwrap_or(&1);
    for _ in 0..changes {
        change(random, &mut tokens, &others);
    }
    let mut text: String = tokens.concat();
    match random.random_range(0..40) {
        0 => text = nested(random, &text),
        1 => text = bytes(random, text),
        2 => text = format!("EXPLAIN {text}"),
        3 => text = format!("SELECT * FROM ({text}) AS fz"),
        4 => text = format!("CREATE TABLE fz{} AS {text}", random.random_range(0..5)),
        5 => text = format!("WITH fz AS ({text}) SELECT count(*) FROM fz"),
        _ => {}
    }
    let end = text.floor_char_boundary(BYTES_MAX);
    text.truncate(end);
    text
}

fn change(random: &mut StdRng, tokens: &mut Vec<String>, others: &[String]) {
    if tokens.is_empty() {
        tokens.push("SELECT 1".into());
    }
    let at = random.random_range(0..tokens.len());
    let value = |random: &mut StdRng, from: &[&str]| {
        from.choose(random)
            .map_or(String::new(), |text| format!(" {text} "))
    };
    match random.random_range(0..15) {
        0 => {
            tokens.remove(at);
        }
        1 => tokens.insert(at, tokens[at].clone()),
        2 => {
            let with = random.random_range(0..tokens.len());
            tokens.swap(at, with);
        }
        3 => tokens[at] = value(random, LITERALS),
        4 | 5 => {
            // A literal for a literal keeps most statements whole.
            let literals: Vec<usize> = (0..tokens.len())
                .filter(|&n| is_literal(&tokens[n]))
                .collect();
            if let Some(&at) = literals.choose(random) {
                tokens[at] = value(random, LITERALS);
            }
        }
        6 => tokens[at] = value(random, WORDS),
        7 => tokens.insert(at, value(random, WORDS)),
        8 => tokens[at] = format!("{}({})", value(random, CALLS), tokens[at]),
        9 => tokens[at] = format!("({})::{}", tokens[at], value(random, TYPES).trim()),
        10 | 11 => {
            if let Some(token) = others.choose(random) {
                tokens[at] = token.clone();
            }
        }
        12 => {
            // The head of one, the tail of the other.
            if !others.is_empty() {
                tokens.truncate(at);
                tokens.extend_from_slice(&others[random.random_range(0..others.len())..]);
            }
        }
        13 => {
            let words: Vec<usize> = (0..tokens.len()).filter(|&n| is_word(&tokens[n])).collect();
            let theirs: Vec<&String> = others.iter().filter(|token| is_word(token)).collect();
            if let (Some(&at), Some(word)) = (words.choose(random), theirs.choose(random)) {
                tokens[at] = (*word).clone();
            }
        }
        _ => {
            let end = random.random_range(at..tokens.len()) + 1;
            let piece: Vec<String> = tokens[at..end].to_vec();
            let to = random.random_range(0..tokens.len());
            tokens.splice(to..to, piece);
        }
    }
}

fn is_literal(token: &str) -> bool {
    token.starts_with('\'') || token.starts_with(|c: char| c.is_ascii_digit())
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, numbers, strings and signs; white space is a token too, so that joined they are the text again.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first == '\'' || first == '"' {
            rest[1..].find(first).map_or(rest.len(), |end| end + 2)
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else if first.is_whitespace() {
            rest.find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        found.push(token.to_string());
        rest = after;
    }
    found
}

/// The statement inside of many others, or something small inside of many parentheses and operators.
fn nested(random: &mut StdRng, text: &str) -> String {
    let depth = random.random_range(1..DEPTH_MAX);
    let some = depth % SLOW_DEPTH_MAX + 1;
    match random.random_range(0..8) {
        0 => format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth)),
        1 => format!("SELECT 1{}", " + 1".repeat(some * 4)),
        2 => format!("SELECT {}true", "NOT ".repeat(depth)),
        3 => {
            let outer = "SELECT * FROM (".repeat(some);
            format!("{outer}{text}{}", ") AS f".repeat(some))
        }
        4 => format!(
            "SELECT {}1{}",
            "CASE WHEN true THEN ".repeat(some * 8),
            " END".repeat(some * 8)
        ),
        5 => format!("SELECT {}1{}", "abs(".repeat(some), ")".repeat(some)),
        6 => format!(
            "SELECT '{}1{}'::jsonb",
            "[".repeat(depth),
            "]".repeat(depth)
        ),
        _ => format!("{text}{}", " UNION ALL SELECT 1".repeat(some * 4)),
    }
}

/// Some characters are others.
fn bytes(random: &mut StdRng, text: String) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..random.random_range(1..4) {
        if characters.is_empty() {
            break;
        }
        let at = random.random_range(0..characters.len());
        match random.random_range(0..3) {
            0 => characters[at] = char::from(random.random_range(1..127_u8)),
            1 => characters.insert(
                at,
                *['\'', '"', '\\', ';', '\u{0301}', '€', '\u{feff}', '$']
                    .choose(random)
                    .unwrap_or(&'x'),
            ),
            _ => {
                characters.remove(at);
            }
        }
    }
    characters.into_iter().collect()
}
