//! Template patterns as lists of nodes: fields that a keyword names, and the text between them.
//!
//! One lexer serves the patterns of times and of numbers; the keywords and what may stand around them come from
//! [`Keywords`]. Nothing here knows what a field means.

/// Letter case in which a keyword was written; names of months and the like are printed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// `MONTH`.
    Upper,
    /// `month`.
    Lower,
    /// `Month`.
    Title,
}

/// Ending that `TH` and `th` add to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordinal {
    /// `1ST`.
    Upper,
    /// `1st`.
    Lower,
}

impl Ordinal {
    /// The ending of a number given by its digits.
    pub fn suffix(self, digits: &str) -> &'static str {
        let mut last = digits.bytes().rev();
        let ones = last.next();
        let teen = last.next() == Some(b'1');
        let (upper, lower) = match ones {
            Some(b'1') if !teen => ("ST", "st"),
            Some(b'2') if !teen => ("ND", "nd"),
            Some(b'3') if !teen => ("RD", "rd"),
            _ => ("TH", "th"),
        };
        match self {
            Self::Upper => upper,
            Self::Lower => lower,
        }
    }
}

/// What `FM`, `TM` and `TH` around a keyword say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    /// `FM`: no padding.
    pub fill: bool,
    /// `TM`: names of the locale, which here is always C.
    pub localized: bool,
    /// `TH` or `th`.
    pub ordinal: Option<Ordinal>,
}

/// What a character between fields is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// A letter, a digit, anything quoted.
    Literal,
    /// ASCII punctuation.
    Separator,
    /// White space.
    Space,
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy)]
pub enum Node<K> {
    /// A keyword.
    Field {
        /// Which.
        key: K,
        /// As it was written.
        name: &'static str,
        /// In which case it was written.
        case: Case,
        /// What stands around it.
        marks: Marks,
    },
    /// A character that is not part of a keyword.
    Text(char, TextKind),
}

/// A keyword: its spellings in upper, lower and mixed case (empty where there is none), and what it stands for.
pub type Keyword<K> = (&'static str, &'static str, &'static str, K);

/// A family of keywords.
pub trait Keywords: Copy + 'static {
    /// All of them; of two that begin alike the longer one comes first.
    const ALL: &'static [Keyword<Self>];
    /// Whether `FM`, `TM`, `TH` and `SP` stand around keywords, and punctuation is told from other text.
    const MARKED: bool;
}

/// Cuts a pattern into its parts.
pub fn parse<K: Keywords>(pattern: &str) -> Vec<Node<K>> {
    let mut nodes = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let mut marks = Marks::default();
        if K::MARKED {
            if let Some(after) = strip_any(rest, ["FM", "fm"]) {
                marks.fill = true;
                rest = after;
            } else if let Some(after) = strip_any(rest, ["TM", "tm"]) {
                marks.localized = true;
                rest = after;
            }
        }
        rest = match field(rest, marks) {
            Some((field, after)) => {
                nodes.push(field);
                after
            }
            None => text::<K>(rest, &mut nodes),
        };
    }
    nodes
}

fn strip_any<'a>(text: &'a str, prefixes: [&str; 2]) -> Option<&'a str> {
    prefixes
        .into_iter()
        .find_map(|prefix| text.strip_prefix(prefix))
}

fn field<K: Keywords>(text: &str, mut marks: Marks) -> Option<(Node<K>, &str)> {
    let (key, name, case, mut rest) = K::ALL.iter().find_map(|(upper, lower, title, key)| {
        [
            (*upper, Case::Upper),
            (*lower, Case::Lower),
            (*title, Case::Title),
        ]
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .find_map(|(name, case)| Some((*key, name, case, text.strip_prefix(name)?)))
    })?;
    if K::MARKED {
        if let Some(after) = rest.strip_prefix("TH") {
            marks.ordinal = Some(Ordinal::Upper);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("th") {
            marks.ordinal = Some(Ordinal::Lower);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("SP") {
            // Numbers spelled out: PostgreSQL reads the mark and does nothing with it.
            rest = after;
        }
    }
    let field = Node::Field {
        key,
        name,
        case,
        marks,
    };
    Some((field, rest))
}

/// Takes one character, or a quoted text.
fn text<'a, K: Keywords>(text: &'a str, nodes: &mut Vec<Node<K>>) -> &'a str {
    let mut rest = text.chars();
    match rest.next() {
        Some('"') => {
            while let Some(mut quoted) = rest.next() {
                if quoted == '"' {
                    break;
                }
                if quoted == '\\' {
                    quoted = rest.next().unwrap_or('\\');
                }
                nodes.push(Node::Text(quoted, TextKind::Literal));
            }
        }
        // Outside quotes a backslash only takes the meaning from a quote.
        Some('\\') if rest.as_str().starts_with('"') => {
            rest.next();
            nodes.push(Node::Text('"', kind::<K>('"')));
        }
        Some(other) => nodes.push(Node::Text(other, kind::<K>(other))),
        None => {}
    }
    rest.as_str()
}

fn kind<K: Keywords>(character: char) -> TextKind {
    if K::MARKED && is_separator(character) {
        TextKind::Separator
    } else if is_space(character) {
        TextKind::Space
    } else {
        TextKind::Literal
    }
}

/// Whether a character is ASCII punctuation.
pub fn is_separator(character: char) -> bool {
    character.is_ascii_punctuation()
}

/// Whether a character is white space in the C locale.
pub fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}
