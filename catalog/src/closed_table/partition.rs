//! The partition of rows and of files.
//!
//! A file's tag names the transforms that its rows share a value of, by the columns' names in files, and that value. A
//! tag is a statement about the rows of one file, whatever the table's division is now.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::partition;
use arrow::datatypes::{DataType, Date32Type, Field, TimeUnit, TimestampMicrosecondType};
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ClosedTableError, ClosedTableSpec, Result, bucket_hash};
use crate::partitioning::{PartitionField, Transform};
use crate::types::SqlType;

/// Tag of a file whose rows are of one partition.
pub(super) const PARTITION_TAG: &str = "nyala.partition";

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// What a file's rows share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePartition(Vec<SharedValue>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SharedValue {
    /// Name of the column in files.
    column: String,
    /// The transform as Iceberg writes it.
    transform: String,
    /// A number, a text, or null.
    value: Value,
}

impl FilePartition {
    /// Reads a tag; one that cannot be read says nothing.
    pub(super) fn of_tag(tag: Option<&str>) -> Option<Self> {
        serde_json::from_str(tag?).ok()
    }

    pub(super) fn to_tag(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| ClosedTableError::Invalid {
            message: format!("partition of a file: {error}"),
        })
    }

    /// Whether the file is of one partition of the table's division.
    pub(super) fn fits(&self, spec: &ClosedTableSpec) -> bool {
        let wanted = spec.partition.iter().map(|field| {
            let column = spec.columns.get(field.column);
            let column = column.map(|column| column.written.name().as_str());
            (column, field.transform.to_string())
        });
        let own = self.0.iter();
        own.map(|shared| (Some(shared.column.as_str()), shared.transform.clone()))
            .eq(wanted)
    }

    /// The one value that a column has, as text, if the file is of one; the inner `None` is NULL.
    pub(super) fn identity(&self, column: &str) -> Option<Option<String>> {
        let shared = self.0.iter().find(|shared| {
            shared.column == column && shared.transform == Transform::Identity.to_string()
        })?;
        Some(match &shared.value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
    }

    /// The file's bucket of a column: how many there are, and which it is; no number for rows with NULL.
    pub(super) fn bucket(&self, column: &str) -> Option<(u32, Option<i64>)> {
        self.0.iter().find_map(|shared| {
            let count = shared
                .transform
                .strip_prefix("bucket[")?
                .strip_suffix(']')?;
            let own = shared.column == column && (shared.value.is_i64() || shared.value.is_null());
            own.then(|| Some((count.parse().ok()?, shared.value.as_i64())))?
        })
    }
}

/// A value of a column from its text, as a Delta log or a tag has it.
pub(super) fn parse(text: Option<String>, field: &Field) -> Result<ScalarValue> {
    let Some(text) = text else {
        return Ok(ScalarValue::try_from(field.data_type())?);
    };
    let value = ScalarValue::try_from_string(text.clone(), field.data_type());
    value.map_err(|_| ClosedTableError::Corrupted {
        message: format!(
            "\"{text}\" in the log is no value of partition column \"{}\"",
            field.name()
        ),
    })
}

/// A value's text in a tag, as the Delta log has it: times without `T` and zone, which is UTC.
pub(super) fn in_log(text: &str, field: &Field) -> String {
    match field.data_type() {
        DataType::Timestamp(_, _) => text.trim_end_matches('Z').replace('T', " "),
        _ => text.to_string(),
    }
}

/// The buckets that some values of a column fall into; `None` if that cannot be told.
pub(super) fn buckets_of<'a>(
    values: impl Iterator<Item = &'a ScalarValue>,
    field: &Field,
    count: u32,
) -> Option<BTreeSet<i64>> {
    let to = field.data_type();
    let mut found = BTreeSet::new();
    for value in values {
        let same = value.data_type() == *to;
        let text = matches!(
            (value.data_type(), to),
            (DataType::Utf8 | DataType::LargeUtf8, DataType::Utf8View)
        );
        if !same && !text {
            return None;
        }
        let value = value.cast_to(to).ok()?.to_array().ok()?;
        let bucket = bucket_hash::buckets(&value, &SqlType::of_field(field), count).ok()?;
        found.extend(bucket.iter().flatten());
    }
    Some(found)
}

/// The value that tells the partition, for each of a column's.
pub(super) fn transformed(
    transform: Transform,
    values: &ArrayRef,
    field: &Field,
) -> Result<ArrayRef> {
    let ordinals: Int64Array = match transform {
        Transform::Identity => return Ok(ArrayRef::clone(values)),
        Transform::Bucket(count) => bucket_hash::buckets(values, &SqlType::of_field(field), count)?,
        Transform::Year => days(values)?
            .iter()
            .map(|day| Some(year_month(day?).0 - 1970))
            .collect(),
        Transform::Month => days(values)?
            .iter()
            .map(|day| {
                let (year, month) = year_month(day?);
                Some((year - 1970) * 12 + month - 1)
            })
            .collect(),
        Transform::Day => days(values)?,
        Transform::Hour => times(values, HOUR_US)?,
    };
    Ok(std::sync::Arc::new(ordinals))
}

fn days(values: &ArrayRef) -> Result<Int64Array> {
    match values.data_type() {
        DataType::Date32 => {
            let dates = values.as_primitive::<Date32Type>().iter();
            Ok(dates.map(|date| date.map(i64::from)).collect())
        }
        _ => times(values, DAY_US),
    }
}

