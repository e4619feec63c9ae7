//! Checks canonical text by table and by random documents.

use super::*;
use crate::random_json::RandomJson;

fn canonical(text: &str) -> String {
    let mut out = String::new();
    canonicalize_jsonb(text, &mut out).expect(text);
    out
}

#[test]
fn matches_jsonb_out() {
    for (text, expected) in [
        (
            " { \"b\" : [ 1,2 , {} ] , \"a\":null } ",
            "{\"a\": null, \"b\": [1, 2, {}]}",
        ),
        ("{\"bb\":[1,2],\"a\":1}", "{\"a\": 1, \"bb\": [1, 2]}"),
        ("\"\\u00e9\\/\"", "\"é/\""),
        (
            "[1.0,1e2,12345678901234567890.123]",
            "[1.0, 1e2, 12345678901234567890.123]",
        ),
        ("{\"a\":1,\"a\":2}", "{\"a\": 2}"),
        ("[]", "[]"),
        (" 1 ", "1"),
    ] {
        assert_eq!(canonical(text), expected);
    }
}

#[test]
fn canonical_text_is_recognised() {
    for text in [
        "{}",
        "[]",
        "null",
        "-1.50e3",
        "\"a\\u001f\\n\\\"é\"",
        "{\"a\": 1, \"b\": {\"c\": [true, false, null]}, \"aa\": \"x\"}",
    ] {
        assert!(is_canonical(text), "{text}");
        assert_eq!(canonical(text), text);
    }
    for text in [
        "",
        " 1",
        "1 ",
        "[1 , 2]",
        "[1,2]",
        "{\"a\":1}",
        "{\"b\": 1, \"a\": 2}",
        "{\"a\": 1, \"a\": 2}",
        "{\"aa\": 1, \"b\": 2}",
        "\"\\u00e9\"",
        "\"\\/\"",
        "\"\\u000a\"",
        "\"\\u001F\"",
        "\"\\u0000\"",
        "\"a\nb\"",
        "01",
        "[1, ]",
        "[1, 2",
        "{\"a\": }",
        "{\"a\": 1, }",
        "tru",
        "[ 1]",
        "\"a",
        "1}",
        "[1]]",
    ] {
        assert!(!is_canonical(text), "{text}");
    }
}

#[test]
fn is_idempotent_on_random_documents() {
    let mut random = RandomJson::new(7);
    for _ in 0..5_000 {
        let text = random.document();
        let once = canonical(&text);
        assert_eq!(canonical(&once), once, "from {text}");
        assert_eq!(validate_json(&text), Ok(()));
        let shown: serde_json::Value = serde_json::from_str(&once).expect("valid JSON");
        let given: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(shown, given, "{text}");
    }
}

#[test]
fn damaged_documents_never_pass_as_canonical_unless_they_are_json() {
    let mut random = RandomJson::new(11);
    for _ in 0..5_000 {
        let text = random.document();
        let mut damaged: Vec<char> = canonical(&text).chars().collect();
        let at = random.below(damaged.len());
        if random.below(2) == 0 {
            damaged.remove(at);
        } else {
            damaged.insert(
                at,
                random.pick(&['"', '\\', ' ', ',', '{', '}', '[', ']', '0', 'x', ':']),
            );
        }
        let damaged: String = damaged.into_iter().collect();
        let valid = serde_json::from_str::<serde_json::Value>(&damaged).is_ok();
        assert_eq!(validate_json(&damaged).is_ok(), valid, "{damaged}");
        assert!(valid || !is_canonical(&damaged), "{damaged}");
    }
}

#[test]
fn columns_keep_nulls_and_name_the_row_of_an_error() {
    let column = StringViewArray::from(vec![
        Some("{\"b\":1,\"a\":2}"),
        None,
        Some("{\"already\": \"canonical text that is not inlined\"}"),
        Some("1"),
    ]);
    let canonical = jsonb_in(&column).expect("valid");
    let expected = StringViewArray::from(vec![
        Some("{\"a\": 2, \"b\": 1}"),
        None,
        Some("{\"already\": \"canonical text that is not inlined\"}"),
        Some("1"),
    ]);
    assert_eq!(canonical, expected);
    let error =
        jsonb_in(&StringViewArray::from(vec!["1", "2", "{\"a\": x}"])).expect_err("malformed");
    assert_eq!(
        error.detail,
        "Token \"x\" is invalid. JSON data, row 3: {\"a\": x..."
    );
    let error = json_in(&StringViewArray::from(vec!["1", ""])).expect_err("malformed");
    assert_eq!(
        error.detail,
        "The input string ended unexpectedly. JSON data, row 2: "
    );
}
