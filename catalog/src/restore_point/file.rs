//! A restore point's own file: what the row store held at the point and no other file has.
//!
//! Parquet, three columns: `kind` (below), `key` (a row key), `value` (a row value, for fresh rows). Written once, flushed,
//! never changed.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type};
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::sync::mpsc;

use crate::catalog::points_folder;
use crate::columnar_store::ColumnarStore;
use crate::definitions::StorageId;
use crate::error::{CatalogError, Result};
use crate::row_codec::Bytes;
use crate::row_store::{FRESH_ROW, FRESH_TOMBSTONE, Space, StoreSnapshot};

/// Rows collected before they are written.
const BATCH_ROWS: usize = 8_192;

/// Batches that wait to be written.
const BATCHES_WAITING_MAX: usize = 2;

/// The key's row is `value`.
const KIND_ROW: u8 = 0;
/// The key has no open row.
const KIND_TOMBSTONE: u8 = 1;
/// The key's closed row is no longer the truth.
const KIND_SHADOW: u8 = 2;

/// What the file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Keys and values of fresh rows.
    pub rows: (Vec<Bytes>, Vec<Bytes>),
    /// Keys that were deleted.
    pub deleted: Vec<Bytes>,
    /// Keys in the shadow of the closed table.
    pub shadow: Vec<Bytes>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("kind", DataType::UInt8, false),
        Field::new("key", DataType::Binary, false),
        Field::new("value", DataType::Binary, true),
    ]))
}

/// Entries that wait to be written.
#[derive(Default)]
struct Pending {
    kinds: Vec<u8>,
    keys: Vec<fjall::Slice>,
    values: Vec<Option<fjall::Slice>>,
}

impl Pending {
    fn push(&mut self, kind: u8, key: fjall::Slice, value: Option<fjall::Slice>) {
        self.kinds.push(kind);
        self.keys.push(key);
        self.values.push(value);
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let Self {
            kinds,
            keys,
            values,
        } = std::mem::take(self);
        let keys: BinaryArray = keys.iter().map(|key| Some(&**key)).collect();
        // The first byte only says that a row follows.
        let values: BinaryArray = values
            .iter()
            .map(|value| value.as_ref().and_then(|value| value.get(1..)))
            .collect();
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(UInt8Array::from(kinds)),
            Arc::new(keys),
            Arc::new(values),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

/// What goes into the file of a point.
pub(super) struct Entries<F> {
    /// The row store at the point.
    pub snapshot: StoreSnapshot,
    /// The table's rows.
    pub storage: StorageId,
    /// Which fresh keys are in no other file.
    pub unoffloaded: F,
}

impl<F: Fn(&[u8]) -> bool> Entries<F> {
    /// Hands them out in batches, until nobody takes them any more. Blocks.
    fn hand_out(&self, batches: &mpsc::Sender<RecordBatch>) -> Result<()> {
        let mut pending = Pending::default();
        for entry in self.snapshot.range(Space::Fresh(self.storage), ..)? {
            let (key, value) = entry.into_inner()?;
            if !(self.unoffloaded)(&key) {
                continue;
            }
            match value.first() {
                Some(&FRESH_ROW) => pending.push(KIND_ROW, key, Some(value)),
                Some(&FRESH_TOMBSTONE) => pending.push(KIND_TOMBSTONE, key, None),
                _ => return Err(CatalogError::corrupted("fresh row of an unknown kind")),
            }
            if pending.keys.len() >= BATCH_ROWS && batches.blocking_send(pending.take()?).is_err() {
                return Ok(());
            }
        }
        for entry in self.snapshot.range(Space::ShadowClosed(self.storage), ..)? {
            pending.push(KIND_SHADOW, entry.key()?, None);
            if pending.keys.len() >= BATCH_ROWS && batches.blocking_send(pending.take()?).is_err() {
                return Ok(());
            }
        }
        // Whoever does not take the last one has failed, and says so.
        drop(batches.blocking_send(pending.take()?));
        Ok(())
    }
}

/// Writes the file; it lasts when this returns. On an error there is none.
pub(super) async fn write<F>(store: &ColumnarStore, file: &str, entries: Entries<F>) -> Result<()>
where
    F: Fn(&[u8]) -> bool + Send + 'static,
{
    let folder = points_folder(entries.storage);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let sink = store.writer(&folder, file);
    let mut writer = AsyncArrowWriter::try_new(sink, schema(), Some(properties))?;
    let (sender, mut batches) = mpsc::channel(BATCHES_WAITING_MAX);
    // The row store is read by blocking calls.
    let reading = tokio::task::spawn_blocking(move || entries.hand_out(&sender));
    let written = async {
        while let Some(batch) = batches.recv().await {
            writer.write(&batch).await?;
        }
        reading
            .await
            .map_err(|error| CatalogError::internal(format!("restore point: {error}")))??;
        writer.finish().await?;
        Ok(())
    }
    .await;
    match written {
        Ok(()) => store.flush(&folder, file).await,
        Err(error) => {
            if let Err(error) = writer.into_inner().abort().await {
                tracing::debug!(file, %error, "incomplete file was not dropped");
            }
            Err(error)
        }
    }
}

/// Reads the file.
pub(super) async fn read(store: &ColumnarStore, storage: StorageId, file: &str) -> Result<Content> {
    let bytes = store.read(&points_folder(storage), file).await?;
    let decoded = tokio::task::spawn_blocking(move || decode(bytes)).await;
    decoded.map_err(|error| CatalogError::internal(format!("restore point: {error}")))?
}

fn decode(file: bytes::Bytes) -> Result<Content> {
    let mut content = Content::default();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
    for batch in reader {
        let batch = batch?;
        let wrong = || CatalogError::corrupted("a restore point has other columns");
        let [kinds, keys, values] = batch.columns() else {
            return Err(wrong());
        };
        let kinds = kinds.as_primitive_opt::<UInt8Type>().ok_or_else(wrong)?;
        let keys = keys.as_binary_opt::<i32>().ok_or_else(wrong)?;
        let values = values.as_binary_opt::<i32>().ok_or_else(wrong)?;
        for ((kind, key), value) in kinds.iter().zip(keys).zip(values) {
            let key = Bytes::from(key.ok_or_else(wrong)?);
            match (kind, value) {
                (Some(KIND_ROW), Some(value)) => {
                    content.rows.0.push(key);
                    content.rows.1.push(Bytes::from(value));
                }
                (Some(KIND_TOMBSTONE), None) => content.deleted.push(key),
                (Some(KIND_SHADOW), None) => content.shadow.push(key),
                _ => return Err(wrong()),
            }
        }
    }
    Ok(content)
}
