//! Owns containment: `json_contains` (`@>`) and `json_contained` (`<@`), by the rules of "jsonb Containment and Existence" in
//! PostgreSQL's manual.
//!
//! An object contains another if each of its members is contained in the member of the same key; an array contains another if each of
//! its elements is contained in some element, whatever the order; scalars contain their equals, numbers by value. As an exception a
//! top-level array contains a scalar that is one of its elements.

use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::json_args::{argument, coerce_text, form_of, result, rows_to_evaluate, text_column};
use crate::json_error::JsonError;
use crate::json_node::JsonNode;
use crate::json_path::{JsonForm, PathStep, find};

mod number;

use number::numbers_equal;

/// One of the two functions; which one is told by how it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonContains {
    name: &'static str,
    /// Position of the argument that contains the other.
    container: usize,
    signature: Signature,
}

impl JsonContains {
    /// `json_contains(container, part) -> boolean`.
    pub fn contains() -> Self {
        Self::new("json_contains", 0)
    }

    /// `json_contained(part, container) -> boolean`.
    pub fn contained() -> Self {
        Self::new("json_contained", 1)
    }

    fn new(name: &'static str, container: usize) -> Self {
        Self {
            name,
            container,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for JsonContains {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = arg_types else {
            return plan_err!("function {} takes two JSON documents", self.name);
        };
        Ok(vec![
            coerce_text(self.name, left)?,
            coerce_text(self.name, right)?,
        ])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = rows_to_evaluate(&args);
        let part = 1 - self.container;
        let containers = text_column(&args, self.container, rows)?;
        let constant_part = matches!(argument(&args, part)?, ColumnarValue::Scalar(_));
        let parts = text_column(&args, part, if constant_part { 1 } else { rows })?;
        let form = form_of(args.arg_fields.get(self.container));

        let read = |row: usize| -> Result<Option<JsonNode<'_>>, JsonError> {
            if parts.is_null(row) {
                return Ok(None);
            }
            JsonNode::parse(parts.value(row))
                .map(Some)
                .map_err(|error| error.in_row(row))
        };
        let constant = if constant_part { read(0)? } else { None };
        let mut contained = BooleanBuilder::with_capacity(rows);
        for (row, container) in containers.iter().enumerate() {
            let of_row;
            let part = if constant_part {
                constant.as_ref()
            } else {
                of_row = read(row)?;
                of_row.as_ref()
            };
            let (Some(container), Some(part)) = (container, part) else {
                contained.append_null();
                continue;
            };
            contained.append_value(
                text_contains(container, part, form).map_err(|error| error.in_row(row))?,
            );
        }
        result(&args, Arc::new(contained.finish()))
    }
}

/// Whether the document `text` contains `part`. Of canonical objects only the members that `part` has are read.
fn text_contains(text: &str, part: &JsonNode<'_>, form: JsonForm) -> Result<bool, JsonError> {
    if form == JsonForm::Canonical && text.starts_with('{') {
        return member_text_contains(text, part);
    }
    Ok(contains(&JsonNode::parse(text)?, part))
}

/// As [`contains_inside`] for canonical text.
fn member_text_contains(text: &str, part: &JsonNode<'_>) -> Result<bool, JsonError> {
    let JsonNode::Object(members) = part else {
        return Ok(!text.starts_with('{') && contains_inside(&JsonNode::parse(text)?, part));
    };
    if !text.starts_with('{') {
        return Ok(false);
    }
    for member in members {
        let Some(value) = find(text, &[PathStep::Key(&member.key)], JsonForm::Canonical)? else {
            return Ok(false);
        };
        if !member_text_contains(value, &member.value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a document contains another.
pub(crate) fn contains(container: &JsonNode<'_>, part: &JsonNode<'_>) -> bool {
    match (container, part) {
        (JsonNode::Array(elements), scalar) if is_scalar(scalar) => elements
            .iter()
            .any(|element| contains_inside(element, scalar)),
        _ => contains_inside(container, part),
    }
}

/// Containment without the exception for the top level.
fn contains_inside(container: &JsonNode<'_>, part: &JsonNode<'_>) -> bool {
    match (container, part) {
        (JsonNode::Object(_), JsonNode::Object(members)) => members.iter().all(|member| {
            container
                .member(&member.key)
                .is_some_and(|value| contains_inside(value, &member.value))
        }),
        (JsonNode::Array(elements), JsonNode::Array(parts)) => parts.iter().all(|part| {
            elements
                .iter()
                .any(|element| contains_inside(element, part))
        }),
        (JsonNode::Number(left), JsonNode::Number(right)) => numbers_equal(left, right),
        (left, right) => is_scalar(left) && left == right,
    }
}

fn is_scalar(node: &JsonNode<'_>) -> bool {
    !matches!(node, JsonNode::Array(_) | JsonNode::Object(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::canonicalize_jsonb;

    #[test]
    fn follows_the_manual() {
        for (container, part, expected) in [
            (r#""foo""#, r#""foo""#, true),
            ("[1, 2, 3]", "[1, 3]", true),
            ("[1, 2, 3]", "[3, 1, 1]", true),
            ("[1, 2, [1, 3]]", "[1, 3]", false),
            ("[1, 2, [1, 3]]", "[[1, 3]]", true),
            (
                r#"{"product": "P", "version": 9.4}"#,
                r#"{"version": 9.40}"#,
                true,
            ),
            (r#"{"foo": {"bar": "baz"}}"#, r#"{"bar": "baz"}"#, false),
            (
                r#"{"foo": {"bar": "baz", "x": 1}}"#,
                r#"{"foo": {"bar": "baz"}}"#,
                true,
            ),
            (r#"{"foo": {"bar": "baz"}}"#, r#"{"foo": {}}"#, true),
            (r#"{"foo": []}"#, r#"{"foo": {}}"#, false),
            (r#"["foo", "bar"]"#, r#""bar""#, true),
            (r#""bar""#, r#"["bar"]"#, false),
            (r#"{"a": ["b"]}"#, r#"{"a": "b"}"#, false),
            (r#"[["a"]]"#, r#""a""#, false),
            (r#"[{"a": 1, "b": 2}]"#, r#"[{"b": 2}]"#, true),
            ("1", "1.0", true),
            ("null", "null", true),
            ("{}", "{}", true),
            ("{}", "[]", false),
            ("{}", "1", false),
            ("[]", "[]", true),
            ("[1]", "[]", true),
            ("1", "\"1\"", false),
            (r#"{"a": null}"#, r#"{"b": null}"#, false),
        ] {
            let part_node = JsonNode::parse(part).expect(part);
            let mut canonical = String::new();
            canonicalize_jsonb(container, &mut canonical).expect(container);
            for (text, form) in [
                (container, JsonForm::Unchecked),
                (canonical.as_str(), JsonForm::Canonical),
            ] {
                assert_eq!(
                    text_contains(text, &part_node, form),
                    Ok(expected),
                    "{container} @> {part}"
                );
            }
        }
    }
}
