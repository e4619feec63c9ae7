//! Rows as bytes: the layout of keys and values in the row store.
//!
//! A **key** is the arrow-row encoding of the primary key columns in key order, so that byte order is
//! key order and any leading columns' encoding is a prefix. A table without a primary key has an
//! 8-byte big-endian row number instead.
//!
//! A **value** is a two-byte little-endian layout number followed by the arrow-row encoding of the
//! columns that are not in the key, in table order. The first layout has number 1; a change of a
//! table's columns gives new rows another number, and each row is decoded by its own layout
//! ([`crate::column_history`]).
//!
//! arrow-row is used for its batch decode straight into columns; it is the only thing here that
//! knows the bytes of a column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;

use crate::column_history::ColumnHistory;
use crate::error::{CatalogError, ErrorKind, Result};

mod encoded;
mod layouts;

pub(crate) use encoded::EncodedRows;
pub(crate) use layouts::ValueLayout;
use layouts::{Columns, decode_mixed, split};

/// Name of the hidden column that addresses rows of a table without a primary key.
pub const ROW_NUMBER_COLUMN: &str = "$row_number";

/// Number of a layout of values.
pub(crate) type LayoutNumber = u16;

/// Bytes of the layout number in front of a value.
const LAYOUT_BYTES: usize = size_of::<LayoutNumber>();

/// Bytes of a row as the row store keeps them.
pub type Bytes = Box<[u8]>;

/// Encodes and decodes the rows of one table.
#[derive(Debug)]
pub struct RowCodec {
    schema: SchemaRef,
    /// `None`: the key is a row number.
    key: Option<RowConverter>,
    key_columns: Vec<usize>,
    value: RowConverter,
    value_columns: Vec<usize>,
    value_types: Vec<DataType>,
    /// Layout of the values that are written.
    layout: LayoutNumber,
    /// Layouts that stored values may have beside it.
    other_layouts: Vec<ValueLayout>,
    /// For each value column, what it has in rows of layouts without it.
    missing: Vec<ScalarValue>,
}

impl RowCodec {
    /// A codec for rows of `schema` whose key columns are at `key` (none: row numbers), and whose columns have a history.
    pub fn new(schema: &SchemaRef, key: Option<&[usize]>, history: &ColumnHistory) -> Result<Self> {
        let key_columns = key.map(<[usize]>::to_vec).unwrap_or_default();
        let value_columns: Vec<usize> = (0..schema.fields().len())
            .filter(|at| !key_columns.contains(at))
            .collect();
        let converter = |columns: &[usize]| -> Result<RowConverter> {
            let mut fields = Vec::with_capacity(columns.len());
            for at in columns {
                let field = schema
                    .fields()
                    .get(*at)
                    .ok_or_else(|| CatalogError::internal("key column outside the table"))?;
                fields.push(SortField::new(field.data_type().clone()));
            }
            RowConverter::new(fields).map_err(|error| {
                CatalogError::new(ErrorKind::Unsupported, format!("row layout: {error}"))
            })
        };
        let mut value_types = Vec::with_capacity(value_columns.len());
        let mut missing = Vec::with_capacity(value_columns.len());
        for at in &value_columns {
            let data_type = schema.field(*at).data_type();
            missing.push(history.missing(*at, data_type)?);
            value_types.push(data_type.clone());
        }
        Ok(Self {
            schema: Arc::clone(schema),
            key: key.map(converter).transpose()?,
            value: converter(&value_columns)?,
            layout: history.current_layout(),
            other_layouts: history.other_layouts(&value_columns),
            key_columns,
            value_columns,
            value_types,
            missing,
        })
    }

    /// Whether a value is in a layout that this codec knows: one that was written since by a changed table is not.
    pub fn knows_layout(&self, value: &[u8]) -> bool {
        split(value).is_ok_and(|(number, _)| {
            number == self.layout || self.other_layouts.iter().any(|layout| layout.is(number))
        })
    }

    /// Whether rows are addressed by a row number, not by columns.
    pub fn has_row_numbers(&self) -> bool {
        self.key.is_none()
    }