/// Whole units since 1970.
fn times(values: &ArrayRef, unit_us: i64) -> Result<Int64Array> {
    if !matches!(
        values.data_type(),
        DataType::Timestamp(TimeUnit::Microsecond, _)
    ) {
        return Err(ClosedTableError::Unsupported {
            message: format!("values of type {} are no times", values.data_type()),
        });
    }
    let times = values.as_primitive::<TimestampMicrosecondType>().iter();
    Ok(times
        .map(|time| time.map(|us| us.div_euclid(unit_us)))
        .collect())
}

/// Year and month (1 to 12) of a day since 1970, in the Gregorian calendar: Howard Hinnant's `civil_from_days`.
fn year_month(day: i64) -> (i64, i64) {
    // Eras of 400 years that begin with March.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year_of_era + era * 400 + next, month)
}

/// Tells which partition rows are of, as they are written.
pub(super) struct Partitioner {
    fields: Vec<PartitionField>,
    /// For each of them the column in files.
    columns: Vec<Field>,
    converter: RowConverter,
    current: Option<OwnedRow>,
}

/// Rows that follow each other and are of one partition.
pub(super) struct Stretch {
    pub(super) rows: Range<usize>,
    /// Present if they are of another partition than the rows before.
    pub(super) begins: Option<FilePartition>,
}

impl Partitioner {
    /// `None` for a table that is not divided.
    pub(super) fn new(spec: &ClosedTableSpec) -> Result<Option<Self>> {
        let fields = spec.partition.clone();
        if fields.is_empty() {
            return Ok(None);
        }
        let columns = partition_columns(spec)?;
        let sorts = fields.iter().zip(&columns).map(|(field, column)| {
            SortField::new(match field.transform {
                Transform::Identity => column.data_type().clone(),
                _ => DataType::Int64,
            })
        });
        Ok(Some(Self {
            converter: RowConverter::new(sorts.collect())?,
            columns,
            fields,
            current: None,
        }))
    }

    /// The columns that tell the rows' partitions.
    pub(super) fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let fields = self.fields.iter().zip(&self.columns);
        fields
            .map(|(field, column)| {
                let values = rows.columns().get(field.column).ok_or_else(outside)?;
                transformed(field.transform, values, column)
            })
            .collect()
    }

    /// Cuts rows where their partition changes.
    pub(super) fn stretches(&mut self, rows: &RecordBatch) -> Result<Vec<Stretch>> {
        let values = self.values(rows)?;
        let mut stretches = Vec::new();
        for range in partition(&values)?.ranges() {
            let first: Vec<ArrayRef> = values.iter().map(|v| v.slice(range.start, 1)).collect();
            let row = self.converter.convert_columns(&first)?;
            let same = self
                .current
                .as_ref()
                .is_some_and(|known| known.row() == row.row(0));
            let begins = match same {
                true => None,
                false => {
                    self.current = Some(row.row(0).owned());
                    Some(self.described(&first)?)
                }
            };
            stretches.push(Stretch {
                rows: range,
                begins,
            });
        }
        Ok(stretches)
    }

    fn described(&self, values: &[ArrayRef]) -> Result<FilePartition> {
        let fields = self.fields.iter().zip(&self.columns).zip(values);
        let shared = fields.map(|((field, column), value)| {
            let number = value
                .as_primitive_opt::<arrow::datatypes::Int64Type>()
                .map(|numbers| Value::from(numbers.value(0)));
            let value = match number {
                _ if value.is_null(0) => Value::Null,
                Some(number) => number,
                None => {
                    let text = ArrayFormatter::try_new(value, &FormatOptions::new())?;
                    Value::from(text.value(0).try_to_string()?)
                }
            };
            Ok(SharedValue {
                column: column.name().clone(),
                transform: field.transform.to_string(),
                value,
            })
        });
        Ok(FilePartition(shared.collect::<Result<_>>()?))
    }
}

/// The columns of files that the division is by.
fn partition_columns(spec: &ClosedTableSpec) -> Result<Vec<Field>> {
    let columns = spec.partition.iter().map(|field| {
        let column = spec.columns.get(field.column).ok_or_else(outside)?;
        Ok(column.written.as_ref().clone())
    });
    columns.collect()
}

fn outside() -> ClosedTableError {
    ClosedTableError::Invalid {
        message: "partition by a column outside the table".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_and_years_follow_the_calendar() {
        for (day, expected) in [
            (0, (1970, 1)),
            (-1, (1969, 12)),
            (59, (1970, 3)),
            (11_016, (2000, 2)),
            (11_017, (2000, 3)),
            (19_782, (2024, 2)),
            (19_783, (2024, 3)),
            (-719_528, (0, 1)),
            (-719_529, (-1, 12)),
        ] {
            assert_eq!(year_month(day), expected, "{day}");
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        use arrow::array::TimestampMicrosecondArray;
        let values: ArrayRef = std::sync::Arc::new(TimestampMicrosecondArray::from(vec![
            Some(-1),
            Some(0),
            Some(HOUR_US - 1),
            Some(DAY_US),
            None,
        ]));
        let field = SqlType::Timestamp.field("at", true);
        let of = |transform| {
            let made = transformed(transform, &values, &field).unwrap();
            made.as_primitive::<arrow::datatypes::Int64Type>()
                .iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(Transform::Hour),
            [Some(-1), Some(0), Some(0), Some(24), None]
        );
        assert_eq!(
            of(Transform::Day),
            [Some(-1), Some(0), Some(0), Some(1), None]
        );
        assert_eq!(
            of(Transform::Month),
            [Some(-1), Some(0), Some(0), Some(0), None]
        );
        assert_eq!(
            of(Transform::Year),
            [Some(-1), Some(0), Some(0), Some(0), None]
        );
    }
}
