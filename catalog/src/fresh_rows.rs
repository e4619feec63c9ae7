//! The fresh rows of tables as columns, kept between statements.
//!
//! Every scan of a table with a snapshot needs its fresh rows. They are few beside the snapshot's, yet to decode them
//! from the row store takes longer than to read the snapshot's columns. So a table's fresh rows are decoded once, all columns
//! of them, and kept as a [`Base`] of one commit sequence number; the shadow log tells which keys were written since.
//!
//! ```text
//! fresh rows at csn S = rows of a base of csn <= S, minus the keys written since or by the transaction itself
//!                     + the rows that these keys have now, from the row store
//! ```
//!
//! A base is made anew when a good part of it was overwritten. A statement that is older than the base, one whose
//! fresh rows are too many to keep, or one that cannot know what was written reads the row store.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::definitions::{StorageId, Table};
use crate::error::{CatalogError, Result};
use crate::key_range::KeyRange;
use crate::open_table::{OpenScanExec, RowSource, key_ordering};
use crate::row_codec::Bytes;
use crate::shadow_log::ShadowLog;
use crate::transaction::ReadView;

mod scan;

use scan::FreshScanExec;

/// Memory for the fresh rows of all tables.
const BASES_BYTES_MAX: u64 = 512 << 20;

/// Tables whose fresh rows are expected to be kept, which sizes the cache.
const TABLES_EXPECTED: usize = 64;

/// Keys up to which fresh rows are kept.
const BASE_KEYS_MAX: usize = 1_000_000;

/// Keys written since a base was made, up to which it is used; more are allowed for a large base.
const LATE_KEYS_MAX: usize = 2_048;

/// Part of a base's rows that may be late.
const LATE_PART_MAX: usize = 8;

/// The fresh rows of one table at one commit sequence number.
struct Base {
    /// As whose rows they were decoded.
    table: Arc<Table>,
    csn: u64,
    rows: usize,
    chunks: Vec<Chunk>,
    bytes: u64,
}

/// Rows in key order, all columns.
struct Chunk {
    keys: Vec<Bytes>,
    rows: RecordBatch,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<StorageId, Arc<Base>> for ByBytes {
    fn weight(&self, _: &StorageId, base: &Arc<Base>) -> u64 {
        base.bytes
    }
}

/// The bases of all tables.
pub(crate) struct FreshRows {
    bases: Cache<StorageId, Arc<Base>, ByBytes>,
}

impl FreshRows {
    pub(crate) fn new() -> Self {
        Self {
            bases: Cache::with_weighter(TABLES_EXPECTED, BASES_BYTES_MAX, ByBytes),
        }
    }

