//! Owns the functions that take a document apart into an array: its elements, its keys or its values. `unnest` makes of them the rows
//! that `jsonb_array_elements`, `jsonb_each`, `jsonb_object_keys` and their likes return.
//!
//! What is taken out is the text that the document has there; nothing is parsed into a tree. Keys and values of one document come in
//! the same order, so that arrays of both make the rows of `jsonb_each` side by side.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ListBuilder, StringViewBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::canonical;
use crate::json_args::{coerce_text, form_of, result, rows_to_evaluate, text_column};
use crate::json_error::{INVALID_PARAMETER_VALUE, JsonError};
use crate::json_node::JsonNode;
use crate::json_path::JsonForm;
use crate::json_reader::{JsonReader, Scalar};
use crate::pg_type::{json_field, jsonb_field};

/// What is taken out of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Elements,
    Keys,
    /// The keys beside the values of `json_each`.
    EachKeys,
    Values,
}

/// One of the functions; which one is told by how it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonSet {
    name: &'static str,
    part: Part,
    jsonb: bool,
    /// Whether strings come without quotes, and null as NULL.
    as_text: bool,
    signature: Signature,
}

impl JsonSet {
    /// All functions of this file.
    pub fn all() -> [Self; 12] {
        use Part::{EachKeys, Elements, Keys, Values};
        [
            Self::new("nyala_json_elements", Elements, false, false),
            Self::new("nyala_jsonb_elements", Elements, true, false),
            Self::new("nyala_json_elements_text", Elements, false, true),
            Self::new("nyala_jsonb_elements_text", Elements, true, true),
            Self::new("nyala_json_keys", Keys, false, true),
            Self::new("nyala_jsonb_keys", Keys, true, true),
            Self::new("nyala_json_each_keys", EachKeys, false, true),
            Self::new("nyala_jsonb_each_keys", EachKeys, true, true),
            Self::new("nyala_json_values", Values, false, false),
            Self::new("nyala_jsonb_values", Values, true, false),
            Self::new("nyala_json_values_text", Values, false, true),
            Self::new("nyala_jsonb_values_text", Values, true, true),
        ]
    }

