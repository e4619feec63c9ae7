//! JSON made of SQL values: `to_json`, `row_to_json`, `json_build_object`, `json_agg` and their likes, and the same of `jsonb`.
//!
//! Numbers and booleans are JSON's, arrays and rows become arrays and objects, JSON stays what it is, and anything else is the
//! string that PostgreSQL prints, times in ISO 8601. How the parts are separated differs from function to function
//! as it does in PostgreSQL's `json.c`; `jsonb` is brought into canonical form behind it.
//!
//! `json_agg(x)` is spelled `nyala_json_list(array_agg(nyala_json_item(x)))`, and `json_object_agg` likewise, so that ORDER BY, FILTER,
//! DISTINCT and OVER are those of `array_agg`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringViewBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use bytes::BytesMut;
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::{FormatSettings, TextColumn, TimeZone};

/// Marks an item of `json_agg` that is a row or an array: it begins a line of its own.
const STRUCTURED: char = '\n';

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    /// `to_json`, `row_to_json`, `array_to_json`
    Value,
    /// `json_build_object`
    Object,
    /// `json_build_array`
    Array,
    /// An element of `json_agg`.
    Item,
    /// The array of the elements of `json_agg`.
    List,
    /// The array of the values of `json_agg(DISTINCT …)`, as they are.
    ListOf,
    /// A member of `json_object_agg`.
    Member,
    /// The object of the members of `json_object_agg`.
    Members,
    /// `json_object`, of an array of keys and values in turn or of one of each.
    Texts,
}

const FUNCTIONS: [(&str, Function, bool); 18] = [
    ("array_to_json", Function::Value, false),
    ("json_build_array", Function::Array, false),
    ("json_build_object", Function::Object, false),
    ("json_object", Function::Texts, false),
    ("jsonb_build_array", Function::Array, true),
    ("jsonb_build_object", Function::Object, true),
    ("jsonb_object", Function::Texts, true),
    ("nyala_json_item", Function::Item, false),
    ("nyala_json_list", Function::List, false),
    ("nyala_json_list_of", Function::ListOf, false),
    ("nyala_json_member", Function::Member, false),
    ("nyala_json_members", Function::Members, false),
    ("nyala_jsonb_list", Function::List, true),
    ("nyala_jsonb_list_of", Function::ListOf, true),
    ("nyala_jsonb_members", Function::Members, true),
    ("row_to_json", Function::Value, false),
    ("to_json", Function::Value, false),
    ("to_jsonb", Function::Value, true),
];

/// The function of that name, for a session in `zone`.
pub fn function(name: &str, zone: TimeZone) -> Option<Arc<ScalarUDF>> {
    let (name, function, jsonb) = FUNCTIONS.into_iter().find(|(known, ..)| *known == name)?;
    let number = match function {
        Function::Object | Function::Array => {
            TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny])
        }
        Function::Member => TypeSignature::Any(2),
        Function::Texts => TypeSignature::OneOf(vec![TypeSignature::Any(1), TypeSignature::Any(2)]),
        _ => TypeSignature::Any(1),
    };
    Some(Arc::new(ScalarUDF::from(Build {
        name,
        function,
        jsonb,
        zone,
        signature: Signature::new(number, Volatility::Stable),
    })))
}

/// A function that makes JSON, in a time zone.
#[derive(Debug)]
struct Build {
    name: &'static str,
    function: Function,
    jsonb: bool,
    zone: TimeZone,
    signature: Signature,
}

impl PartialEq for Build {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.zone == other.zone
    }
}

impl Eq for Build {}

impl Hash for Build {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Build {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(match (self.function, self.jsonb) {
            (Function::Item | Function::Member, _) => {
                Field::new(self.name, DataType::Utf8View, true)
            }
            (_, true) => SqlType::Jsonb.field(self.name, true),
            (_, false) => SqlType::Json.field(self.name, true),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let mut arguments = Vec::with_capacity(args.args.len());
        for (value, field) in args.args.iter().zip(&args.arg_fields) {
            arguments.push(Argument::new(&value.to_array(rows)?, field, self.zone)?);
        }
        let made = self.make(&arguments, rows)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &made, 0,
            )?));
        }
        Ok(ColumnarValue::Array(made))
    }
}

