//! Row values of earlier layouts, decoded as the table's columns are now.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;

use super::{LAYOUT_BYTES, LayoutNumber};
use crate::error::{CatalogError, Result};
use crate::widening::widened;

/// The layout of row values that a table wrote once.
#[derive(Debug)]
pub(crate) struct ValueLayout {
    number: LayoutNumber,
    /// Types of its columns, in order.
    types: Vec<DataType>,
    /// For each value column of the table, which of the layout's columns it is.
    slots: Vec<Option<usize>>,
    /// Made when the first row of the layout is read.
    converter: OnceLock<Arc<RowConverter>>,
}

impl ValueLayout {
    /// A layout with columns of the given types; `slots` says for each value column of the table where it is in the layout.
    pub(crate) fn new(
        number: LayoutNumber,
        types: Vec<DataType>,
        slots: Vec<Option<usize>>,
    ) -> Self {
        Self {
            number,
            types,
            slots,
            converter: OnceLock::new(),
        }
    }

    /// Whether it has this number.
    pub(super) fn is(&self, number: LayoutNumber) -> bool {
        self.number == number
    }

    fn converter(&self) -> Result<Arc<RowConverter>> {
        if let Some(converter) = self.converter.get() {
            return Ok(Arc::clone(converter));
        }
        let fields = self.types.iter().cloned().map(SortField::new).collect();
        let converter = Arc::new(RowConverter::new(fields)?);
        Ok(Arc::clone(self.converter.get_or_init(|| converter)))
    }

    /// The table's value columns of rows in this layout.
    fn decode(&self, rows: &[&[u8]], columns: &Columns) -> Result<Vec<ArrayRef>> {
        let arrays = match self.slots.iter().any(Option::is_some) {
            true => {
                let converter = self.converter()?;
                let parser = converter.parser();
                converter.convert_rows(rows.iter().map(|row| parser.parse(row)))?
            }
            false => Vec::new(),
        };
        let all = self.slots.iter().zip(columns.types).zip(columns.missing);
        all.map(|((slot, data_type), missing)| match slot {
            Some(slot) => {
                let array = arrays
                    .get(*slot)
                    .ok_or_else(|| CatalogError::corrupted("row lacks a column"))?;
                Ok(widened(array, data_type)?)
            }
            None => Ok(missing.to_array_of_size(rows.len())?),
        })
        .collect()
    }
}

/// The value columns of a table.
pub(super) struct Columns<'a> {
    /// Their types.
    pub(super) types: &'a [DataType],
    /// What they have in rows that lack them.
    pub(super) missing: &'a [ScalarValue],
}

/// Cuts the layout's number off a row value.
pub(super) fn split(value: &[u8]) -> Result<(LayoutNumber, &[u8])> {
    let (layout, row) = value
        .split_first_chunk::<LAYOUT_BYTES>()
        .ok_or_else(|| CatalogError::corrupted("stored row is too short"))?;
    Ok((LayoutNumber::from_le_bytes(*layout), row))
}

/// Rows of several layouts, as columns in the order of the rows. `current` decodes those of the current layout.
pub(super) fn decode_mixed(
    rows: &[(LayoutNumber, &[u8])],
    layouts: &[ValueLayout],
    columns: &Columns,
    current: (LayoutNumber, impl Fn(&[&[u8]]) -> Result<Vec<ArrayRef>>),
) -> Result<Vec<ArrayRef>> {
    let mut groups: BTreeMap<LayoutNumber, Vec<&[u8]>> = BTreeMap::new();
    let mut places = Vec::with_capacity(rows.len());
    for (number, row) in rows {
        let group = groups.entry(*number).or_default();
        places.push((*number, group.len()));
        group.push(row);
    }
    let mut decoded = Vec::with_capacity(groups.len());
    for (number, rows) in &groups {
        decoded.push(if *number == current.0 {
            (current.1)(rows)?
        } else {
            let layout = layouts.iter().find(|layout| layout.is(*number));
            let unknown = || CatalogError::corrupted("stored row has an unknown layout");
            layout.ok_or_else(unknown)?.decode(rows, columns)?
        });
    }
    // One layout's rows are in order as they are.
    if decoded.len() == 1 {
        return Ok(decoded.swap_remove(0));
    }
    let numbers: Vec<LayoutNumber> = groups.into_keys().collect();
    let places: Vec<(usize, usize)> = places
        .into_iter()
        .filter_map(|(number, row)| Some((numbers.binary_search(&number).ok()?, row)))
        .collect();
    (0..columns.types.len())
        .map(|column| {
            let arrays: Vec<&dyn Array> = decoded
                .iter()
                .filter_map(|arrays| arrays.get(column).map(AsRef::as_ref))
                .collect();
            Ok(interleave(&arrays, &places)?)
        })
        .collect()
}
