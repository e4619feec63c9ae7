//! Checks both walks against each other and against the tree of a document.

use super::*;
use crate::canonical::canonicalize_jsonb;
use crate::json_node::JsonNode;
use crate::random_json::RandomJson;

use PathStep::{Index, Key, KeyOrIndex};

fn both(text: &str, path: &[PathStep<'_>]) -> Option<String> {
    let mut canonical = String::new();
    canonicalize_jsonb(text, &mut canonical).expect(text);
    let of_canonical = find(&canonical, path, JsonForm::Canonical).expect(text);
    let of_any = find(text, path, JsonForm::Unchecked).expect(text);
    let rewritten = of_any.map(|value| {
        let mut out = String::new();
        canonicalize_jsonb(value, &mut out).expect(value);
        out
    });
    assert_eq!(of_canonical, rewritten.as_deref(), "{text} {path:?}");
    rewritten
}

#[test]
fn walks_objects_and_arrays() {
    let text = r#"{"a": {"b": [10, {"c": "x"}, null]}, "q\"": 1, "bb": 2, "10": "ten"}"#;
    for (path, expected) in [
        (vec![Key("bb")], Some("2")),
        (vec![Key("q\"")], Some("1")),
        (vec![Key("a"), Key("b"), Index(0)], Some("10")),
        (vec![Key("a"), Key("b"), Index(1), Key("c")], Some("\"x\"")),
        (vec![Key("a"), Key("b"), Index(-1)], Some("null")),
        (vec![Key("a"), Key("b"), Index(-3)], Some("10")),
        (vec![Key("a"), Key("b"), Index(-4)], None),
        (vec![Key("a"), Key("b"), Index(3)], None),
        (vec![Key("a"), Key("b"), Index(i64::MIN)], None),
        (vec![Key("a"), Key("b"), Key("0")], None),
        (
            vec![
                KeyOrIndex("a"),
                KeyOrIndex("b"),
                KeyOrIndex("-2"),
                KeyOrIndex("c"),
            ],
            Some("\"x\""),
        ),
        (vec![KeyOrIndex("10")], Some("\"ten\"")),
        (vec![Index(0)], None),
        (vec![Key("missing")], None),
        (vec![Key("")], None),
        (vec![Key("bb"), Key("x")], None),
        (vec![Key("a"), Key("b"), Index(2), Key("x")], None),
    ] {
        assert_eq!(both(text, &path).as_deref(), expected, "{path:?}");
    }
    assert_eq!(both("[]", &[Index(0)]), None);
    assert_eq!(both("[]", &[Index(-1)]), None);
    assert_eq!(both("{}", &[Key("a")]), None);
    assert_eq!(
        both("[[1, \"]\"], {\"}\": \"\\\"]\"}, 3]", &[Index(2)]).as_deref(),
        Some("3")
    );
    assert_eq!(both(" 7 ", &[]).as_deref(), Some("7"));
}

#[test]
fn the_last_of_duplicate_keys_counts() {
    assert_eq!(
        find(r#"{"a":1,"a":2}"#, &[Key("a")], JsonForm::Unchecked),
        Ok(Some("2"))
    );
}

#[test]
fn unchecked_text_is_checked_to_its_end() {
    for text in ["{\"a\":1,}", "{\"a\":1} x", "[1,2", "{\"a\":1,\"b\":[}"] {
        assert!(
            find(text, &[Key("a")], JsonForm::Unchecked).is_err(),
            "{text}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(find(&deep, &[Index(0)], JsonForm::Unchecked).is_err());
}

#[test]
fn text_falsely_called_canonical_gives_something_or_nothing_but_ends() {
    let mut random = RandomJson::new(3);
    for _ in 0..5_000 {
        let mut text: Vec<char> = random.document().chars().collect();
        let at = random.below(text.len());
        text.truncate(at);
        let text: String = text.into_iter().collect();
        for path in [
            vec![Key("a")],
            vec![Index(-1)],
            vec![KeyOrIndex("aa"), Index(1)],
        ] {
            let found = find(&text, &path, JsonForm::Canonical).expect("never checked");
            assert!(found.is_none_or(|value| text.contains(value)));
        }
    }
}

#[test]
fn agrees_with_the_tree_on_random_documents() {
    let mut random = RandomJson::new(5);
    for _ in 0..5_000 {
        let text = random.document();
        let mut canonical = String::new();
        canonicalize_jsonb(&text, &mut canonical).expect("valid");
        let first = random.pick(&["a", "b", "c", "aa", "name", "q\"", "", "0"]);
        let second = random.pick(&["a", "0", "1", "-1", "aa"]);
        let path = [KeyOrIndex(first), KeyOrIndex(second)];
        let tree = JsonNode::parse(&canonical).expect("valid");
        let expected = step_of(&tree, first)
            .and_then(|value| step_of(value, second))
            .map(|value| {
                let mut out = String::new();
                value.write(&mut out);
                out
            });
        assert_eq!(both(&text, &path), expected, "{text} {path:?}");
    }
}

fn step_of<'t, 'a>(node: &'t JsonNode<'a>, step: &str) -> Option<&'t JsonNode<'a>> {
    match node {
        JsonNode::Array(elements) => elements.get(position_of(step.parse().ok()?, elements.len())?),
        _ => node.member(step),
    }
}
