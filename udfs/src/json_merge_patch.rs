//! Owns the merging of JSON documents by RFC 7396 (JSON Merge Patch), and the function `json_merge_patch(old, new)`.
//!
//! A patch that is an object changes the members it names: a null takes the member away, an object is merged into it, anything else
//! replaces it. A patch that is no object replaces the whole target. Arrays are never merged.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::StringViewBuilder;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::canonical::canonicalize_jsonb;
use crate::json_args::{coerce_text, result, rows_to_evaluate, text_column};
use crate::json_error::JsonError;
use crate::json_node::{JsonNode, Member, compare_keys};
use crate::pg_type::jsonb_field;

/// Patches with at most this many members are applied member by member; larger ones by one pass over both objects, so that
/// neither a small patch of a large profile nor a large patch costs more than it must.
const POINT_MEMBERS_MAX: usize = 8;

/// Applies `patch` to `target`, the document so far, or none if there is none yet. This is `MergePatch` of RFC 7396, section 2.
pub(crate) fn merge_patch<'a>(target: Option<JsonNode<'a>>, patch: JsonNode<'a>) -> JsonNode<'a> {
    let JsonNode::Object(patch) = patch else {
        return patch;
    };
    match target {
        Some(JsonNode::Object(mut members)) if !members.is_empty() => {
            merge_members(&mut members, patch);
            JsonNode::Object(members)
        }
        _ => JsonNode::Object(patch_of_nothing(patch)),
    }
}

/// What a patch makes of an empty object: itself without its nulls.
fn patch_of_nothing(mut patch: Vec<Member<'_>>) -> Vec<Member<'_>> {
    patch.retain_mut(|member| {
        if let JsonNode::Object(members) = &mut member.value {
            *members = patch_of_nothing(std::mem::take(members));
        }
        member.value != JsonNode::Null
    });
    patch
}

fn merge_members<'a>(members: &mut Vec<Member<'a>>, patch: Vec<Member<'a>>) {
    if patch.len() > POINT_MEMBERS_MAX {
        *members = merge_sorted(std::mem::take(members), patch);
        return;
    }
    for change in patch {
        let position = members.binary_search_by(|member| compare_keys(&member.key, &change.key));
        match (position, change.value) {
            (Ok(position), JsonNode::Null) => {
                members.remove(position);
            }
            (Err(_), JsonNode::Null) => {}
            (Ok(position), value) => {
                if let Some(member) = members.get_mut(position) {
                    let old = std::mem::replace(&mut member.value, JsonNode::Null);
                    member.value = merge_patch(Some(old), value);
                }
            }
            (Err(position), value) => {
                members.insert(
                    position,
                    Member {
                        key: change.key,
                        value: merge_patch(None, value),
                    },
                );
            }
        }
    }
}

/// Merges two sorted lists of members in one pass.
fn merge_sorted<'a>(members: Vec<Member<'a>>, patch: Vec<Member<'a>>) -> Vec<Member<'a>> {
    let mut merged = Vec::with_capacity(members.len() + patch.len());
    let mut members = members.into_iter().peekable();
    for change in patch {
        while let Some(kept) =
            members.next_if(|member| compare_keys(&member.key, &change.key) == Ordering::Less)
        {
            merged.push(kept);
        }
        let old = members.next_if(|member| member.key == change.key);
        if change.value != JsonNode::Null {
            let value = merge_patch(old.map(|member| member.value), change.value);
            merged.push(Member {
                key: change.key,
                value,
            });
        }
    }
    merged.extend(members);
    merged
}

/// Folds patches, in the order they are given, into one document and appends its canonical text to `out`. Starts from no document;
/// false if there are no patches, so that there is none in the end either.
///
/// # Errors
/// As [`canonicalize_jsonb`].
pub(crate) fn fold_patches<'a>(
    patches: impl Iterator<Item = &'a str>,
    out: &mut String,
) -> Result<bool, JsonError> {
    let mut target = None;
    for patch in patches {
        target = Some(merge_patch(target, JsonNode::parse(patch)?));
    }
    if let Some(document) = &target {
        document.write(out);
    }
    Ok(target.is_some())
}

/// `json_merge_patch(old, new) -> jsonb`. With `old` NULL the patch is applied to nothing; with `new` NULL nothing changes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonMergePatch {
    signature: Signature,
}

