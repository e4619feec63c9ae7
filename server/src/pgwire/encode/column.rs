//! One column of a batch, brought into the few typed forms that the writers know.
//!
//! Owns the conversion from every Arrow representation that a [`SqlType`] can have (dictionaries, all
//! widths and units) to one form per type, done once per batch; writes nothing itself.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryViewArray, Date32Array,
    LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, i256,
};
use nyala_catalog::types::SqlType;

use super::EncodeError;

/// A column whose null buffer and values are at hand.
pub struct Column {
    nulls: Option<NullBuffer>,
    /// The values; those of NULL rows mean nothing.
    pub values: Values,
}

/// The values of a [`Column`].
pub enum Values {
    /// Every row is NULL.
    Null,
    Bool(BooleanBuffer),
    Int2(ScalarBuffer<i16>),
    Int4(ScalarBuffer<i32>),
    Int8(ScalarBuffer<i64>),
    /// OIDs: unsigned, in signed Arrow integers.
    Oid(ScalarBuffer<i32>),
    /// OIDs of functions, which print as their names.
    Regproc(ScalarBuffer<i32>),
    Float4(ScalarBuffer<f32>),
    Float8(ScalarBuffer<f64>),
    /// Unscaled values; `trim` cuts trailing zeros of the fraction.
    Numeric {
        values: ScalarBuffer<i128>,
        scale: i8,
        trim: bool,
    },
    /// As `Numeric`, for decimals of more than 38 digits.
    WideNumeric {
        values: ScalarBuffer<i256>,
        scale: i8,
        trim: bool,
    },
    Text(Strings, TextKind),
    Bytea(Bytes),
    /// Days since 1970.
    Date(ScalarBuffer<i32>),
    /// Microseconds since midnight.
    Time(ScalarBuffer<i64>),
    /// Microseconds since 1970; `zoned` for `timestamptz`.
    Timestamp {
        values: ScalarBuffer<i64>,
        zoned: bool,
    },
    Interval(ScalarBuffer<IntervalMonthDayNano>),
    /// Lists; `element_oid` is the type of the innermost elements.
    List {
        offsets: OffsetBuffer<i32>,
        elements: Box<Column>,
        element_oid: u32,
    },
    /// Structs, printed as records.
    Record(Vec<Column>),
}

/// What the binary form of a text value is, and whether its text is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// The text itself.
    Plain,
    /// The text padded with blanks to this many characters.
    Padded(u32),
    /// The text behind a version byte.
    Jsonb,
    /// 16 bytes.
    Uuid,
    /// An address with its family.
    Inet,
    /// An array of `smallint`.
    Int2vector,
    /// An array of `oid`.
    Oidvector,
}

