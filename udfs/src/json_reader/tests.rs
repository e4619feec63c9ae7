//! Checks the reader's tokens and that its errors say what PostgreSQL says.

use super::*;

fn check(text: &str) -> Result<(), JsonError> {
    let mut reader = JsonReader::new(text);
    reader.skip_value(0)?;
    reader.finish()
}

#[test]
fn accepts_json() {
    for text in [
        "null",
        " true ",
        "-0",
        "0.5e-3",
        "1E+10",
        "\"\"",
        "\"a\\u00e9\\ud83d\\ude00\"",
        "[]",
        "[ 1 , [ ] , { } ]",
        "{\"a\":{\"b\":[null,false,\"x\"]}}",
        "\"\u{7f}é\"",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn words_errors_as_postgresql_does() {
    for (text, detail) in [
        ("", "The input string ended unexpectedly. JSON data: "),
        ("{", "The input string ended unexpectedly. JSON data: {"),
        (
            "{\"a\":",
            "The input string ended unexpectedly. JSON data: {\"a\":",
        ),
        ("xyz", "Token \"xyz\" is invalid. JSON data: xyz"),
        ("nul", "Token \"nul\" is invalid. JSON data: nul"),
        ("01", "Token \"01\" is invalid. JSON data: 01"),
        ("1.", "Token \"1.\" is invalid. JSON data: 1."),
        ("-", "Token \"-\" is invalid. JSON data: -"),
        ("1.5x", "Token \"1.5x\" is invalid. JSON data: 1.5x"),
        ("12a", "Token \"12a\" is invalid. JSON data: 12a"),
        ("\"abc", "Token \"\"abc\" is invalid. JSON data: \"abc"),
        (
            "{\"a\": x}",
            "Token \"x\" is invalid. JSON data: {\"a\": x...",
        ),
        (
            "[1 2]",
            "Expected \",\" or \"]\", but found \"2\". JSON data: [1 2...",
        ),
        (
            "[1,]",
            "Expected JSON value, but found \"]\". JSON data: [1,]",
        ),
        (
            "{\"a\" 1}",
            "Expected \":\", but found \"1\". JSON data: {\"a\" 1...",
        ),
        (
            "{\"a\":1,}",
            "Expected string, but found \"}\". JSON data: {\"a\":1,}",
        ),
        (
            "{1:2}",
            "Expected string or \"}\", but found \"1\". JSON data: {1...",
        ),
        (
            "{\"a\":1 \"b\"}",
            "Expected \",\" or \"}\", but found \"\"b\"\". JSON data: {\"a\":1 \"b\"...",
        ),
        (
            "1 2",
            "Expected end of input, but found \"2\". JSON data: 1 2",
        ),
        (
            "\"\\x\"",
            "Escape sequence \"\\x\" is invalid. JSON data: \"\\x...",
        ),
        (
            "\"\\u12g4\"",
            "\"\\u\" must be followed by four hexadecimal digits. JSON data: \"\\u12...",
        ),
        (
            "\"a\nb\"",
            "Character with value 0x0a must be escaped. JSON data: \"a...",
        ),
        (
            "\"\\ud800\"",
            "Unicode low surrogate must follow a high surrogate. JSON data: \"\\ud800...",
        ),
        (
            "\"\\ud800\\ud800\"",
            "Unicode high surrogate must not follow a high surrogate. JSON data: \"\\ud800\\ud800...",
        ),
        (
            "\"\\udc00\"",
            "Unicode low surrogate must follow a high surrogate. JSON data: \"\\udc00...",
        ),
    ] {
        let error = check(text).expect_err(text);
        assert_eq!(error.detail, detail, "{text}");
        assert_eq!(error.sqlstate, "22P02", "{text}");
        assert_eq!(error.message, "invalid input syntax for type json");
    }
}

#[test]
fn refuses_the_nul_escape() {
    let error = check("{\"a\": \"\\u0000\"}").expect_err("NUL");
    assert_eq!(error.sqlstate, "22P05");
    assert_eq!(error.message, "unsupported Unicode escape sequence");
}

#[test]
fn limits_the_depth() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(check(&nested(JSON_DEPTH_MAX)), Ok(()));
    assert_eq!(
        check(&nested(JSON_DEPTH_MAX + 1))
            .expect_err("depth")
            .sqlstate,
        "54001"
    );
    assert_eq!(
        check(&"[".repeat(1_000_000)).expect_err("depth").sqlstate,
        "54001"
    );
}

#[test]
fn unescapes_strings() {
    let mut reader = JsonReader::new("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00z\"");
    assert_eq!(reader.string().as_deref(), Ok("a\"\\/\u{8}\u{c}\n\r\té😀z"));
    assert!(matches!(
        JsonReader::new("\"plain\"").string(),
        Ok(Cow::Borrowed("plain"))
    ));
}

#[test]
fn finds_the_first_special_byte_at_every_offset() {
    for special in [b'"', b'\\', 0, 0x1f] {
        for offset in 0..40 {
            let mut bytes = vec![b'x'; 40];
            if let Some(byte) = bytes.get_mut(offset) {
                *byte = special;
            }
            assert_eq!(find_special(&bytes, 0), offset, "{special} at {offset}");
        }
    }
    let ordinary: Vec<u8> = (0x20..=0xff)
        .filter(|byte| !matches!(byte, b'"' | b'\\'))
        .collect();
    assert_eq!(find_special(&ordinary, 0), ordinary.len());
}