    /// Schema of the batches that address rows: the key columns, or the row number.
    pub fn address_schema(&self) -> SchemaRef {
        if self.has_row_numbers() {
            let field = Field::new(ROW_NUMBER_COLUMN, DataType::Int64, false);
            return Arc::new(Schema::new(vec![field]));
        }
        let fields: Vec<_> = self
            .key_columns
            .iter()
            .filter_map(|at| self.schema.fields().get(*at).cloned())
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// The address columns of full rows. Only for tables with a primary key.
    pub fn project_key(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(rows.project(&self.key_columns)?)
    }

    /// Keys from address columns, one per row.
    pub fn encode_keys(&self, addresses: &RecordBatch) -> Result<Vec<Bytes>> {
        match &self.key {
            Some(converter) => {
                let rows = converter.convert_columns(addresses.columns())?;
                Ok(rows.iter().map(|row| Bytes::from(row.as_ref())).collect())
            }
            None => {
                let numbers = addresses
                    .columns()
                    .first()
                    .and_then(|column| column.as_any().downcast_ref::<Int64Array>())
                    .ok_or_else(|| CatalogError::internal("row numbers are not bigint"))?;
                Ok(numbers
                    .values()
                    .iter()
                    .map(|number| row_number_key(*number))
                    .collect())
            }
        }
    }

    /// The key of one row from its key columns, in key order.
    pub fn encode_key(&self, columns: &[ArrayRef]) -> Result<Bytes> {
        let converter = self
            .key
            .as_ref()
            .ok_or_else(|| CatalogError::internal("table has no primary key"))?;
        let rows = converter.convert_columns(columns)?;
        if rows.num_rows() != 1 {
            return Err(CatalogError::internal("a key is one row"));
        }
        Ok(Bytes::from(rows.row(0).as_ref()))
    }

    /// The encoding of values of the leading `columns.len()` key columns: a prefix of the keys that
    /// have these values. `None` for tables without a primary key.
    pub fn encode_key_prefix(&self, columns: &[ArrayRef]) -> Result<Option<Vec<Bytes>>> {
        if self.key.is_none() {
            return Ok(None);
        }
        let fields = columns
            .iter()
            .map(|c| SortField::new(c.data_type().clone()))
            .collect();
        let rows = RowConverter::new(fields)?.convert_columns(columns)?;
        Ok(Some(
            rows.iter().map(|row| Bytes::from(row.as_ref())).collect(),
        ))
    }

    /// Values from full rows, one per row.
    pub fn encode_values(&self, rows: &RecordBatch) -> Result<Vec<Bytes>> {
        let layout = self.layout.to_le_bytes();
        if self.value_columns.is_empty() {
            return Ok(vec![Bytes::from(layout.as_slice()); rows.num_rows()]);
        }
        let columns = rows.project(&self.value_columns)?;
        let encoded = self.value.convert_columns(columns.columns())?;
        Ok(encoded
            .iter()
            .map(|row| {
                [layout.as_slice(), row.as_ref()]
                    .concat()
                    .into_boxed_slice()
            })
            .collect())
    }

    /// Full rows, or the columns of `projection` of them, from keys and values.
    ///
    /// `projection` holds positions in the table's schema; the position one past the last column is
    /// the row number. Values are not looked at when no column outside the key is asked for.
    pub fn decode<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        projection: &[usize],
        keys: &[K],
        values: &[V],
    ) -> Result<RecordBatch> {
        let rows = keys.len();
        let key_arrays = if projection.iter().any(|at| self.key_columns.contains(at)) {
            self.decode_key_columns(keys)?
        } else {
            Vec::new()
        };
        let value_arrays = if projection.iter().any(|at| self.value_columns.contains(at)) {
            self.decode_values(values)?
        } else {
            Vec::new()
        };
        let mut columns = Vec::with_capacity(projection.len());
        for at in projection {
            let array = if let Some(slot) = self.key_columns.iter().position(|c| c == at) {
                key_arrays.get(slot).cloned()
            } else if let Some(slot) = self.value_columns.iter().position(|c| c == at) {
                value_arrays.get(slot).cloned()
            } else {
                Some(self.decode_row_numbers(keys)?)
            };
            columns.push(array.ok_or_else(|| CatalogError::corrupted("row lacks a column"))?);
        }
        let schema = self.projected_schema(projection)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// Schema of what [`RowCodec::decode`] returns for `projection`.
    pub fn projected_schema(&self, projection: &[usize]) -> Result<SchemaRef> {
        let mut fields = Vec::with_capacity(projection.len());
        for at in projection {
            fields.push(match self.schema.fields().get(*at) {
                Some(field) => Arc::clone(field),
                None if self.has_row_numbers() && *at == self.schema.fields().len() => {
                    Arc::new(Field::new(ROW_NUMBER_COLUMN, DataType::Int64, false))
                }
                None => return Err(CatalogError::internal("projection outside the table")),
            });
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    fn decode_key_columns<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.key else {
            return Ok(Vec::new());
        };
        let parser = converter.parser();
        Ok(converter.convert_rows(keys.iter().map(|key| parser.parse(key.as_ref())))?)
    }

    fn decode_values<V: AsRef<[u8]>>(&self, values: &[V]) -> Result<Vec<ArrayRef>> {
        if values.is_empty() {
            let types = self.value_types.iter();
            return Ok(types
                .map(|data_type| new_null_array(data_type, 0))
                .collect());
        }
        let mut rows = Vec::with_capacity(values.len());
        for value in values {
            rows.push(split(value.as_ref())?);
        }
        let parser = self.value.parser();
        if rows.iter().all(|(layout, _)| *layout == self.layout) {
            let rows = rows.iter().map(|(_, row)| parser.parse(row));
            return Ok(self.value.convert_rows(rows)?);
        }
        let columns = Columns {
            types: &self.value_types,
            missing: &self.missing,
        };
        let current = |rows: &[&[u8]]| {
            let rows = rows.iter().map(|row| parser.parse(row));
            Ok(self.value.convert_rows(rows)?)
        };
        decode_mixed(&rows, &self.other_layouts, &columns, (self.layout, current))
    }

    fn decode_row_numbers<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<ArrayRef> {
        let numbers: Result<Vec<i64>> = keys
            .iter()
            .map(|key| {
                let bytes = key.as_ref().try_into();
                bytes
                    .map(i64::from_be_bytes)
                    .map_err(|_| CatalogError::corrupted("row number is not 8 bytes"))
            })
            .collect();
        Ok(Arc::new(Int64Array::from(numbers?)))
    }
}

/// The key of a row number. Row numbers are never negative, so byte order is number order.
pub fn row_number_key(number: i64) -> Bytes {
    Bytes::from(number.to_be_bytes().as_slice())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringViewArray};

    use super::*;
    use crate::definitions::tests::table_of;

    fn codec(schema: &SchemaRef, key: Option<&[usize]>) -> RowCodec {
        table_of(schema, key).codec
    }

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("note", DataType::Utf8View, true),
            Field::new("b", DataType::Utf8View, false),
            Field::new("a", DataType::Int32, false),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(StringViewArray::from(vec![Some("x"), None, Some("")])),
                Arc::new(StringViewArray::from(vec![
                    "p",
                    "q",
                    "a long string beyond a view",
                ])),
                Arc::new(Int32Array::from(vec![-1, 0, 7])),
            ],
        )
        .unwrap()
    }

    #[test]
    fn rows_with_a_key_come_back() {
        let batch = batch();
        let codec = codec(&batch.schema(), Some(&[2, 1]));
        let keys = codec
            .encode_keys(&codec.project_key(&batch).unwrap())
            .unwrap();
        let values = codec.encode_values(&batch).unwrap();
        assert!(keys.is_sorted(), "key order is column order");
        assert_eq!(codec.decode(&[0, 1, 2], &keys, &values).unwrap(), batch);
        let only_key = codec.decode::<_, Bytes>(&[2], &keys, &[]).unwrap();
        assert_eq!(only_key.column(0), batch.column(2));
        let counted = codec.decode::<_, Bytes>(&[], &keys, &[]).unwrap();
        assert_eq!(counted.num_rows(), 3);
    }

    #[test]
    fn leading_columns_encode_to_a_prefix() {
        let batch = batch();
        let codec = codec(&batch.schema(), Some(&[1, 2]));
        let keys = codec
            .encode_keys(&codec.project_key(&batch).unwrap())
            .unwrap();
        let prefixes = codec
            .encode_key_prefix(&[Arc::clone(batch.column(1))])
            .unwrap()
            .unwrap();
        for (key, prefix) in keys.iter().zip(&prefixes) {
            assert!(key.starts_with(prefix));
        }
    }

    #[test]
    fn rows_without_a_key_have_numbers() {
        let batch = batch();
        let codec = codec(&batch.schema(), None);
        let keys: Vec<_> = (0..3).map(row_number_key).collect();
        let values = codec.encode_values(&batch).unwrap();
        assert_eq!(codec.decode(&[0, 1, 2], &keys, &values).unwrap(), batch);
        let numbers = codec.decode(&[3], &keys, &values).unwrap();
        assert_eq!(codec.encode_keys(&numbers).unwrap(), keys);
    }

    #[test]
    fn foreign_bytes_are_an_error() {
        let codec = codec(&batch().schema(), None);
        assert!(
            codec
                .decode(&[0], &[row_number_key(1)], &[vec![9u8, 9]])
                .is_err()
        );
        assert!(codec.decode(&[3], &[vec![1u8]], &[vec![1u8, 0]]).is_err());
    }
}