/// An argument as the values that it becomes, and as the text that a key is.
struct Argument {
    json: Writer,
    text: TextColumn,
}

impl Argument {
    fn new(values: &ArrayRef, field: &Field, zone: TimeZone) -> Result<Self> {
        let format = format(zone);
        Ok(Self {
            json: Writer::new(values, field, &format)?,
            text: TextColumn::new(values, &SqlType::of_field(field), &format)?,
        })
    }
}

/// Dates and times as they are in JSON, whatever the session shows.
fn format(zone: TimeZone) -> FormatSettings {
    FormatSettings {
        time_zone: zone,
        ..FormatSettings::default()
    }
}

impl Build {
    fn make(&self, arguments: &[Argument], rows: usize) -> Result<ArrayRef> {
        let mut made = StringViewBuilder::with_capacity(rows);
        let mut out = BytesMut::new();
        let mut canonical = String::new();
        for row in 0..rows {
            out.clear();
            if !self.write(arguments, row, &mut out)? {
                made.append_null();
                continue;
            }
            let text = std::str::from_utf8(&out)
                .map_err(|_| PgError::internal("JSON was made of something else than UTF-8"))?;
            if self.jsonb {
                canonical.clear();
                nyala_udfs::canonical::canonicalize_jsonb(text, &mut canonical)?;
                made.append_value(&canonical);
            } else {
                made.append_value(text);
            }
        }
        Ok(Arc::new(made.finish()))
    }

    /// Appends what a row becomes; false where that is NULL.
    fn write(&self, arguments: &[Argument], row: usize, out: &mut BytesMut) -> Result<bool> {
        match (self.function, arguments) {
            (Function::Value, [value]) => {
                if value.json.is_null(row) {
                    return Ok(false);
                }
                value.json.write(row, out)?;
            }
            (Function::Item, [value]) => {
                if value.json.is_null(row) {
                    return Ok(false);
                }
                if value.json.is_structured() {
                    out.extend_from_slice(STRUCTURED.encode_utf8(&mut [0; 4]).as_bytes());
                }
                value.json.write(row, out)?;
            }
            (Function::ListOf, [values]) => return values.json.write_list(row, out),
            (Function::Array, _) => {
                out.extend_from_slice(b"[");
                for (at, value) in arguments.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    value.json.write(row, out)?;
                }
                out.extend_from_slice(b"]");
            }
            (Function::Object, _) => {
                out.extend_from_slice(b"{");
                for (at, pair) in arguments.chunks(2).enumerate() {
                    let [key, value] = pair else {
                        let message = "argument list must have even number of elements";
                        return Err(PgError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
                            .with_hint(format!("The arguments of {}() must consist of alternating keys and values.", self.name)));
                    };
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    if !write_key(key, row, out)? {
                        return Err(self.null_key(2 * at + 1));
                    }
                    value.json.write(row, out)?;
                }
                out.extend_from_slice(b"}");
            }
            (Function::Member, [key, value]) => {
                if !write_key(key, row, out)? {
                    let message = "field name must not be null";
                    return Err(PgError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
                }
                value.json.write(row, out)?;
            }
            (Function::List, [items]) => return joined(&items.json, row, ["[", ", ", "]"], out),
            (Function::Members, [items]) => {
                return joined(&items.json, row, ["{ ", ", ", " }"], out);
            }
            (Function::Texts, [both]) => {
                return self.of_texts(&both.json, &both.json, true, row, out);
            }
            (Function::Texts, [keys, values]) => {
                return self.of_texts(&keys.json, &values.json, false, row, out);
            }
            _ => return Err(PgError::internal("a JSON function of other arguments")),
        }
        Ok(true)
    }