/// String arrays of each layout.
pub enum Strings {
    Small(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

impl Strings {
    /// The string of a row that is not NULL.
    pub fn value(&self, row: usize) -> &str {
        match self {
            Self::Small(array) => array.value(row),
            Self::Large(array) => array.value(row),
            Self::View(array) => array.value(row),
        }
    }
}

/// Binary arrays of the usual layouts.
pub enum Bytes {
    Small(BinaryArray),
    View(BinaryViewArray),
}

impl Bytes {
    /// The bytes of a row that is not NULL.
    pub fn value(&self, row: usize) -> &[u8] {
        match self {
            Self::Small(array) => array.value(row),
            Self::View(array) => array.value(row),
        }
    }
}

impl Column {
    /// Brings `array` into the form of `ty`.
    ///
    /// # Errors
    /// 22003 or 22008 for a value that `ty` cannot hold, 0A000 for an array it cannot be made from.
    pub fn new(array: &ArrayRef, ty: &SqlType) -> Result<Self, EncodeError> {
        let array = match array.data_type() {
            DataType::Dictionary(_, value) => cast(array, value, ty)?,
            DataType::RunEndEncoded(_, value) => cast(array, value.data_type(), ty)?,
            _ => Arc::clone(array),
        };
        if array.data_type() == &DataType::Null {
            return Ok(Self {
                nulls: None,
                values: Values::Null,
            });
        }
        let values = Self::values(&array, ty)?;
        Ok(Self {
            nulls: array
                .nulls()
                .filter(|nulls| nulls.null_count() > 0)
                .cloned(),
            values,
        })
    }

    fn values(array: &ArrayRef, ty: &SqlType) -> Result<Values, EncodeError> {
        Ok(match ty {
            SqlType::Bool => Values::Bool(
                of_type(array, &DataType::Boolean, ty)?
                    .as_boolean()
                    .values()
                    .clone(),
            ),
            SqlType::Int2 => Values::Int2(buffer::<Int16Type>(array, &DataType::Int16, ty)?),
            SqlType::Int4 => Values::Int4(buffer::<Int32Type>(array, &DataType::Int32, ty)?),
            SqlType::Int8 => Values::Int8(buffer::<Int64Type>(array, &DataType::Int64, ty)?),
            SqlType::Oid | SqlType::Xid => Values::Oid(oids(array, ty)?),
            SqlType::Float4 => {
                Values::Float4(buffer::<Float32Type>(array, &DataType::Float32, ty)?)
            }
            SqlType::Float8 => {
                Values::Float8(buffer::<Float64Type>(array, &DataType::Float64, ty)?)
            }
            SqlType::Numeric(modifier) => numeric(array, modifier.is_none(), ty)?,
            SqlType::Bytea => Values::Bytea(bytes(array, ty)?),
            SqlType::Date => Values::Date(dates(array, ty)?),
            SqlType::Time => {
                let target = DataType::Time64(TimeUnit::Microsecond);
                Values::Time(buffer::<Time64MicrosecondType>(array, &target, ty)?)
            }
            SqlType::Timestamp => Values::Timestamp {
                values: micros(array, ty)?,
                zoned: false,
            },
            SqlType::Timestamptz => Values::Timestamp {
                values: micros(array, ty)?,
                zoned: true,
            },
            SqlType::Interval => {
                let target = DataType::Interval(IntervalUnit::MonthDayNano);
                Values::Interval(buffer::<IntervalMonthDayNanoType>(array, &target, ty)?)
            }
            SqlType::Array(element) => list(array, element, ty)?,
            SqlType::Jsonb => Values::Text(strings(array, ty)?, TextKind::Jsonb),
            SqlType::Uuid => Values::Text(strings(array, ty)?, TextKind::Uuid),
            SqlType::Inet => Values::Text(strings(array, ty)?, TextKind::Inet),
            SqlType::Int2vector => Values::Text(strings(array, ty)?, TextKind::Int2vector),
            SqlType::Oidvector => Values::Text(strings(array, ty)?, TextKind::Oidvector),
            SqlType::Bpchar(Some(width)) => {
                Values::Text(strings(array, ty)?, TextKind::Padded(*width))
            }
            SqlType::Text
            | SqlType::Varchar(_)
            | SqlType::Bpchar(None)
            | SqlType::Json
            | SqlType::Name
            | SqlType::Char
            | SqlType::Regclass
            | SqlType::Regtype
            | SqlType::Aclitem
            | SqlType::NodeTree
            | SqlType::Anyarray
            | SqlType::Lsn
            | SqlType::Void
            | SqlType::Regproc => match array.data_type() {
                DataType::Int32 if *ty == SqlType::Regproc => {
                    Values::Regproc(buffer::<Int32Type>(array, &DataType::Int32, ty)?)
                }
                DataType::Struct(_) => record(array)?,
                DataType::Map(_, _) => map(array)?,
                _ => Values::Text(strings(array, ty)?, TextKind::Plain),
            },
        })
    }

    /// Whether a row is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        match &self.nulls {
            Some(nulls) => nulls.is_null(row),
            None => matches!(self.values, Values::Null),
        }
    }
}

fn cast(array: &ArrayRef, target: &DataType, ty: &SqlType) -> Result<ArrayRef, EncodeError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, target, &options).map_err(|_| match ty {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid => {
            EncodeError::new("22003", format!("{ty} out of range"))
        }
        SqlType::Numeric(_) => EncodeError::new("22003", "numeric field overflow"),
        SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz => out_of_range(ty),
        SqlType::Interval => EncodeError::new("22008", "interval out of range"),
        _ => EncodeError::new(
            "0A000",
            format!(
                "a value of Arrow type {} cannot be shown as {ty}",
                array.data_type()
            ),
        ),
    })
}

fn out_of_range(ty: &SqlType) -> EncodeError {
    let name = if *ty == SqlType::Date {
        "date"
    } else {
        "timestamp"
    };
    EncodeError::new("22008", format!("{name} out of range"))
}

fn of_type(array: &ArrayRef, target: &DataType, ty: &SqlType) -> Result<ArrayRef, EncodeError> {
    if array.data_type() == target {
        Ok(Arc::clone(array))
    } else {
        cast(array, target, ty)
    }
}

fn buffer<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    target: &DataType,
    ty: &SqlType,
) -> Result<ScalarBuffer<T::Native>, EncodeError> {
    Ok(of_type(array, target, ty)?
        .as_primitive::<T>()
        .values()
        .clone())
}

/// OIDs above 2^31 keep their bits, as the signed column that holds them does.
fn oids(array: &ArrayRef, ty: &SqlType) -> Result<ScalarBuffer<i32>, EncodeError> {
    if array.data_type() == &DataType::Int32 {
        return Ok(array.as_primitive::<Int32Type>().values().clone());
    }
    let wide = of_type(array, &DataType::Int64, ty)?;
    let narrow = wide
        .as_primitive::<Int64Type>()
        .try_unary::<_, Int32Type, _>(|value| {
            u32::try_from(value)
                .map(|value| value as i32)
                .map_err(|_| EncodeError::new("22003", "OID out of range"))
        })?;
    Ok(narrow.values().clone())
}

