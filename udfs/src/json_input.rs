//! Owns the functions that make JSON of text: `jsonb_in` for `::jsonb` and input, `json_in` for `::json`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::canonical;
use crate::json_args::{coerce_text, result, rows_to_evaluate, text_column};
use crate::pg_type::{is_json, is_jsonb, json_field, jsonb_field};

/// One of the two functions; which one is told by how it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonInput {
    name: &'static str,
    canonical: bool,
    signature: Signature,
}

impl JsonInput {
    /// `jsonb_in(text) -> jsonb`: canonical text.
    pub fn jsonb() -> Self {
        Self::new("jsonb_in", true)
    }

    /// `json_in(text) -> json`: the same text once it is known to be JSON. Unlike PostgreSQL's `json` it refuses what no text can
    /// hold (`\u0000`, lone surrogates) at once and not only when it is taken out.
    pub fn json() -> Self {
        Self::new("json_in", false)
    }

    fn new(name: &'static str, canonical: bool) -> Self {
        Self {
            name,
            canonical,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for JsonInput {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args
            .arg_fields
            .first()
            .is_none_or(|field| field.is_nullable());
        let field = if self.canonical {
            jsonb_field(self.name, nullable)
        } else {
            json_field(self.name, nullable)
        };
        Ok(Arc::new(field))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [text] = arg_types else {
            return plan_err!("function {} takes one text", self.name);
        };
        Ok(vec![coerce_text(self.name, text)?])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = text_column(&args, 0, rows_to_evaluate(&args))?;
        let field = args.arg_fields.first();
        let known = field.is_some_and(|field| {
            if self.canonical {
                is_jsonb(field)
            } else {
                is_json(field)
            }
        });
        let values = if known {
            texts
        } else if self.canonical {
            canonical::jsonb_in(&texts)?
        } else {
            canonical::json_in(&texts)?;
            texts
        };
        result(&args, Arc::new(values))
    }
}
