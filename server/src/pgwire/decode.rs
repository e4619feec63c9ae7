//! The one place where text and binary input becomes values: literals, parameters and COPY fields.
//!
//! Owns PostgreSQL's input grammar of every [`SqlType`] and fills Arrow builders with what it reads.
//! It never prints (that is `encode`), never reads a clock and never looks at a session: what a value
//! depends on comes in [`InputSettings`].

mod array;
mod binary;
mod datetime;
mod interval;
mod number;
mod string;

pub use string::parse_escaped;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, ListArray, NullBufferBuilder, StringViewBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use nyala_catalog::types::{NUMERIC_DEFAULT, SqlType, UTC};

pub use datetime::ABBREVIATIONS as ZONE_ABBREVIATIONS;
pub use interval::parse_interval;

use super::encode::{DateOrder, TimeZone};

/// Input that is not a value of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    /// SQLSTATE to report.
    pub sqlstate: &'static str,
    /// Primary message, as PostgreSQL words it.
    pub message: String,
    /// DETAIL line.
    pub detail: Option<String>,
}

impl ValueError {
    /// An error without a detail.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            detail: None,
        }
    }

    /// Adds the DETAIL line.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn syntax(type_name: &str, text: &str) -> Self {
        Self::new(
            "22P02",
            format!("invalid input syntax for type {type_name}: \"{text}\""),
        )
    }

    fn binary() -> Self {
        Self::new("22P03", "incorrect binary data format")
    }
}

/// Checks JSON text and gives what is stored: for `json` (false) the text as it came, for `jsonb`
/// (true) its canonical form.
pub type JsonInput = fn(text: &str, jsonb: bool) -> Result<String, ValueError>;

/// What the meaning of input depends on besides its type.
#[derive(Debug, Clone, Copy)]
pub struct InputSettings {
    /// Zone of a `timestamptz` that names none.
    pub time_zone: TimeZone,
    /// How `01/02/2026` is read.
    pub date_order: DateOrder,
    /// The JSON kernel.
    pub json: JsonInput,
    /// What `now` is, in microseconds since 1970, and so `today`; where it is not known these words are refused.
    pub now_us: Option<i64>,
}

/// Builds an Arrow array of one SQL type from input values.
///
/// After an error a parser holds part of a value and must be dropped.
pub struct ColumnParser {
    ty: SqlType,
    settings: InputSettings,
    builder: Builder,
}

enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(Int32Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Numeric(Decimal128Builder),
    Text(StringViewBuilder),
    Bytea(BinaryViewBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List {
        offsets: Vec<i32>,
        nulls: NullBufferBuilder,
        elements: Box<ColumnParser>,
    },
}

/// Runs `$body` with `$builder` bound to the builder of any type but lists.
macro_rules! for_flat {
    ($self:expr, $builder:ident => $body:expr, $list:pat => $list_body:expr) => {
        match $self {
            Builder::Bool($builder) => $body,
            Builder::Int2($builder) => $body,
            Builder::Int4($builder) | Builder::Oid($builder) => $body,
            Builder::Int8($builder) => $body,
            Builder::Float4($builder) => $body,
            Builder::Float8($builder) => $body,
            Builder::Numeric($builder) => $body,
            Builder::Text($builder) => $body,
            Builder::Bytea($builder) => $body,
            Builder::Date($builder) => $body,
            Builder::Time($builder) => $body,
            Builder::Timestamp($builder) => $body,
            Builder::Interval($builder) => $body,
            $list => $list_body,
        }
    };
}

impl ColumnParser {
    /// A parser for values of `ty`.
    pub fn new(ty: &SqlType, settings: &InputSettings) -> Self {
        let builder = match ty {
            SqlType::Bool => Builder::Bool(BooleanBuilder::new()),
            SqlType::Int2 => Builder::Int2(Int16Builder::new()),
            SqlType::Int4 => Builder::Int4(Int32Builder::new()),
            SqlType::Int8 => Builder::Int8(Int64Builder::new()),
            SqlType::Oid | SqlType::Regproc | SqlType::Xid => Builder::Oid(Int32Builder::new()),
            SqlType::Float4 => Builder::Float4(Float32Builder::new()),
            SqlType::Float8 => Builder::Float8(Float64Builder::new()),
            SqlType::Numeric(_) => {
                Builder::Numeric(Decimal128Builder::new().with_data_type(ty.arrow_type()))
            }
            SqlType::Bytea => Builder::Bytea(BinaryViewBuilder::new()),
            SqlType::Date => Builder::Date(Date32Builder::new()),
            SqlType::Time => Builder::Time(Time64MicrosecondBuilder::new()),
            SqlType::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::new()),
            SqlType::Timestamptz => {
                Builder::Timestamp(TimestampMicrosecondBuilder::new().with_timezone(UTC))
            }
            SqlType::Interval => Builder::Interval(IntervalMonthDayNanoBuilder::new()),
            SqlType::Array(element) => Builder::List {
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
                elements: Box::new(Self::new(element, settings)),
            },
            SqlType::Text
            | SqlType::Varchar(_)
            | SqlType::Bpchar(_)
            | SqlType::Uuid
            | SqlType::Json
            | SqlType::Jsonb
            | SqlType::Name
            | SqlType::Char
            | SqlType::Regclass
            | SqlType::Regtype
            | SqlType::Inet
            | SqlType::Aclitem
            | SqlType::NodeTree
            | SqlType::Anyarray
            | SqlType::Lsn
            | SqlType::Void
            | SqlType::Int2vector
            | SqlType::Oidvector => Builder::Text(StringViewBuilder::new()),
        };
        Self {
            ty: ty.clone(),
            settings: *settings,
            builder,
        }
    }

    /// Values appended since the start or the last [`ColumnParser::finish`].
    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder as _;
        for_flat!(&self.builder, builder => builder.len(), Builder::List { offsets, .. } => offsets.len() - 1)
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        for_flat!(
            &mut self.builder,
            builder => builder.append_null(),
            Builder::List { offsets, nulls, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
                nulls.append_null();
            }
        );
    }

    /// Appends the value that `text` denotes.
    ///
    /// # Errors
    /// 22P02, 22007 (not of the grammar), 22003, 22008, 22015 (out of range), 22001 (too long), 0A000
    /// (what Nyala does not store: `now`, numeric `NaN`, arrays of several dimensions).
    pub fn append_text(&mut self, text: &str) -> Result<(), ValueError> {
        let settings = self.settings;
        match &mut self.builder {
            Builder::Bool(builder) => builder.append_value(number::parse_bool(text)?),
            Builder::Int2(builder) => {
                builder.append_value(number::parse_integer(text, "smallint")?)
            }
            Builder::Int4(builder) => builder.append_value(number::parse_integer(text, "integer")?),
            Builder::Int8(builder) => builder.append_value(number::parse_integer(text, "bigint")?),
            Builder::Oid(builder) => builder.append_value(number::parse_oid(text)?),
            Builder::Float4(builder) => builder.append_value(number::parse_f32(text)?),
            Builder::Float8(builder) => builder.append_value(number::parse_f64(text)?),
            Builder::Numeric(builder) => {
                builder.append_value(number::parse_numeric(text, &self.ty)?)
            }
            Builder::Text(builder) => string::append(text, &self.ty, settings.json, builder)?,
            Builder::Bytea(builder) => builder.append_value(string::parse_bytea(text)?),
            Builder::Date(builder) => builder.append_value(datetime::parse_date(text, &settings)?),
            Builder::Time(builder) => builder.append_value(datetime::parse_time(text, &settings)?),
            Builder::Timestamp(builder) => {
                let zoned = self.ty == SqlType::Timestamptz;
                builder.append_value(datetime::parse_timestamp(text, zoned, &settings)?);
            }
            Builder::Interval(builder) => builder.append_value(interval::parse_interval(text)?),
            Builder::List { elements, .. } => {
                array::parse_array(text, elements)?;
                self.end_list()?;
            }
        }
        Ok(())
    }

    /// Appends the value of PostgreSQL's binary form `bytes`.
    ///
    /// # Errors
    /// 22P03 for bytes that are not of the type's form, otherwise as [`ColumnParser::append_text`].
    pub fn append_binary(&mut self, bytes: &[u8]) -> Result<(), ValueError> {
        let settings = self.settings;
        match &mut self.builder {
            Builder::Bool(builder) => builder.append_value(binary::read_bool(bytes)?),
            Builder::Int2(builder) => {
                builder.append_value(i16::from_be_bytes(binary::fixed(bytes)?))
            }
            Builder::Int4(builder) | Builder::Oid(builder) => {
                builder.append_value(i32::from_be_bytes(binary::fixed(bytes)?));
            }
            Builder::Int8(builder) => {
                builder.append_value(i64::from_be_bytes(binary::fixed(bytes)?))
            }
            Builder::Float4(builder) => {
                builder.append_value(f32::from_be_bytes(binary::fixed(bytes)?))
            }
            Builder::Float8(builder) => {
                builder.append_value(f64::from_be_bytes(binary::fixed(bytes)?))
            }
            Builder::Numeric(builder) => {
                builder.append_value(binary::read_numeric(bytes, &self.ty)?)
            }
            Builder::Text(builder) => {
                let text = binary::read_text(bytes, &self.ty)?;
                string::append(&text, &self.ty, settings.json, builder)?;
            }
            Builder::Bytea(builder) => builder.append_value(bytes),
            Builder::Date(builder) => builder.append_value(binary::read_date(bytes)?),
            Builder::Time(builder) => builder.append_value(binary::read_time(bytes)?),
            Builder::Timestamp(builder) => builder.append_value(binary::read_timestamp(bytes)?),
            Builder::Interval(builder) => builder.append_value(binary::read_interval(bytes)?),
            Builder::List { elements, .. } => {
                binary::read_array(bytes, elements)?;
                self.end_list()?;
            }
        }
        Ok(())
    }

    /// Closes the list whose elements were just appended.
    fn end_list(&mut self) -> Result<(), ValueError> {
        if let Builder::List {
            offsets,
            nulls,
            elements,
        } = &mut self.builder
        {
            let end = i32::try_from(elements.len()).map_err(|_| {
                ValueError::new("54000", "array size exceeds the maximum allowed in a batch")
            })?;
            offsets.push(end);
            nulls.append_non_null();
        }
        Ok(())
    }

    /// The values appended so far, as an array of exactly [`SqlType::arrow_type`]; the parser is empty
    /// afterwards and can be used again.
    pub fn finish(&mut self) -> ArrayRef {
        for_flat!(
            &mut self.builder,
            builder => Arc::new(builder.finish()),
            Builder::List { offsets, nulls, elements } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let DataType::List(field) = self.ty.arrow_type() else {
                    return arrow::array::new_empty_array(&self.ty.arrow_type());
                };
                Arc::new(ListArray::new(
                    field,
                    OffsetBuffer::new(ScalarBuffer::from(offsets)),
                    elements.finish(),
                    nulls.finish(),
                ))
            }
        )
    }
}

