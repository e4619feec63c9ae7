//! Functions that there are not: the error names the types of the arguments, which only planning tells.

use std::hash::{Hash, Hasher};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use nyala_catalog::types::SqlType;

use crate::error::{PgError, sqlstate};

/// A function of that name, which is 42883 as soon as its arguments are known.
pub fn unknown(name: &str) -> ScalarUDF {
    ScalarUDF::from(Unknown {
        name: name.to_string(),
        signature: Signature::one_of(
            vec![
                datafusion::logical_expr::TypeSignature::Nullary,
                datafusion::logical_expr::TypeSignature::VariadicAny,
            ],
            Volatility::Immutable,
        ),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Unknown {
    name: String,
    signature: Signature,
}

impl Hash for Unknown {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Unknown {
    fn error(&self, arguments: &[FieldRef]) -> PgError {
        let types = arguments.iter().map(|field| match field.data_type() {
            // What has no type yet.
            DataType::Utf8 | DataType::Null => "unknown".to_string(),
            _ => SqlType::of_field(field).to_string(),
        });
        let types: Vec<_> = types.collect();
        let message = format!(
            "function {}({}) does not exist",
            self.name,
            types.join(", ")
        );
        PgError::new(sqlstate::UNDEFINED_FUNCTION, message).with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )
    }
}

impl ScalarUDFImpl for Unknown {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Err(self.error(&[]).into())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Err(self.error(arguments.arg_fields).into())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(self.error(&arguments.arg_fields).into())
    }
}