    fn null_key(&self, argument: usize) -> PgError {
        let invalid = |message| PgError::new(sqlstate::INVALID_PARAMETER_VALUE, message);
        match self.jsonb {
            true => invalid(format!("argument {argument}: key must not be null")),
            false => invalid(format!("argument {argument} cannot be null"))
                .with_hint("Object keys should be text."),
        }
    }

    /// Appends the object of an array of keys and one of values, or of one array that has both in turn.
    fn of_texts(
        &self,
        keys: &Writer,
        values: &Writer,
        in_turn: bool,
        row: usize,
        out: &mut BytesMut,
    ) -> Result<bool> {
        let (Some(keys), Some(values)) = (keys.texts(row)?, values.texts(row)?) else {
            return Ok(false);
        };
        let subscripts = |message| Err(PgError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, message));
        let pairs: Vec<(Option<String>, Option<String>)> = match in_turn {
            true if keys.len() % 2 == 1 => {
                return subscripts("array must have even number of elements");
            }
            true => {
                let of = |first: usize| keys.iter().skip(first).step_by(2).cloned();
                of(0).zip(of(1)).collect()
            }
            false if keys.len() != values.len() => {
                return subscripts("mismatched array dimensions");
            }
            false => keys.into_iter().zip(values).collect(),
        };
        out.extend_from_slice(b"{");
        for (at, (key, value)) in pairs.into_iter().enumerate() {
            let Some(key) = key else {
                let message = "null value not allowed for object key";
                return Err(PgError::new(sqlstate::NULL_VALUE_NOT_ALLOWED, message));
            };
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            write_string(&key, out);
            out.extend_from_slice(b" : ");
            match value {
                Some(value) => write_string(&value, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b"}");
        Ok(true)
    }
}

/// Appends `"key" : `; false where the key is NULL.
fn write_key(key: &Argument, row: usize, out: &mut BytesMut) -> Result<bool> {
    let mut text = BytesMut::new();
    if !key.text.write(row, &mut text)? {
        return Ok(false);
    }
    if matches!(key.json, Writer::Bool(_)) {
        // A boolean is `t` or `f` only where a client is told.
        text.clear();
        key.json.write(row, &mut text)?;
    }
    write_string(utf8(&text)?, out);
    out.extend_from_slice(b" : ");
    Ok(true)
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| PgError::internal("text that is not UTF-8"))
}

/// Appends items side by side; false where there is no list of them.
fn joined(
    items: &Writer,
    row: usize,
    [open, between, close]: [&str; 3],
    out: &mut BytesMut,
) -> Result<bool> {
    let Some(items) = items.texts(row)? else {
        return Ok(false);
    };
    out.extend_from_slice(open.as_bytes());
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(between.as_bytes());
        }
        let item = item.as_deref().unwrap_or("null");
        let item = match item.strip_prefix(STRUCTURED) {
            Some(structured) => {
                if at > 0 {
                    out.extend_from_slice(b"\n ");
                }
                structured
            }
            None => item,
        };
        out.extend_from_slice(item.as_bytes());
    }
    out.extend_from_slice(close.as_bytes());
    Ok(true)
}

/// Writes the values of a column as JSON.
enum Writer {
    Null,
    Bool(BooleanArray),
    /// Numbers, and JSON itself.
    Plain(TextColumn),
    /// Numbers that can be none of JSON's.
    Float(TextColumn),
    Timestamp(TextColumn),
    Text(TextColumn),
    List {
        lists: ListArray,
        elements: Box<Writer>,
    },
    Row {
        nulls: Option<NullBuffer>,
        fields: Vec<(String, Writer)>,
    },
}

