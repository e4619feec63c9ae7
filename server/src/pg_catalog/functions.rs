//! System functions: scalar functions that answer from the [`SystemView`] of their statement.
//!
//! Each is a row of a table: name, result type, whether NULL in gives NULL out, and a body over cells. Only
//! [`arrays`] has functions whose result type depends on their arguments.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};
use nyala_catalog::definitions::Oid;
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::SystemView;
use crate::pg_catalog::rows::{Cell, array};

mod arrays;
mod cells;
mod describe;
mod effects;
mod registry;
mod session;
mod strings;
mod text;

/// A system function.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemFunction {
    /// Name, without schema.
    pub name: &'static str,
    /// Result type, by SQL name.
    pub result: &'static str,
    /// Whether a NULL argument makes the result NULL.
    pub strict: bool,
    /// Whether it is called for each row, and never while planning.
    pub volatile: bool,
    /// Computes one value.
    pub body: fn(&Call<'_>) -> Result<Cell>,
}

/// A function that gives NULL for NULL.
const fn strict(
    name: &'static str,
    result: &'static str,
    body: fn(&Call<'_>) -> Result<Cell>,
) -> SystemFunction {
    SystemFunction {
        name,
        result,
        strict: true,
        volatile: false,
        body,
    }
}

/// A function that looks at its NULLs itself.
const fn lenient(
    name: &'static str,
    result: &'static str,
    body: fn(&Call<'_>) -> Result<Cell>,
) -> SystemFunction {
    SystemFunction {
        name,
        result,
        strict: false,
        volatile: false,
        body,
    }
}

/// One evaluation of a function.
pub(super) struct Call<'a> {
    /// Function called.
    pub name: &'static str,
    /// What it may know.
    pub view: &'a SystemView,
    /// Its arguments.
    pub arguments: &'a [Cell],
    /// The fields of its arguments.
    pub fields: &'a [FieldRef],
}

impl Call<'_> {
    /// An argument; NULL where it was not given.
    pub fn cell(&self, position: usize) -> &Cell {
        self.arguments.get(position).unwrap_or(&Cell::Null)
    }

    /// A text argument.
    pub fn text(&self, position: usize) -> Result<&str> {
        self.cell(position).as_text().ok_or_else(|| self.mismatch())
    }

    /// An integer argument; text counts where it is a number, its fraction cut off.
    pub fn int(&self, position: usize) -> Result<i64> {
        match self.cell(position) {
            Cell::Int(value) => Ok(*value),
            Cell::Float(value) => Ok(*value as i64),
            Cell::Text(text) => {
                let whole = text.trim().split('.').next().unwrap_or_default();
                whole.parse().map_err(|_| self.mismatch())
            }
            _ => Err(self.mismatch()),
        }
    }

    /// An OID argument; 0, which names nothing, where the number cannot be one.
    pub fn oid(&self, position: usize) -> Result<Oid> {
        self.int(position)
            .map(|value| Oid::try_from(value).unwrap_or_default())
    }

    /// A boolean argument.
    pub fn bool(&self, position: usize) -> Result<bool> {
        match self.cell(position) {
            Cell::Bool(value) => Ok(*value),
            _ => Err(self.mismatch()),
        }
    }

    /// A relation given by name or OID; `None` for an OID of nothing.
    pub fn relation(&self, position: usize) -> Result<Option<Oid>> {
        registry::oid_argument(self, position, super::names::Registry::Class)
    }

    fn mismatch(&self) -> PgError {
        let types = self
            .fields
            .iter()
            .map(|field| SqlType::of_field(field).to_string());
        let types: Vec<_> = types.collect();
        PgError::new(
            sqlstate::UNDEFINED_FUNCTION,
            format!(
                "function {}({}) does not exist",
                self.name,
                types.join(", ")
            ),
        )
    }
}

pub use arrays::literal as array_literal;

fn all() -> impl Iterator<Item = &'static SystemFunction> {
    session::FUNCTIONS
        .iter()
        .chain(effects::LOCKS)
        .chain(effects::FUNCTIONS)
        .chain(describe::FUNCTIONS)
        .chain(registry::FUNCTIONS)
        .chain(strings::FUNCTIONS)
        .chain(text::FUNCTIONS)
}

/// Names of all system functions.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    all().map(|function| function.name).chain(arrays::NAMES)
}

/// The system function of that name, bound to a view; names come without schema, in lower case.
pub fn function(view: &Arc<SystemView>, name: &str) -> Option<Arc<ScalarUDF>> {
    if let Some(function) = arrays::function(name) {
        return Some(function);
    }
    let function = all().find(|function| function.name == name)?;
    let signature = Signature::one_of(
        vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
        match function.volatile {
            true => Volatility::Volatile,
            // Within a statement the view does not change.
            false => Volatility::Stable,
        },
    );
    let bound = BoundFunction {
        function,
        view: Arc::clone(view),
        signature,
    };
    Some(Arc::new(ScalarUDF::from(bound)))
}

/// A system function with the view it answers from.
#[derive(Debug)]
struct BoundFunction {
    function: &'static SystemFunction,
    view: Arc<SystemView>,
    signature: Signature,
}

impl PartialEq for BoundFunction {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name && Arc::ptr_eq(&self.view, &other.view)
    }
}

impl Eq for BoundFunction {}

impl Hash for BoundFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl BoundFunction {
    fn call(&self, arguments: &[Cell], fields: &[FieldRef]) -> Result<Cell> {
        if self.function.strict && arguments.contains(&Cell::Null) {
            return Ok(Cell::Null);
        }
        let name = self.function.name;
        (self.function.body)(&Call {
            name,
            view: &self.view,
            arguments,
            fields,
        })
    }
}

impl ScalarUDFImpl for BoundFunction {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(result_type(self.function)?.arrow_type())
    }

    fn return_field_from_args(&self, _arguments: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(Arc::new(
            result_type(self.function)?.field(self.function.name, true),
        ))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = !self.function.volatile
            && arguments
                .args
                .iter()
                .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { arguments.number_rows };
        let columns = arguments
            .args
            .iter()
            .map(|argument| cells::of(&argument.to_array(rows)?))
            .collect::<Result<Vec<_>>>()?;
        let mut results = Vec::with_capacity(rows);
        let mut row = Vec::with_capacity(columns.len());
        for position in 0..rows {
            row.clear();
            let cells = columns.iter().map(|column| column.get(position));
            row.extend(cells.map(|cell| cell.cloned().unwrap_or(Cell::Null)));
            results.push(self.call(&row, &arguments.arg_fields)?);
        }
        let result = array(arguments.return_field.data_type(), &results)?;
        if constant {
            Ok(ColumnarValue::Scalar(cells::scalar(&result)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }
}

fn result_type(function: &SystemFunction) -> Result<SqlType> {
    function
        .result
        .parse()
        .map_err(|error| PgError::internal(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{all, function_names, result_type};

    #[test]
    fn names_are_unique_and_result_types_known() {
        let names: HashSet<_> = function_names().collect();
        assert_eq!(names.len(), function_names().count());
        for function in all() {
            assert!(result_type(function).is_ok(), "{}", function.name);
        }
    }
}