fn numeric(array: &ArrayRef, trim: bool, ty: &SqlType) -> Result<Values, EncodeError> {
    Ok(match array.data_type() {
        DataType::Decimal128(_, scale) => Values::Numeric {
            values: array.as_primitive::<Decimal128Type>().values().clone(),
            scale: *scale,
            trim,
        },
        DataType::Decimal256(_, scale) => Values::WideNumeric {
            values: array.as_primitive::<Decimal256Type>().values().clone(),
            scale: *scale,
            trim,
        },
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            let array = cast(array, &DataType::Decimal128(*precision, *scale), ty)?;
            numeric(&array, trim, ty)?
        }
        _ => {
            let array = cast(array, &ty.arrow_type(), ty)?;
            numeric(&array, trim, ty)?
        }
    })
}

fn strings(array: &ArrayRef, ty: &SqlType) -> Result<Strings, EncodeError> {
    Ok(match array.data_type() {
        DataType::Utf8 => Strings::Small(array.as_string::<i32>().clone()),
        DataType::LargeUtf8 => Strings::Large(array.as_string::<i64>().clone()),
        DataType::Utf8View => Strings::View(array.as_string_view().clone()),
        _ => Strings::View(
            cast(array, &DataType::Utf8View, ty)?
                .as_string_view()
                .clone(),
        ),
    })
}

fn bytes(array: &ArrayRef, ty: &SqlType) -> Result<Bytes, EncodeError> {
    Ok(match array.data_type() {
        DataType::Binary => Bytes::Small(array.as_binary::<i32>().clone()),
        DataType::BinaryView => Bytes::View(array.as_binary_view().clone()),
        // There is no cast from fixed to view layout, but one to binary from all.
        DataType::FixedSizeBinary(_) => Bytes::Small(
            cast(array, &DataType::Binary, ty)?
                .as_binary::<i32>()
                .clone(),
        ),
        _ => Bytes::View(
            cast(array, &DataType::BinaryView, ty)?
                .as_binary_view()
                .clone(),
        ),
    })
}

fn dates(array: &ArrayRef, ty: &SqlType) -> Result<ScalarBuffer<i32>, EncodeError> {
    const DAY_MS: i64 = 86_400_000;
    if array.data_type() != &DataType::Date64 {
        return buffer::<Date32Type>(array, &DataType::Date32, ty);
    }
    let days: Date32Array = array
        .as_primitive::<Date64Type>()
        .try_unary(|ms| i32::try_from(ms.div_euclid(DAY_MS)).map_err(|_| out_of_range(ty)))?;
    Ok(days.values().clone())
}

/// Timestamps of any unit in microseconds; a finer unit is rounded down, so order is kept before 1970 too.
fn micros(array: &ArrayRef, ty: &SqlType) -> Result<ScalarBuffer<i64>, EncodeError> {
    let scaled =
        |value: i64, factor: i64| value.checked_mul(factor).ok_or_else(|| out_of_range(ty));
    let micros: TimestampMicrosecondArray = match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            return Ok(array
                .as_primitive::<TimestampMicrosecondType>()
                .values()
                .clone());
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .unary(|ns| ns.div_euclid(1_000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array
            .as_primitive::<TimestampMillisecondType>()
            .try_unary(|ms| scaled(ms, 1_000))?,
        DataType::Timestamp(TimeUnit::Second, _) => array
            .as_primitive::<TimestampSecondType>()
            .try_unary(|seconds| scaled(seconds, 1_000_000))?,
        _ => {
            let target = DataType::Timestamp(TimeUnit::Microsecond, None);
            cast(array, &target, ty)?
                .as_primitive::<TimestampMicrosecondType>()
                .clone()
        }
    };
    Ok(micros.values().clone())
}

fn list(array: &ArrayRef, element: &SqlType, ty: &SqlType) -> Result<Values, EncodeError> {
    let array = match array.data_type() {
        DataType::List(_) => Arc::clone(array),
        DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => cast(array, &DataType::List(Arc::clone(item)), ty)?,
        _ => cast(array, &ty.arrow_type(), ty)?,
    };
    let lists = array.as_list::<i32>();
    let inner = match lists.values().data_type() {
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => ty,
        _ => element,
    };
    Ok(Values::List {
        offsets: lists.offsets().clone(),
        elements: Box::new(Column::new(lists.values(), inner)?),
        element_oid: element.oid(),
    })
}

fn record(array: &ArrayRef) -> Result<Values, EncodeError> {
    let record = array.as_struct();
    let columns = record
        .columns()
        .iter()
        .zip(record.fields())
        .map(|(column, field)| Column::new(column, &SqlType::of_field(field)))
        .collect::<Result<_, _>>()?;
    Ok(Values::Record(columns))
}

/// A map is the list of its entries, each a record of key and value.
fn map(array: &ArrayRef) -> Result<Values, EncodeError> {
    let map = array.as_map();
    let entries: ArrayRef = Arc::new(map.entries().clone());
    Ok(Values::List {
        offsets: map.offsets().clone(),
        elements: Box::new(Column::new(&entries, &SqlType::Text)?),
        element_oid: SqlType::Text.oid(),
    })
}
