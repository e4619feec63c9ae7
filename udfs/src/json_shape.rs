//! Owns the functions that tell what a document is: `json_typeof` and `json_array_length`, and the same of `jsonb`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Int32Builder, StringViewBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::json_args::{coerce_text, form_of, result, rows_to_evaluate, text_column};
use crate::json_error::{INVALID_PARAMETER_VALUE, JsonError};
use crate::json_node::JsonNode;
use crate::json_path::JsonForm;

/// What is asked of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Question {
    Type,
    ArrayLength,
}

/// One of the functions; which one is told by how it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonShape {
    name: &'static str,
    question: Question,
    signature: Signature,
}

impl JsonShape {
    /// All functions of this file.
    pub fn all() -> [Self; 4] {
        [
            Self::new("json_typeof", Question::Type),
            Self::new("jsonb_typeof", Question::Type),
            Self::new("json_array_length", Question::ArrayLength),
            Self::new("jsonb_array_length", Question::ArrayLength),
        ]
    }

    fn new(name: &'static str, question: Question) -> Self {
        Self {
            name,
            question,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for JsonShape {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.question {
            Question::Type => DataType::Utf8View,
            Question::ArrayLength => DataType::Int32,
        })
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
        let array: ArrayRef = match self.question {
            Question::Type => {
                let mut types = StringViewBuilder::with_capacity(texts.len());
                for (row, text) in texts.iter().enumerate() {
                    let named = text.map(|text| type_name(text, form)).transpose();
                    types.append_option(named.map_err(|error| error.in_row(row))?);
                }
                Arc::new(types.finish())
            }
            Question::ArrayLength => {
                let mut lengths = Int32Builder::with_capacity(texts.len());
                for (row, text) in texts.iter().enumerate() {
                    let length = text.map(array_length).transpose();
                    lengths.append_option(length.map_err(|error| error.in_row(row))?);
                }
                Arc::new(lengths.finish())
            }
        };
        result(&args, array)
    }
}

/// The name of a document's type; the first character of valid JSON tells it.
fn type_name(text: &str, form: JsonForm) -> Result<&'static str, JsonError> {
    if form == JsonForm::Unchecked {
        JsonNode::parse(text)?;
    }
    Ok(match text.trim_start().bytes().next() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    })
}

fn array_length(text: &str) -> Result<i32, JsonError> {
    let refused = |kind: &str| JsonError {
        sqlstate: INVALID_PARAMETER_VALUE,
        message: format!("cannot get array length of {kind}"),
        detail: String::new(),
    };
    match JsonNode::parse(text)? {
        JsonNode::Array(elements) => Ok(i32::try_from(elements.len()).unwrap_or(i32::MAX)),
        JsonNode::Object(_) => Err(refused("a non-array")),
        _ => Err(refused("a scalar")),
    }
}
