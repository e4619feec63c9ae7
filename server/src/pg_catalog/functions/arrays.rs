//! Functions over arrays whose result type depends on their arguments; rewritten statements call them.
//!
//! PostgreSQL's `int2vector` and `oidvector` are arrays that count from 0. Here they are text, so a
//! statement that uses one as an array goes through these; on a real array they change nothing.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListArray, Scalar, StructArray, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, concat, is_null};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::functions::cells;
use crate::pg_catalog::rows::{Cell, array};
use crate::pgwire::decode::{InputSettings, parse_scalar};
use crate::pgwire::encode::{DateOrder, TimeZone};
use crate::sql::casts::json_input;

/// Names of the functions of this file.
pub const NAMES: [&str; 6] = [
    "nyala_array",
    "nyala_array_or_empty",
    "nyala_element",
    "nyala_elements",
    "nyala_expand",
    "nyala_subscripts",
];

/// A function of this file.
pub fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS
        .iter()
        .find(|function| function.name() == name)
        .cloned()
}

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let kinds = [
        Kind::Array,
        Kind::OrEmpty,
        Kind::Element,
        Kind::Elements,
        Kind::Expand,
        Kind::Subscripts,
    ];
    kinds
        .into_iter()
        .zip(NAMES)
        .map(|(kind, name)| {
            let signature = Signature::variadic_any(Volatility::Immutable);
            Arc::new(ScalarUDF::from(ArrayFunction {
                kind,
                name,
                signature,
            }))
        })
        .collect()
});

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// `nyala_array(a, x)`: `a` as an array whose elements compare with `x`.
    Array,
    /// `nyala_array_or_empty(a)`: `a`, and an empty array for NULL.
    OrEmpty,
    /// `nyala_element(a, n)`: the element `a[n]`.
    Element,
    /// `nyala_elements(a)`: `a` as an array.
    Elements,
    /// `nyala_expand(a)`: the elements `x` of `a` with their numbers `n` from 1.
    Expand,
    /// `nyala_subscripts(a)`: the subscripts of `a`.
    Subscripts,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayFunction {
    kind: Kind,
    name: &'static str,
    signature: Signature,
}

/// The element type of a vector type.
fn vector_element(field: &Field) -> Option<SqlType> {
    match SqlType::of_field(field) {
        SqlType::Int2vector => Some(SqlType::Int2),
        SqlType::Oidvector => Some(SqlType::Oid),
        _ => None,
    }
}

fn list_of(element: SqlType, name: &str) -> FieldRef {
    Arc::new(SqlType::Array(Box::new(element)).field(name, true))
}

impl ArrayFunction {
    fn result(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let missing = || PgError::internal(format!("{} without its arguments", self.name));
        let first = fields.first().ok_or_else(missing)?;
        let not_an_array = || {
            let message = format!("{} is not an array", SqlType::of_field(first));
            PgError::new(sqlstate::DATATYPE_MISMATCH, message)
        };
        let list = match (first.data_type(), vector_element(first)) {
            (DataType::List(_), _) => Arc::clone(first),
            (_, Some(element)) => list_of(element, first.name()),
            // The text of an array, as in `x = ANY ('{a,b}')`: its elements are of x's type.
            (data_type, None) if data_type.is_string() || data_type.is_null() => {
                let like = fields.get(1).filter(|_| self.kind == Kind::Array);
                let element = like.map_or(SqlType::Text, |field| SqlType::of_field(field));
                list_of(element, first.name())
            }
            _ => return Err(not_an_array()),
        };
        Ok(match (self.kind, list.data_type()) {
            (Kind::Element, DataType::List(item)) => Arc::new(
                item.as_ref()
                    .clone()
                    .with_name(self.name)
                    .with_nullable(true),
            ),
            (Kind::Expand, DataType::List(item)) => {
                let item = Arc::new(Field::new("item", expanded(item), true));
                Arc::new(Field::new(self.name, DataType::List(item), true))
            }
            (Kind::Subscripts, _) => list_of(SqlType::Int4, self.name),
            _ => list,
        })
    }

