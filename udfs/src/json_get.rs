//! Owns the functions that take a value out of a document: `json_get` (`->`), `json_get_text` (`->>`), `json_get_path` (`#>`) and
//! `json_get_path_text` (`#>>`).
//!
//! `json_get(body, 'a', 'b')` is `body -> 'a' -> 'b'` in one walk; the planner writes chains of operators that way. A value that
//! is not there is NULL, and so is any argument that is NULL. The text of a JSON null is NULL, the text of a string its characters,
//! the text of anything else its JSON text.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Int64Array, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::json_args::{
    PerRow, as_text, coerce_key, coerce_keys, coerce_text, form_of, result, rows_to_evaluate,
    text_column, text_list, text_lists,
};
use crate::json_error::JsonError;
use crate::json_path::{JsonForm, PathStep, as_string, find};
use crate::pg_type::{is_jsonb, json_field, jsonb_field};
use crate::verbatim_views::VerbatimViews;

/// How the way into the document is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// One argument for each step: text for a member, an integer for an element.
    Keys,
    /// One `text[]` argument for all steps.
    Path,
}

/// What becomes of the value found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Output {
    Json,
    Text,
}

/// One of the four functions; which one is told by how it is made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonGet {
    name: &'static str,
    way: Way,
    output: Output,
    signature: Signature,
}

impl JsonGet {
    /// `json_get(json, key, ...) -> json`.
    pub fn get() -> Self {
        Self::new("json_get", Way::Keys, Output::Json)
    }

    /// `json_get_text(json, key, ...) -> text`.
    pub fn get_text() -> Self {
        Self::new("json_get_text", Way::Keys, Output::Text)
    }

    /// `json_get_path(json, text[]) -> json`.
    pub fn get_path() -> Self {
        Self::new("json_get_path", Way::Path, Output::Json)
    }

    /// `json_get_path_text(json, text[]) -> text`.
    pub fn get_path_text() -> Self {
        Self::new("json_get_path_text", Way::Path, Output::Text)
    }

    fn new(name: &'static str, way: Way, output: Output) -> Self {
        Self {
            name,
            way,
            output,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// Whether this is `json_get`, to which further keys may be added.
    pub(crate) fn is_chainable(&self) -> bool {
        self.way == Way::Keys && self.output == Output::Json
    }
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    /// JSON out of `jsonb` is `jsonb`, as a part of canonical text is canonical; JSON out of anything else is `json`.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let of_jsonb = args.arg_fields.first().is_some_and(|field| is_jsonb(field));
        Ok(Arc::new(match self.output {
            Output::Text => Field::new(self.name, DataType::Utf8View, true),
            Output::Json if of_jsonb => jsonb_field(self.name, true),
            Output::Json => json_field(self.name, true),
        }))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.way, arg_types) {
            (Way::Keys, [json, keys @ ..]) if !keys.is_empty() => {
                std::iter::once(coerce_text(self.name, json))
                    .chain(keys.iter().map(|key| coerce_key(self.name, key)))
                    .collect()
            }
            (Way::Path, [json, path]) => Ok(vec![
                coerce_text(self.name, json)?,
                coerce_keys(self.name, path)?,
            ]),
            (Way::Keys, _) => plan_err!(
                "function {} takes a JSON document and one key or more",
                self.name
            ),
            (Way::Path, _) => plan_err!("function {} takes a JSON document and a path", self.name),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = rows_to_evaluate(&args);
        let texts = text_column(&args, 0, rows)?;
        let mut walk = Walk {
            texts: &texts,
            form: form_of(args.arg_fields.first()),
            output: self.output,
            values: VerbatimViews::new(&texts),
        };
        match self.way {
            Way::Keys => walk_keys(&mut walk, &args)?,
            Way::Path => walk_paths(&mut walk, &args)?,
        }
        result(&args, Arc::new(walk.values.finish()))
    }
}

/// A walk over the documents of a batch, writing one value for each.
struct Walk<'a> {
    texts: &'a StringViewArray,
    form: JsonForm,
    output: Output,
    values: VerbatimViews<'a>,
}

