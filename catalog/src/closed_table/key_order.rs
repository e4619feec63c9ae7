//! Watching that rows come sorted by the key, and where its first column changes.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::kernels::partition::partition;
use arrow::row::{OwnedRow, RowConverter, SortField};

use super::{Layout, Result, schema};

/// Watches whether rows come in key order.
pub(super) struct KeyOrder {
    key: Vec<usize>,
    converter: RowConverter,
    /// Converter of the first key column alone.
    first: RowConverter,
    last: Option<OwnedRow>,
    last_first: Option<OwnedRow>,
    sorted: bool,
}

impl KeyOrder {
    /// Whether all rows so far came in key order.
    pub(super) fn sorted(&self) -> bool {
        self.sorted
    }

    pub(super) fn new(layout: &Layout) -> Result<Self> {
        let fields: Vec<SortField> = schema::key_fields(layout)
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        let first = fields.iter().take(1).cloned().collect();
        Ok(Self {
            key: layout.spec.key.clone(),
            converter: RowConverter::new(fields)?,
            first: RowConverter::new(first)?,
            last: None,
            last_first: None,
            sorted: true,
        })
    }

    /// The rows that follow begin a new file of other rows.
    pub(super) fn restart(&mut self) {
        self.last = None;
        self.last_first = None;
    }

    /// Takes note of the next rows.
    pub(super) fn follow(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.project(&self.key)?;
        let rows = self.converter.convert_columns(columns.columns())?;
        let count = rows.num_rows();
        let Some(end) = count.checked_sub(1) else {
            return Ok(());
        };
        let continues = self
            .last
            .as_ref()
            .is_none_or(|last| last.row() <= rows.row(0));
        self.sorted &= continues && (1..count).all(|i| rows.row(i - 1) <= rows.row(i));
        self.last = Some(rows.row(end).owned());
        let first = columns
            .columns()
            .iter()
            .take(1)
            .map(|column| column.slice(end, 1))
            .collect::<Vec<_>>();
        self.last_first = Some(self.first.convert_columns(&first)?.row(0).owned());
        Ok(())
    }

    /// The first row whose first key column differs from the row before it.
    pub(super) fn first_change(&mut self, batch: &RecordBatch) -> Result<Option<usize>> {
        let columns = batch.project(&self.key)?;
        let first: Vec<ArrayRef> = columns.columns().iter().take(1).cloned().collect();
        let rows = self.first.convert_columns(&first)?;
        if self
            .last_first
            .as_ref()
            .is_some_and(|last| last.row() != rows.row(0))
        {
            return Ok(Some(0));
        }
        Ok(partition(&first)?.ranges().get(1).map(|range| range.start))
    }
}
