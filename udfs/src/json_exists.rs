//! Owns the functions that ask for keys: `json_exists` (`?`), `json_exists_any` (`?|`) and `json_exists_all` (`?&`).
//!
//! A key exists in an object as a member, in an array as an element that is this string, and in a string that is this string.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::json_args::{
    PerRow, TextLists, argument, as_text, coerce_keys, coerce_text, form_of, result,
    rows_to_evaluate, text_column, text_list, text_lists,
};
use crate::json_error::JsonError;
use crate::json_node::JsonNode;
use crate::json_path::{JsonForm, PathStep, find};

/// Which of several keys have to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Quantity {
    One,
    Any,
    All,
}

/// One of the three functions; which one is told by how it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonExists {
    name: &'static str,
    quantity: Quantity,
    signature: Signature,
}

impl JsonExists {
    /// `json_exists(json, key) -> boolean`.
    pub fn one() -> Self {
        Self::new("json_exists", Quantity::One)
    }

    /// `json_exists_any(json, text[]) -> boolean`.
    pub fn any() -> Self {
        Self::new("json_exists_any", Quantity::Any)
    }

    /// `json_exists_all(json, text[]) -> boolean`; true for no keys.
    pub fn all() -> Self {
        Self::new("json_exists_all", Quantity::All)
    }

    fn new(name: &'static str, quantity: Quantity) -> Self {
        Self {
            name,
            quantity,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// The keys asked for; a single key is a list of one.
    fn keys(&self, args: &ScalarFunctionArgs) -> Result<TextLists> {
        if self.quantity != Quantity::One {
            return text_lists(args, 1);
        }
        Ok(match argument(args, 1)? {
            ColumnarValue::Scalar(scalar) => PerRow::Constant(single_key(&scalar.to_array()?, 0)?),
            ColumnarValue::Array(array) => PerRow::Column(Arc::clone(array)),
        })
    }

    fn keys_in_row(&self, keys: &ArrayRef, row: usize) -> Result<Option<Vec<Option<String>>>> {
        if self.quantity == Quantity::One {
            single_key(keys, row)
        } else {
            text_list(keys, row)
        }
    }

    /// Elements of the list that are NULL are passed over, as PostgreSQL does.
    fn holds(
        &self,
        text: &str,
        keys: &[Option<String>],
        form: JsonForm,
    ) -> Result<bool, JsonError> {
        let document = Document::read(text, form)?;
        let mut keys = keys.iter().flatten();
        Ok(match self.quantity {
            Quantity::One | Quantity::Any => keys.any(|key| document.has(key)),
            Quantity::All => keys.all(|key| document.has(key)),
        })
    }
}

impl ScalarUDFImpl for JsonExists {
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
        let [json, keys] = arg_types else {
            return plan_err!(
                "function {} takes a JSON document and what to look for",
                self.name
            );
        };
        let keys = match self.quantity {
            Quantity::One => coerce_text(self.name, keys)?,
            Quantity::Any | Quantity::All => coerce_keys(self.name, keys)?,
        };
        Ok(vec![coerce_text(self.name, json)?, keys])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = text_column(&args, 0, rows_to_evaluate(&args))?;
        let form = form_of(args.arg_fields.first());
        let keys = self.keys(&args)?;
        let mut found = BooleanBuilder::with_capacity(texts.len());
        for (row, text) in texts.iter().enumerate() {
            let of_row;
            let keys = match &keys {
                PerRow::Constant(keys) => keys,
                PerRow::Column(lists) => {
                    of_row = self.keys_in_row(lists, row)?;
                    &of_row
                }
            };
            let (Some(text), Some(keys)) = (text, keys) else {
                found.append_null();
                continue;
            };
            found.append_value(
                self.holds(text, keys, form)
                    .map_err(|error| error.in_row(row))?,
            );
        }
        result(&args, Arc::new(found.finish()))
    }
}

fn single_key(keys: &ArrayRef, row: usize) -> Result<Option<Vec<Option<String>>>> {
    let keys = as_text(&keys.slice(row, 1))?;
    Ok(keys
        .iter()
        .next()
        .flatten()
        .map(|key| vec![Some(key.to_string())]))
}

/// A document that is asked for keys: canonical objects are walked, all else is read into a tree.
enum Document<'a> {
    CanonicalObject(&'a str),
    Tree(JsonNode<'a>),
}

impl<'a> Document<'a> {
    fn read(text: &'a str, form: JsonForm) -> Result<Self, JsonError> {
        if form == JsonForm::Canonical && text.starts_with('{') {
            return Ok(Self::CanonicalObject(text));
        }
        JsonNode::parse(text).map(Self::Tree)
    }

    fn has(&self, key: &str) -> bool {
        let is_key = |node: &JsonNode<'_>| matches!(node, JsonNode::String(text) if text == key);
        match self {
            Self::CanonicalObject(text) => {
                matches!(
                    find(text, &[PathStep::Key(key)], JsonForm::Canonical),
                    Ok(Some(_))
                )
            }
            Self::Tree(JsonNode::Array(elements)) => elements.iter().any(is_key),
            Self::Tree(node) => node.member(key).is_some() || is_key(node),
        }
    }
}