impl Walk<'_> {
    /// Walks the document in `row`; no path at all gives NULL.
    fn row(&mut self, row: usize, path: Option<&[PathStep<'_>]>) -> Result<(), JsonError> {
        let (Some(path), false) = (path, self.texts.is_null(row)) else {
            self.values.append_null();
            return Ok(());
        };
        let found =
            find(self.texts.value(row), path, self.form).map_err(|error| error.in_row(row))?;
        match (found, self.output) {
            (None, _) | (Some("null"), Output::Text) => self.values.append_null(),
            (Some(value), Output::Json) => self.values.append_slice(row, value),
            (Some(value), Output::Text) => {
                match as_string(value).map_err(|error| error.in_row(row))? {
                    Some(string) => self.values.append_slice(row, &string),
                    None => self.values.append_slice(row, value),
                }
            }
        }
        Ok(())
    }

    fn all_rows(&mut self, path: Option<&[PathStep<'_>]>) -> Result<(), JsonError> {
        (0..self.texts.len()).try_for_each(|row| self.row(row, path))
    }
}

/// One key argument.
enum Key {
    Member(PerRow<Option<String>, StringViewArray>),
    Element(PerRow<Option<i64>, Int64Array>),
}

impl Key {
    fn read(argument: &ColumnarValue) -> Result<Self> {
        let (array, constant) = match argument {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        if array.data_type().is_integer() {
            let array = datafusion::arrow::compute::cast(&array, &DataType::Int64)?;
            let indexes = array
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(|| exec_datafusion_err!("{} is no index", array.data_type()))?;
            return Ok(Self::Element(if constant {
                PerRow::Constant(indexes.iter().next().flatten())
            } else {
                PerRow::Column(indexes.clone())
            }));
        }
        let keys = as_text(&array)?;
        Ok(Self::Member(if constant {
            PerRow::Constant(keys.iter().next().flatten().map(str::to_string))
        } else {
            PerRow::Column(keys)
        }))
    }

    fn is_constant(&self) -> bool {
        matches!(
            self,
            Self::Member(PerRow::Constant(_)) | Self::Element(PerRow::Constant(_))
        )
    }

    /// The step this key is in `row`, none if it is NULL there.
    fn step(&self, row: usize) -> Option<PathStep<'_>> {
        match self {
            Self::Member(PerRow::Constant(key)) => key.as_deref().map(PathStep::Key),
            Self::Member(PerRow::Column(keys)) => {
                keys.is_valid(row).then(|| PathStep::Key(keys.value(row)))
            }
            Self::Element(PerRow::Constant(index)) => index.map(PathStep::Index),
            Self::Element(PerRow::Column(indexes)) => indexes
                .is_valid(row)
                .then(|| PathStep::Index(indexes.value(row))),
        }
    }
}

fn walk_keys(walk: &mut Walk<'_>, args: &ScalarFunctionArgs) -> Result<()> {
    let keys = args
        .args
        .iter()
        .skip(1)
        .map(Key::read)
        .collect::<Result<Vec<_>>>()?;
    if keys.iter().all(Key::is_constant) {
        let path: Option<Vec<PathStep<'_>>> = keys.iter().map(|key| key.step(0)).collect();
        return Ok(walk.all_rows(path.as_deref())?);
    }
    for row in 0..walk.texts.len() {
        let path: Option<Vec<PathStep<'_>>> = keys.iter().map(|key| key.step(row)).collect();
        walk.row(row, path.as_deref())?;
    }
    Ok(())
}

fn walk_paths(walk: &mut Walk<'_>, args: &ScalarFunctionArgs) -> Result<()> {
    match text_lists(args, 1)? {
        PerRow::Constant(path) => walk.all_rows(steps(path.as_deref()).as_deref())?,
        PerRow::Column(paths) => {
            for row in 0..walk.texts.len() {
                let path = text_list(&paths, row)?;
                walk.row(row, steps(path.as_deref()).as_deref())?;
            }
        }
    }
    Ok(())
}

/// The steps of a `text[]` path; none if it is NULL or has a NULL in it.
fn steps(path: Option<&[Option<String>]>) -> Option<Vec<PathStep<'_>>> {
    path?
        .iter()
        .map(|step| step.as_deref().map(PathStep::KeyOrIndex))
        .collect()
}