impl Writer {
    fn new(values: &ArrayRef, field: &Field, format: &FormatSettings) -> Result<Self> {
        let ty = SqlType::of_field(field);
        let text = |values: &ArrayRef| TextColumn::new(values, &ty, format);
        Ok(match (values.data_type(), &ty) {
            (DataType::Null, _) => Self::Null,
            (DataType::Struct(inner), _) => {
                let rows = values.as_struct();
                let names = field_names(inner.iter().map(|field| field.name().as_str()));
                let mut fields = Vec::with_capacity(names.len());
                for ((name, field), values) in names.into_iter().zip(inner).zip(rows.columns()) {
                    fields.push((name, Self::new(values, field, format)?));
                }
                Self::Row {
                    nulls: rows.nulls().cloned(),
                    fields,
                }
            }
            (DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..), _) => {
                let item = match values.data_type() {
                    DataType::List(item)
                    | DataType::LargeList(item)
                    | DataType::FixedSizeList(item, _) => Arc::clone(item),
                    _ => return Err(PgError::internal("a list of no items")),
                };
                let lists = arrow::compute::cast(values, &DataType::List(Arc::clone(&item)))?;
                let lists = lists.as_list::<i32>().clone();
                // The type of an array tells that of its elements where the elements' field does not.
                let item = match &ty {
                    SqlType::Array(element) if !is_nested(item.data_type()) => {
                        element.field(item.name(), true)
                    }
                    _ => item.as_ref().clone(),
                };
                let item = item.with_data_type(lists.values().data_type().clone());
                let elements = Box::new(Self::new(lists.values(), &item, format)?);
                Self::List { lists, elements }
            }
            (_, SqlType::Bool) => {
                let booleans = arrow::compute::cast(values, &DataType::Boolean)?;
                Self::Bool(booleans.as_boolean().clone())
            }
            (
                _,
                SqlType::Int2
                | SqlType::Int4
                | SqlType::Int8
                | SqlType::Numeric(_)
                | SqlType::Json
                | SqlType::Jsonb,
            ) => Self::Plain(text(values)?),
            (_, SqlType::Float4 | SqlType::Float8) => Self::Float(text(values)?),
            (_, SqlType::Timestamp | SqlType::Timestamptz) => Self::Timestamp(text(values)?),
            _ => Self::Text(text(values)?),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(values) => values.is_null(row),
            Self::Plain(text) | Self::Float(text) | Self::Timestamp(text) | Self::Text(text) => {
                text.is_null(row)
            }
            Self::List { lists, .. } => lists.is_null(row),
            Self::Row { nulls, .. } => nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)),
        }
    }

    fn is_structured(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Row { .. })
    }

    /// Appends a value; `null` for NULL.
    fn write(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Null => {}
            Self::Bool(values) => {
                let text: &[u8] = if values.value(row) { b"true" } else { b"false" };
                out.extend_from_slice(text);
            }
            Self::Plain(text) => {
                text.write(row, out)?;
            }
            Self::Float(text) => {
                let start = out.len();
                text.write(row, out)?;
                let written = out.get(start..).unwrap_or_default();
                if !written.iter().any(u8::is_ascii_digit) {
                    let word = out.split_off(start);
                    write_string(utf8(&word)?, out);
                }
            }
            Self::Timestamp(text) => {
                let mut printed = BytesMut::new();
                text.write(row, &mut printed)?;
                write_string(&iso_8601(utf8(&printed)?), out);
            }
            Self::Text(text) => {
                let mut printed = BytesMut::new();
                text.write(row, &mut printed)?;
                write_string(utf8(&printed)?, out);
            }
            Self::List { lists, elements } => {
                out.extend_from_slice(b"[");
                let bounds = lists.value_offsets();
                let bound = |at: usize| bounds.get(at).map_or(0, |bound| *bound as usize);
                let first = bound(row);
                for element in first..bound(row + 1) {
                    if element > first {
                        out.extend_from_slice(b",");
                    }
                    elements.write(element, out)?;
                }
                out.extend_from_slice(b"]");
            }
            Self::Row { fields, .. } => {
                out.extend_from_slice(b"{");
                for (at, (name, values)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b",");
                    }
                    write_string(name, out);
                    out.extend_from_slice(b":");
                    values.write(row, out)?;
                }
                out.extend_from_slice(b"}");
            }
        }
        Ok(())
    }

    /// Appends a list as `json_agg` does; false where there is none.
    fn write_list(&self, row: usize, out: &mut BytesMut) -> Result<bool> {
        let Self::List { lists, elements } = self else {
            return Ok(false);
        };
        if lists.is_null(row) {
            return Ok(false);
        }
        let bounds = lists.value_offsets();
        let bound = |at: usize| bounds.get(at).map_or(0, |bound| *bound as usize);
        let first = bound(row);
        out.extend_from_slice(b"[");
        for element in first..bound(row + 1) {
            if element > first {
                out.extend_from_slice(b", ");
                if elements.is_structured() {
                    out.extend_from_slice(b"\n ");
                }
            }
            elements.write(element, out)?;
        }
        out.extend_from_slice(b"]");
        Ok(true)
    }

    /// The texts of a list of texts, or of an array literal; `None` for NULL.
    fn texts(&self, row: usize) -> Result<Option<Vec<Option<String>>>> {
        if self.is_null(row) {
            return Ok(None);
        }
        match self {
            Self::List { lists, .. } => {
                let elements = arrow::compute::cast(&lists.value(row), &DataType::Utf8View)?;
                let elements = elements.as_string_view().iter();
                Ok(Some(elements.map(|one| one.map(str::to_string)).collect()))
            }
            Self::Text(literal) => {
                let mut text = BytesMut::new();
                literal.write(row, &mut text)?;
                Ok(Some(nyala_udfs::array_literal(utf8(&text)?)?))
            }
            _ => Err(PgError::new(
                sqlstate::UNDEFINED_FUNCTION,
                "json_object takes arrays of text",
            )),
        }
    }
}