    /// The first argument as an array, with the subscript of its first element.
    fn list(&self, values: &ArrayRef, fields: &[FieldRef]) -> Result<(ArrayRef, i64)> {
        let array_function = Self {
            kind: Kind::Array,
            name: self.name,
            signature: self.signature.clone(),
        };
        let target = array_function.result(fields)?;
        if matches!(values.data_type(), DataType::List(_)) {
            return Ok((Arc::clone(values), 1));
        }
        let is_vector = fields
            .first()
            .is_some_and(|field| vector_element(field).is_some());
        let texts = cast(values, &DataType::Utf8View)?;
        let mut lists = Vec::with_capacity(texts.len());
        for text in texts.as_string_view() {
            lists.push(match text {
                None => Cell::Null,
                Some(text) if is_vector => {
                    let numbers = text
                        .split_whitespace()
                        .filter_map(|n| n.parse::<i64>().ok());
                    Cell::List(numbers.map(Cell::Int).collect())
                }
                Some(text) => Cell::List(parse_elements(text)?),
            });
        }
        if is_vector {
            return Ok((array(target.data_type(), &lists)?, 0));
        }
        let texts = array(list_of(SqlType::Text, "texts").data_type(), &lists)?;
        Ok((cast(&texts, target.data_type())?, 1))
    }
}

impl ScalarUDFImpl for ArrayFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let field = |data_type: &DataType| Arc::new(Field::new("a", data_type.clone(), true));
        let fields: Vec<_> = types.iter().map(field).collect();
        Ok(self.result(&fields)?.data_type().clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(self.result(arguments.arg_fields)?)
    }

    /// A constant array is itself, so that `= ANY` of it is planned as IN.
    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        match args.first() {
            Some(array @ Expr::Literal(ScalarValue::List(_), _)) if self.kind == Kind::Array => {
                Ok(ExprSimplifyResult::Simplified(array.clone()))
            }
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = arguments
            .args
            .iter()
            .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { arguments.number_rows };
        let mut values = arguments.args.iter();
        let missing = || PgError::internal(format!("{} without its arguments", self.name));
        let first = values.next().ok_or_else(missing)?.to_array(rows)?;
        let (lists, first_subscript) = self.list(&first, &arguments.arg_fields)?;
        let result = match self.kind {
            Kind::Array | Kind::Elements => lists,
            Kind::OrEmpty => {
                let empty = array(lists.data_type(), &[Cell::List(Vec::new())])?;
                zip(&is_null(&lists)?, &Scalar::new(empty), &lists)?
            }
            Kind::Element => {
                let subscripts = values.next().ok_or_else(missing)?.to_array(rows)?;
                let subscripts = cells::of(&subscripts)?;
                let elements = cells::of(&lists)?.into_iter().zip(subscripts);
                let elements: Vec<_> = elements
                    .map(|(list, at)| element(list, &at, first_subscript))
                    .collect();
                array(arguments.return_field.data_type(), &elements)?
            }
            Kind::Expand => {
                let lists = lists.as_list::<i32>();
                expand(lists)?
            }
            Kind::Subscripts => {
                let subscripts = cells::of(&lists)?.into_iter().map(|list| match list {
                    Cell::List(list) => Cell::List(
                        (first_subscript..)
                            .take(list.len())
                            .map(Cell::Int)
                            .collect(),
                    ),
                    _ => Cell::Null,
                });
                array(
                    arguments.return_field.data_type(),
                    &subscripts.collect::<Vec<_>>(),
                )?
            }
        };
        if constant {
            Ok(ColumnarValue::Scalar(cells::scalar(&result)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }
}

/// The type of an element with its number, as `information_schema._pg_expandarray` gives it.
fn expanded(item: &Field) -> DataType {
    let element = item.clone().with_name("x").with_nullable(true);
    DataType::Struct(vec![element, Field::new("n", DataType::Int32, true)].into())
}

fn expand(lists: &ListArray) -> Result<ArrayRef> {
    let DataType::List(item) = lists.data_type() else {
        return Err(PgError::internal("a list of another type"));
    };
    let DataType::Struct(fields) = expanded(item) else {
        return Err(PgError::internal("a structure of another type"));
    };
    // The elements in use, one list after the other.
    let elements: Vec<_> = lists.iter().flatten().collect();
    let elements: Vec<&dyn Array> = elements.iter().map(AsRef::as_ref).collect();
    let values = if elements.is_empty() {
        new_empty_array(item.data_type())
    } else {
        concat(&elements)?
    };
    let lengths: Vec<_> = lists
        .iter()
        .map(|list| list.map_or(0, |list| list.len()))
        .collect();
    let numbers = lengths.iter().flat_map(|length| (1..).take(*length));
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(numbers));
    let structures = StructArray::try_new(fields, vec![values, numbers], None)?;
    let item = Arc::new(Field::new("item", structures.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        item,
        offsets,
        Arc::new(structures),
        lists.nulls().cloned(),
    )?))
}