    fn new(name: &'static str, part: Part, jsonb: bool, as_text: bool) -> Self {
        Self {
            name,
            part,
            jsonb,
            as_text,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    fn item(&self) -> Field {
        match (self.as_text, self.jsonb) {
            (true, _) => Field::new_list_field(DataType::Utf8View, true),
            (false, true) => jsonb_field(Field::LIST_FIELD_DEFAULT_NAME, true),
            (false, false) => json_field(Field::LIST_FIELD_DEFAULT_NAME, true),
        }
    }

    fn refused(&self, kind: &str) -> JsonError {
        let message = match (self.part, self.jsonb) {
            (Part::Elements, true) => format!("cannot extract elements from {kind}"),
            (Part::Elements, false) if kind == "an object" => {
                "cannot call json_array_elements on a non-array".to_string()
            }
            (Part::Elements, false) => "cannot call json_array_elements on a scalar".to_string(),
            (Part::Keys, _) => {
                let ty = if self.jsonb { "jsonb" } else { "json" };
                format!("cannot call {ty}_object_keys on {kind}")
            }
            (Part::EachKeys | Part::Values, true) => {
                "cannot call jsonb_each on a non-object".to_string()
            }
            (Part::EachKeys | Part::Values, false) if kind == "an array" => {
                "cannot deconstruct an array as an object".to_string()
            }
            (Part::EachKeys | Part::Values, false) => "cannot deconstruct a scalar".to_string(),
        };
        JsonError {
            message,
            detail: String::new(),
            sqlstate: INVALID_PARAMETER_VALUE,
        }
    }

    /// Appends what is taken out of one document.
    fn append(
        &self,
        text: &str,
        form: JsonForm,
        out: &mut StringViewBuilder,
    ) -> Result<(), JsonError> {
        let mut canonical = String::new();
        let text = match (self.jsonb, form) {
            (true, JsonForm::Unchecked) => {
                canonical::canonicalize_jsonb(text, &mut canonical)?;
                canonical.as_str()
            }
            _ => text,
        };
        let mut reader = JsonReader::new(text);
        match (reader.peek(), self.part) {
            (Some(b'['), Part::Elements) => {
                let mut more = reader.enter(0)?.begin_array()?;
                while more {
                    self.append_value(&mut reader, out)?;
                    more = reader.next_element()?;
                }
            }
            (Some(b'{'), Part::Keys | Part::EachKeys | Part::Values) => {
                let mut more = reader.enter(0)?.begin_object()?;
                while more {
                    let key = reader.key()?;
                    if self.part != Part::Values {
                        out.append_value(key);
                        reader.skip_value(1)?;
                    } else {
                        self.append_value(&mut reader, out)?;
                    }
                    more = reader.next_member()?;
                }
            }
            (Some(b'{'), _) => return Err(self.refused("an object")),
            (Some(b'['), _) => return Err(self.refused("an array")),
            _ => {
                // Text that is no JSON at all is told as that.
                reader.skip_value(0)?;
                return Err(self.refused("a scalar"));
            }
        }
        reader.finish()
    }

    fn append_value(
        &self,
        reader: &mut JsonReader<'_>,
        out: &mut StringViewBuilder,
    ) -> Result<(), JsonError> {
        let first = reader.peek();
        let start = reader.position();
        if self.as_text && matches!(first, Some(b'"' | b'n')) {
            match reader.scalar()? {
                Scalar::String(Cow::Borrowed(text)) => out.append_value(text),
                Scalar::String(Cow::Owned(text)) => out.append_value(text),
                _ => out.append_null(),
            }
            return Ok(());
        }
        reader.skip_value(1)?;
        out.append_value(reader.slice(start, reader.position()));
        Ok(())
    }
}

impl ScalarUDFImpl for JsonSet {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(self.item())))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(
            self.name,
            self.return_type(&[])?,
            true,
        )))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [json] => Ok(vec![coerce_text(self.name, json)?]),
            _ => plan_err!("function {} takes one JSON document", self.name),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = text_column(&args, 0, rows_to_evaluate(&args))?;
        let form = form_of(args.arg_fields.first());
        let mut lists = ListBuilder::with_capacity(StringViewBuilder::new(), texts.len())
            .with_field(self.item());
        for (row, text) in texts.iter().enumerate() {
            if let Some(text) = text {
                self.append(text, form, lists.values())
                    .map_err(|error| error.in_row(row))?;
            }
            lists.append(text.is_some());
        }
        result(&args, Arc::new(lists.finish()))
    }
}

/// In which form a member is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberForm {
    /// As `->>` gives it.
    Text,
    /// As it is.
    Json,
}

pub(crate) fn field_of_elements(
    function: &str,
    document: &str,
    field: &str,
    form: MemberForm,
) -> Result<Vec<Option<String>>, JsonError> {
    match JsonNode::parse(document)? {
        JsonNode::Array(elements) => {
            let texts = elements
                .iter()
                .map(|one| member_text(function, one, field, form));
            texts.collect()
        }
        JsonNode::Object(_) => Err(not_records(format!(
            "cannot call {function} on a non-array"
        ))),
        _ => Err(not_records(format!("cannot call {function} on a scalar"))),
    }
}

pub(crate) fn field_of_object(
    function: &str,
    document: &str,
    field: &str,
    form: MemberForm,
) -> Result<Vec<Option<String>>, JsonError> {
    let node = JsonNode::parse(document)?;
    Ok(vec![member_text(function, &node, field, form)?])
}

fn member_text(
    function: &str,
    node: &JsonNode<'_>,
    field: &str,
    form: MemberForm,
) -> Result<Option<String>, JsonError> {
    if !matches!(node, JsonNode::Object(_)) {
        let message = format!("argument of {function} must be an array of objects");
        return Err(not_records(message));
    }
    Ok(match (node.member(field), form) {
        (None | Some(JsonNode::Null), _) => None,
        (Some(JsonNode::String(text)), MemberForm::Text) => Some(text.to_string()),
        (Some(other), _) => {
            let mut text = String::new();
            other.write(&mut text);
            Some(text)
        }
    })
}