fn is_nested(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
    )
}

/// The fields of `ROW(…)` are `f1`, `f2`, … in PostgreSQL, and `c0`, `c1`, … in DataFusion.
fn field_names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let unnamed = names
        .clone()
        .enumerate()
        .all(|(at, name)| name == format!("c{at}"));
    match unnamed {
        true => (1..=names.count()).map(|at| format!("f{at}")).collect(),
        false => names.map(str::to_string).collect(),
    }
}

/// `2020-01-02 03:04:05+01` as `2020-01-02T03:04:05+01:00`.
fn iso_8601(printed: &str) -> String {
    let Some((date, time)) = printed.split_once(' ') else {
        return printed.to_string();
    };
    let (time, era) = match time.split_once(' ') {
        Some((time, era)) => (time, Some(era)),
        None => (time, None),
    };
    let mut text = format!("{date}T{time}");
    let offset = time.rfind(['+', '-']).and_then(|at| time.get(at + 1..));
    if offset.is_some_and(|offset| offset.len() == 2) {
        text.push_str(":00");
    }
    if let Some(era) = era {
        text.push(' ');
        text.push_str(era);
    }
    text
}

/// Appends a string with as few escapes as PostgreSQL's `escape_json` uses.
fn write_string(text: &str, out: &mut BytesMut) {
    let mut quoted = String::with_capacity(text.len() + 2);
    nyala_udfs::canonical::quote(text, &mut quoted);
    out.extend_from_slice(quoted.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{field_names, iso_8601};

    #[test]
    fn times_are_iso_8601() {
        assert_eq!(iso_8601("2020-01-02 03:04:05"), "2020-01-02T03:04:05");
        assert_eq!(
            iso_8601("2020-01-02 03:04:05.5+01"),
            "2020-01-02T03:04:05.5+01:00"
        );
        assert_eq!(
            iso_8601("2020-01-02 03:04:05-03:30"),
            "2020-01-02T03:04:05-03:30"
        );
        assert_eq!(
            iso_8601("0044-03-15 00:00:00+00 BC"),
            "0044-03-15T00:00:00+00:00 BC"
        );
    }

    #[test]
    fn fields_without_names_are_counted() {
        assert_eq!(field_names(["c0", "c1"].into_iter()), ["f1", "f2"]);
        assert_eq!(field_names(["c0", "b"].into_iter()), ["c0", "b"]);
    }
}