fn element(list: Cell, at: &Cell, first: i64) -> Cell {
    match (list, at) {
        (Cell::List(list), Cell::Int(at)) => {
            let position = usize::try_from(at - first).ok();
            position
                .and_then(|at| list.into_iter().nth(at))
                .unwrap_or(Cell::Null)
        }
        _ => Cell::Null,
    }
}

/// An array of a list type from PostgreSQL's text form.
pub fn literal(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    let ty = SqlType::of_arrow(data_type);
    if !depends_on_settings(&ty) && ty.arrow_type() == *data_type {
        let settings = InputSettings {
            time_zone: TimeZone::default(),
            date_order: DateOrder::default(),
            json: json_input,
            now_us: None,
        };
        return Ok(parse_scalar(text, &ty, &settings)?);
    }
    let texts = Cell::List(parse_elements(text)?);
    let texts = array(list_of(SqlType::Text, "texts").data_type(), &[texts])?;
    cells::scalar(&cast(&texts, data_type)?)
}

/// Whether a session's settings decide what a text means.
fn depends_on_settings(ty: &SqlType) -> bool {
    match ty {
        SqlType::Array(element) => depends_on_settings(element),
        SqlType::Date | SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz => true,
        _ => false,
    }
}

/// The elements of an array of one dimension in PostgreSQL's text form.
fn parse_elements(text: &str) -> Result<Vec<Cell>> {
    let malformed = || {
        let message = format!("malformed array literal: \"{text}\"");
        PgError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message)
    };
    let inner = text
        .trim()
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.ok_or_else(malformed)?;
    let mut elements = Vec::new();
    if inner.trim().is_empty() {
        return Ok(elements);
    }
    let mut element = String::new();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut characters = inner.chars();
    loop {
        match characters.next() {
            Some('\\') => element.push(characters.next().ok_or_else(malformed)?),
            Some('"') => (quoted, was_quoted) = (!quoted, true),
            Some('{' | '}') if !quoted => return Err(malformed()),
            Some(character) if quoted || character != ',' => element.push(character),
            end => {
                if quoted || (element.trim().is_empty() && !was_quoted) {
                    return Err(malformed());
                }
                let text = if was_quoted {
                    element.as_str()
                } else {
                    element.trim()
                };
                let null = !was_quoted && text.eq_ignore_ascii_case("null");
                elements.push(if null {
                    Cell::Null
                } else {
                    text.to_string().into()
                });
                element.clear();
                was_quoted = false;
                if end.is_none() {
                    return Ok(elements);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, parse_elements};

    #[test]
    fn array_texts_are_taken_apart() {
        let parsed = |text| parse_elements(text).unwrap_or_default();
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|t| t.to_string().into())
                .collect::<Vec<Cell>>()
        };
        assert_eq!(parsed("{a, b}"), texts(&["a", "b"]));
        assert_eq!(parsed(r#"{"a,\"b",""}"#), texts(&["a,\"b", ""]));
        assert_eq!(parsed("{null,\"null\"}"), [Cell::Null, "null".into()]);
        assert!(parse_elements("{a,}").is_err() && parse_elements("a").is_err());
    }
}
