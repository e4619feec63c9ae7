//! Rows of system relations: cells in, one Arrow batch out.
//!
//! A relation fills the columns it has something to say about; the others get what PostgreSQL shows for
//! an unused column: NULL where the column may be NULL, else zero, false or the empty text.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, IntervalMonthDayNanoBuilder, ListArray, NullBufferBuilder, OffsetBufferBuilder,
    RecordBatch, RecordBatchOptions, StringViewBuilder, TimestampMicrosecondBuilder,
    new_null_array,
};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result};
use crate::pg_catalog::shape::Shape;

/// One value of a system relation or system function.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// Any integer type, and OIDs; microseconds since 1970 for a timestamp.
    Int(i64),
    /// Any floating point type.
    Float(f64),
    /// Any type that is text in Arrow.
    Text(Cow<'static, str>),
    /// An array.
    List(Vec<Cell>),
}

impl Cell {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! cell_from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Cell {
            fn from(value: $integer) -> Self {
                Self::Int(i64::from(value))
            }
        }
    )*};
}

cell_from_integer!(i16, i32, i64, u32);

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&'static str> for Cell {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<&String> for Cell {
    fn from(value: &String) -> Self {
        Self::Text(Cow::Owned(value.clone()))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Cell>> From<Vec<T>> for Cell {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

/// Rows of one relation while they are collected.
pub struct Rows<'a> {
    shape: &'a Shape,
    defaults: Vec<Cell>,
    columns: Vec<Vec<Cell>>,
    count: usize,
}

impl<'a> Rows<'a> {
    /// No rows yet.
    pub fn new(shape: &'a Shape) -> Self {
        let defaults = shape.columns.iter().map(|column| {
            if column.not_null {
                unused_value(&column.ty)
            } else {
                Cell::Null
            }
        });
        Self {
            shape,
            defaults: defaults.collect(),
            columns: vec![Vec::new(); shape.columns.len()],
            count: 0,
        }
    }

    /// Adds a row of named cells; a name the relation does not have is an internal error.
    pub fn push<const N: usize>(&mut self, cells: [(&str, Cell); N]) -> Result<()> {
        for (column, default) in self.columns.iter_mut().zip(&self.defaults) {
            column.push(default.clone());
        }
        self.count += 1;
        cells
            .into_iter()
            .try_for_each(|(name, cell)| self.set_last(name, cell))
    }

    /// Replaces a cell of the last row.
    pub fn set_last(&mut self, name: &str, cell: Cell) -> Result<()> {
        let column = self
            .shape
            .position(name)
            .and_then(|at| self.columns.get_mut(at));
        match column.and_then(|column| column.last_mut()) {
            Some(slot) => {
                *slot = cell;
                Ok(())
            }
            None => {
                let relation = self.shape.name;
                Err(PgError::internal(format!(
                    "{relation} has no column {name}"
                )))
            }
        }
    }

    /// The rows as one batch.
    pub fn finish(self) -> Result<RecordBatch> {
        let arrays = self.columns.iter().zip(self.shape.arrow.fields());
        let arrays = arrays
            .map(|(cells, field)| array(field.data_type(), cells))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        Ok(RecordBatch::try_new_with_options(
            self.shape.arrow.clone(),
            arrays,
            &options,
        )?)
    }
}

fn unused_value(ty: &SqlType) -> Cell {
    match ty {
        SqlType::Bool => false.into(),
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid | SqlType::Xid => Cell::Int(0),
        SqlType::Float4 | SqlType::Float8 => Cell::Float(0.0),
        SqlType::Array(_) => Cell::List(Vec::new()),
        SqlType::Regproc => Cell::Int(0),
        _ => "".into(),
    }
}

/// An array of a type from cells; a cell of another type is an internal error.
pub fn array(data_type: &DataType, cells: &[Cell]) -> Result<ArrayRef> {
    macro_rules! primitive {
        ($builder:expr, $($pattern:pat => $value:expr),+) => {{
            let mut builder = $builder;
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    $($pattern => builder.append_value($value),)+
                    other => return Err(mismatch(data_type, other)),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    let rows = cells.len();
    // A system column never holds more than its type: OIDs stay below 2^31.
    Ok(match data_type {
        DataType::Boolean => {
            primitive!(BooleanBuilder::with_capacity(rows), Cell::Bool(value) => *value)
        }
        DataType::Int16 => {
            primitive!(Int16Builder::with_capacity(rows), Cell::Int(value) => *value as i16)
        }
        DataType::Int32 => {
            primitive!(Int32Builder::with_capacity(rows), Cell::Int(value) => *value as i32)
        }
        DataType::Int64 => {
            primitive!(Int64Builder::with_capacity(rows), Cell::Int(value) => *value)
        }
        DataType::Float32 => {
            primitive!(Float32Builder::with_capacity(rows), Cell::Float(value) => *value as f32)
        }
        DataType::Float64 => {
            primitive!(Float64Builder::with_capacity(rows), Cell::Float(value) => *value)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => primitive!(
            TimestampMicrosecondBuilder::with_capacity(rows).with_timezone_opt(zone.clone()),
            Cell::Int(value) => *value
        ),
        // Microseconds.
        DataType::Interval(IntervalUnit::MonthDayNano) => primitive!(
            IntervalMonthDayNanoBuilder::with_capacity(rows),
            Cell::Int(value) => IntervalMonthDayNano::new(0, 0, value.saturating_mul(1_000))
        ),
        DataType::Utf8View => {
            primitive!(StringViewBuilder::with_capacity(rows), Cell::Text(value) => value.as_ref())
        }
        DataType::List(item) => {
            let mut offsets = OffsetBufferBuilder::new(rows);
            let mut nulls = NullBufferBuilder::new(rows);
            let mut elements = Vec::new();
            for cell in cells {
                match cell {
                    Cell::Null => {
                        offsets.push_length(0);
                        nulls.append_null();
                    }
                    Cell::List(list) => {
                        offsets.push_length(list.len());
                        nulls.append_non_null();
                        elements.extend(list.iter().cloned());
                    }
                    other => return Err(mismatch(data_type, other)),
                }
            }
            let values = array(item.data_type(), &elements)?;
            Arc::new(ListArray::try_new(
                item.clone(),
                offsets.finish(),
                values,
                nulls.finish(),
            )?)
        }
        other if cells.iter().all(|cell| *cell == Cell::Null) => new_null_array(other, rows),
        other => {
            return Err(PgError::internal(format!(
                "system columns have no type {other}"
            )));
        }
    })
}

fn mismatch(data_type: &DataType, cell: &Cell) -> PgError {
    PgError::internal(format!("{cell:?} in a system column of type {data_type}"))
}