fn not_records(message: String) -> JsonError {
    JsonError {
        message,
        detail: String::new(),
        sqlstate: INVALID_PARAMETER_VALUE,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;

    use super::*;

    fn taken(name: &str, text: &str) -> Result<Vec<Option<String>>, JsonError> {
        let function = JsonSet::all().into_iter().find(|set| set.name == name);
        let mut out = StringViewBuilder::new();
        function
            .unwrap()
            .append(text, JsonForm::Unchecked, &mut out)?;
        let out = out.finish();
        let texts = (&out as &dyn Array).as_string_view().iter();
        Ok(texts.map(|text| text.map(str::to_string)).collect())
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some(text.to_string())).collect()
    }

    #[test]
    fn elements_are_the_text_that_the_document_has() {
        let text = r#"[1, {"b" : 1,"a":2}, "x\"y", null]"#;
        let kept = taken("nyala_json_elements", text).unwrap();
        assert_eq!(
            kept,
            some(&["1", r#"{"b" : 1,"a":2}"#, r#""x\"y""#, "null"])
        );
        let canonical = taken("nyala_jsonb_elements", text).unwrap();
        assert_eq!(canonical.get(1), some(&[r#"{"a": 2, "b": 1}"#]).first());
        let mut plain = taken("nyala_jsonb_elements_text", text).unwrap();
        assert_eq!(plain.pop(), Some(None));
        assert_eq!(plain.pop(), Some(Some("x\"y".to_string())));
        assert_eq!(taken("nyala_json_elements", " [ ] ").unwrap(), []);
    }

    #[test]
    fn keys_and_values_come_in_one_order() {
        let text = r#"{"bb": 1, "a": "x", "a": null}"#;
        assert_eq!(
            taken("nyala_json_keys", text).unwrap(),
            some(&["bb", "a", "a"])
        );
        assert_eq!(taken("nyala_jsonb_keys", text).unwrap(), some(&["a", "bb"]));
        assert_eq!(
            taken("nyala_jsonb_values", text).unwrap(),
            some(&["null", "1"])
        );
        assert_eq!(
            taken("nyala_jsonb_values_text", text).unwrap(),
            [None, Some("1".to_string())]
        );
    }

    #[test]
    fn records_have_fields() {
        let fields = field_of_elements(
            "f",
            r#"[{"a": "x"}, {"a": [1]}, {"a": null}, {}]"#,
            "a",
            MemberForm::Text,
        );
        let expected = [Some("x".to_string()), Some("[1]".to_string()), None, None];
        assert_eq!(fields.unwrap(), expected);
        for other in ["{}", "[1]", "1"] {
            assert!(field_of_elements("f", other, "a", MemberForm::Text).is_err());
        }
        let one = |text, form| field_of_object("f", text, "a", form).unwrap();
        assert_eq!(one(r#"{"a": "x"}"#, MemberForm::Json), some(&["\"x\""]));
    }

    #[test]
    fn other_documents_are_refused() {
        for (name, text, message) in [
            (
                "nyala_jsonb_elements",
                "{}",
                "cannot extract elements from an object",
            ),
            (
                "nyala_jsonb_elements",
                "1",
                "cannot extract elements from a scalar",
            ),
            (
                "nyala_jsonb_keys",
                "[]",
                "cannot call jsonb_object_keys on an array",
            ),
            (
                "nyala_jsonb_values",
                "[]",
                "cannot call jsonb_each on a non-object",
            ),
            ("nyala_json_values", "\"a\"", "cannot deconstruct a scalar"),
            (
                "nyala_json_elements",
                "[1,]",
                "invalid input syntax for type json",
            ),
        ] {
            assert_eq!(taken(name, text).unwrap_err().message, message);
        }
    }
}