impl Default for JsonMergePatch {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for JsonMergePatch {
    fn name(&self) -> &str {
        "json_merge_patch"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(jsonb_field(self.name(), true)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [old, new] = arg_types else {
            return plan_err!("function json_merge_patch takes two JSON documents");
        };
        Ok(vec![
            coerce_text(self.name(), old)?,
            coerce_text(self.name(), new)?,
        ])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = rows_to_evaluate(&args);
        let olds = text_column(&args, 0, rows)?;
        let news = text_column(&args, 1, rows)?;
        let mut merged = StringViewBuilder::with_capacity(rows);
        let mut text = String::new();
        for (row, (old, new)) in olds.iter().zip(news.iter()).enumerate() {
            text.clear();
            if merge_texts(old, new, &mut text).map_err(|error| error.in_row(row))? {
                merged.append_value(&text);
            } else {
                merged.append_null();
            }
        }
        result(&args, Arc::new(merged.finish()))
    }
}

/// Appends the merged text to `out`; false if both are NULL.
fn merge_texts(old: Option<&str>, new: Option<&str>, out: &mut String) -> Result<bool, JsonError> {
    match (old, new) {
        (None, None) => return Ok(false),
        // The old document is no patch, so its nulls stay.
        (Some(old), None) => canonicalize_jsonb(old, out)?,
        (old, Some(new)) => {
            let old = old.map(JsonNode::parse).transpose()?;
            merge_patch(old, JsonNode::parse(new)?).write(out);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_json::RandomJson;

    fn merged(old: Option<&str>, new: Option<&str>) -> Option<String> {
        let mut out = String::new();
        merge_texts(old, new, &mut out)
            .expect("valid JSON")
            .then_some(out)
    }

    #[test]
    fn examples_of_rfc_7396_appendix_a() {
        for (original, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a": "c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a": "b", "b": "c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b": "c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a": "c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a": ["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a": {"b": "d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a": [1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c", "d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a": 1, "e": null}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a": "b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a": {"bb": {}}}"#),
        ] {
            assert_eq!(
                merged(Some(original), Some(patch)).as_deref(),
                Some(expected),
                "{original} {patch}"
            );
        }
    }

    #[test]
    fn nulls_of_sql() {
        assert_eq!(merged(None, None), None);
        assert_eq!(
            merged(Some(r#"{"b":null,"a":1}"#), None).as_deref(),
            Some(r#"{"a": 1, "b": null}"#)
        );
        assert_eq!(
            merged(None, Some(r#"{"b":null,"a":{"c":null}}"#)).as_deref(),
            Some(r#"{"a": {}}"#)
        );
    }

    #[test]
    fn arrays_keep_their_nulls() {
        assert_eq!(
            merged(None, Some(r#"{"a":[null,{"b":null}]}"#)).as_deref(),
            Some(r#"{"a": [null, {"b": null}]}"#)
        );
    }

    /// The pseudo-code of RFC 7396 in its plainest form, on another library's tree.
    fn reference(target: serde_json::Value, patch: &serde_json::Value) -> serde_json::Value {
        let serde_json::Value::Object(patch) = patch else {
            return patch.clone();
        };
        let mut target = match target {
            serde_json::Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        for (key, value) in patch {
            let old = target.remove(key);
            if !value.is_null() {
                target.insert(key.clone(), reference(old.unwrap_or_default(), value));
            }
        }
        serde_json::Value::Object(target)
    }

    #[test]
    fn agrees_with_the_pseudo_code_on_random_documents() {
        let mut random = RandomJson::new(17);
        for _ in 0..5_000 {
            let (old, new) = (random.document(), random.patch());
            let expected = reference(
                serde_json::from_str(&old).expect("valid JSON"),
                &serde_json::from_str(&new).expect("valid JSON"),
            );
            let actual = merged(Some(&old), Some(&new)).expect("not NULL");
            let actual: serde_json::Value = serde_json::from_str(&actual).expect("valid JSON");
            assert_eq!(actual, expected, "{old} {new}");
        }
    }

    #[test]
    fn both_ways_of_merging_agree() {
        let wide = |prefix: &str, count: usize| {
            let members: Vec<String> = (0..count)
                .map(|n| format!("\"{prefix}{}\":{n}", n * 3))
                .collect();
            format!("{{{}}}", members.join(","))
        };
        let old = wide("k", 40);
        let new = wide("k", 30).replace(":4", ":null").replace("k1", "j1");
        let at_once = merged(Some(&old), Some(&new)).expect("not NULL");
        let patch = JsonNode::parse(&new).expect("valid");
        let JsonNode::Object(changes) = patch else {
            panic!("an object")
        };
        let mut target = JsonNode::parse(&old).expect("valid");
        for change in changes {
            target = merge_patch(Some(target), JsonNode::Object(vec![change]));
        }
        let mut one_by_one = String::new();
        target.write(&mut one_by_one);
        assert_eq!(at_once, one_by_one);
    }
}