/// Parses each string of `input` (an array of `Utf8View`) as a value of `ty`.
///
/// # Errors
/// That of the first string that is not a value of `ty`; XX000 when `input` is no such array.
pub fn parse_text_array(
    input: &ArrayRef,
    ty: &SqlType,
    settings: &InputSettings,
) -> Result<ArrayRef, ValueError> {
    let strings = input
        .as_string_view_opt()
        .ok_or_else(|| ValueError::new("XX000", "text input is not an array of strings"))?;
    let mut parser = ColumnParser::new(ty, settings);
    for text in strings {
        match text {
            Some(text) => parser.append_text(text)?,
            None => parser.append_null(),
        }
    }
    Ok(parser.finish())
}

/// Parses `text` as one value of `ty`.
///
/// # Errors
/// As [`ColumnParser::append_text`].
pub fn parse_scalar(
    text: &str,
    ty: &SqlType,
    settings: &InputSettings,
) -> Result<ScalarValue, ValueError> {
    let mut parser = ColumnParser::new(ty, settings);
    parser.append_text(text)?;
    scalar_at(&parser.finish(), 0).map_err(|error| ValueError::new("XX000", error.to_string()))
}

/// One value of an array. A list keeps what its elements are besides their Arrow type, which `ScalarValue::try_from_array` forgets.
pub fn scalar_at(values: &ArrayRef, row: usize) -> DataFusionResult<ScalarValue> {
    match values.as_list_opt::<i32>() {
        Some(lists) if row < lists.len() => Ok(ScalarValue::List(Arc::new(lists.slice(row, 1)))),
        _ => ScalarValue::try_from_array(values, row),
    }
}

/// Precision and scale that values of a numeric type are stored with.
fn numeric_modifier(ty: &SqlType) -> (u8, i8) {
    match ty {
        SqlType::Numeric(Some(modifier)) => *modifier,
        _ => NUMERIC_DEFAULT,
    }
}