    /// Plans that read the fresh rows of a key range; `None` if the row store has to be scanned.
    pub(crate) async fn scan(
        &self,
        view: &ReadView,
        table: &Arc<Table>,
        log: &ShadowLog,
        projection: &[usize],
        range: &KeyRange,
    ) -> Result<Option<Vec<Arc<dyn ExecutionPlan>>>> {
        let KeyRange::Range(start, end) = range else {
            return Ok(None);
        };
        if log.len(view.csn) > BASE_KEYS_MAX {
            return Ok(None);
        }
        let storage = table.def.storage;
        let known = self.bases.get(&storage);
        if known.as_ref().is_some_and(|base| base.csn > view.csn) {
            return Ok(None);
        }
        let usable = known.and_then(|base| {
            let same = Arc::ptr_eq(&base.table, table) || base.table.def == table.def;
            if !same {
                return None;
            }
            let written = log.written_between(base.csn, view.csn)?;
            let few = written.len() <= LATE_KEYS_MAX.max(base.rows / LATE_PART_MAX);
            few.then_some((base, written))
        });
        let (base, written) = match usable {
            Some(found) => found,
            None => {
                let base = Arc::new(Base::read(view, table).await?);
                self.bases.insert(storage, Arc::clone(&base));
                (base, Vec::new())
            }
        };
        let mut late: BTreeSet<Bytes> = written.into_iter().collect();
        late.extend(view.own_keys(table));
        let schema = table.codec.projected_schema(projection)?;
        let mut batches = Vec::with_capacity(base.chunks.len());
        for chunk in &base.chunks {
            batches.extend(chunk.rows_of(start, end, &late, projection)?);
        }
        let mut sides: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if !batches.is_empty() {
            let order = key_ordering(table, projection);
            sides.push(Arc::new(FreshScanExec::new(batches, schema, order)));
        }
        if !late.is_empty() {
            let late = late.into_iter().filter(|key| holds(start, end, key));
            let late = KeyRange::Keys(late.collect());
            let (view, table) = (view.clone(), Arc::clone(table));
            let columns = projection.to_vec();
            sides.push(Arc::new(OpenScanExec::new(
                view,
                table,
                RowSource::Fresh,
                columns,
                late,
                None,
            )?));
        }
        Ok(Some(sides))
    }
}

impl Base {
    /// The fresh rows at a view, without what its transaction wrote.
    async fn read(view: &ReadView, table: &Arc<Table>) -> Result<Self> {
        let view = view.without_own_writes();
        let csn = view.csn;
        let columns = (0..table.schema.fields().len()).collect();
        let context = view.catalog.session().task_ctx();
        let range = KeyRange::all();
        let scan = OpenScanExec::new(
            view,
            Arc::clone(table),
            RowSource::Fresh,
            columns,
            range,
            None,
        )?;
        let mut rows = scan.execute(0, context)?;
        let mut base = Self {
            table: Arc::clone(table),
            csn,
            rows: 0,
            chunks: Vec::new(),
            bytes: 0,
        };
        while let Some(batch) = rows.try_next().await? {
            let keys = table.codec.encode_keys(&table.codec.project_key(&batch)?)?;
            let key_bytes: usize = keys.iter().map(|key| key.len() + size_of::<Bytes>()).sum();
            base.bytes += (key_bytes + batch.get_array_memory_size()) as u64;
            base.rows += batch.num_rows();
            base.chunks.push(Chunk { keys, rows: batch });
        }
        Ok(base)
    }
}

impl Chunk {
    /// Columns of the rows within a range, without those of late keys; `None` if there are none.
    fn rows_of(
        &self,
        start: &Bound<Vec<u8>>,
        end: &Bound<Vec<u8>>,
        late: &BTreeSet<Bytes>,
        projection: &[usize],
    ) -> Result<Option<RecordBatch>> {
        let from = match start {
            Bound::Included(start) => self.keys.partition_point(|key| **key < **start),
            Bound::Excluded(start) => self.keys.partition_point(|key| **key <= **start),
            Bound::Unbounded => 0,
        };
        let to = match end {
            Bound::Included(end) => self.keys.partition_point(|key| **key <= **end),
            Bound::Excluded(end) => self.keys.partition_point(|key| **key < **end),
            Bound::Unbounded => self.keys.len(),
        };
        let keys = match self.keys.get(from..to) {
            Some(keys) if !keys.is_empty() => keys,
            _ => return Ok(None),
        };
        let rows = self.rows.project(projection)?.slice(from, keys.len());
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return Ok(None);
        };
        let mut stays = Vec::new();
        for key in late.range::<[u8], _>((Bound::Included(&**first), Bound::Included(&**last))) {
            if let Ok(at) = keys.binary_search(key) {
                stays.resize(keys.len(), true);
                if let Some(stays) = stays.get_mut(at) {
                    *stays = false;
                }
            }
        }
        if stays.is_empty() {
            return Ok(Some(rows));
        }
        let rows =
            filter_record_batch(&rows, &BooleanArray::from(stays)).map_err(CatalogError::from)?;
        Ok((rows.num_rows() > 0).then_some(rows))
    }
}

fn holds(start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    let above = match start {
        Bound::Included(start) => **start <= *key,
        Bound::Excluded(start) => **start < *key,
        Bound::Unbounded => true,
    };
    let below = match end {
        Bound::Included(end) => *key <= **end,
        Bound::Excluded(end) => *key < **end,
        Bound::Unbounded => true,
    };
    above && below
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn chunk() -> Chunk {
        let schema = Schema::new(vec![Field::new("n", DataType::Int32, false)]);
        let numbers = Int32Array::from_iter_values(0..10);
        Chunk {
            keys: (0u8..10).map(|key| Bytes::from([key].as_slice())).collect(),
            rows: RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers)]).unwrap(),
        }
    }

    fn numbers(start: Bound<u8>, end: Bound<u8>, late: &[u8]) -> Vec<i32> {
        let late = late.iter().map(|key| Bytes::from([*key].as_slice()));
        let (start, end) = (start.map(|key| vec![key]), end.map(|key| vec![key]));
        let rows = chunk()
            .rows_of(&start, &end, &late.collect(), &[0])
            .unwrap();
        rows.map_or_else(Vec::new, |rows| {
            let numbers = rows.column(0).as_any().downcast_ref::<Int32Array>();
            numbers.unwrap().values().to_vec()
        })
    }

    #[test]
    fn late_keys_and_those_outside_the_range_are_left_out() {
        use Bound::{Excluded, Included, Unbounded};
        assert_eq!(
            numbers(Unbounded, Unbounded, &[]),
            (0..10).collect::<Vec<_>>()
        );
        assert_eq!(numbers(Included(3), Excluded(6), &[]), [3, 4, 5]);
        assert_eq!(numbers(Excluded(3), Included(6), &[5, 9, 77]), [4, 6]);
        assert_eq!(numbers(Included(8), Unbounded, &[8, 9]), [0; 0]);
        assert_eq!(numbers(Included(20), Unbounded, &[]), [0; 0]);
    }
}
