//! What a reader holds, and where it stands after streams that were not read to their end. Positions are compared with
//! PostgreSQL's by `tests/slt/cursors.slt`.

use std::sync::Arc;

use arrow::array::{AsArray, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use tokio::sync::Mutex;

use super::{Keeping, Reader, SharedReader};
use crate::error::sqlstate;
use crate::session::cursors::lock;
use crate::sql::parse::cursors::{ALL, Direction};

/// The numbers from 1 in batches of `size`; a failure follows if `fails`.
fn numbers(count: i32, size: usize, fails: bool, keeping: Keeping) -> SharedReader {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true)]));
    let all: Vec<i32> = (1..=count).collect();
    let mut batches: Vec<_> = all
        .chunks(size)
        .map(|chunk| {
            let column = Arc::new(Int32Array::from(chunk.to_vec()));
            Ok(RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap())
        })
        .collect();
    if fails {
        batches.push(Err(DataFusionError::Execution("broken".into())));
    }
    let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches));
    Arc::new(Mutex::new(Reader::new(Box::pin(stream), keeping)))
}

async fn fetch(reader: &SharedReader, direction: Direction) -> Vec<i32> {
    let stream = Reader::rows(lock(reader, "c").unwrap(), direction).await;
    let batches: Vec<_> = stream.unwrap().try_collect().await.unwrap();
    let values = |batch: &RecordBatch| {
        batch
            .column(0)
            .as_primitive::<Int32Type>()
            .values()
            .to_vec()
    };
    batches.iter().flat_map(values).collect()
}

fn memory(bytes: usize) -> Arc<dyn MemoryPool> {
    Arc::new(GreedyMemoryPool::new(bytes))
}

#[tokio::test]
async fn a_forward_cursor_holds_one_batch() {
    let reader = numbers(10_000, 100, false, Keeping::Nothing);
    let mut stream = Reader::rows(lock(&reader, "c").unwrap(), Direction::Forward(9_950))
        .await
        .unwrap();
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await.unwrap() {
        rows += batch.num_rows();
    }
    drop(stream);
    assert_eq!(rows, 9_950);
    assert_eq!(reader.lock().await.batches.len(), 1);
    let error = reader.lock().await.go(Direction::Backward(1)).await;
    assert_eq!(error.unwrap_err().code, sqlstate::NOT_IN_PREREQUISITE_STATE);
    assert_eq!(fetch(&reader, Direction::Forward(1)).await, [9_951]);
    assert_eq!(fetch(&reader, Direction::Forward(ALL)).await.len(), 49);
    assert!(fetch(&reader, Direction::Forward(ALL)).await.is_empty());
}

#[tokio::test]
async fn a_scrolling_cursor_takes_memory_from_the_pool() {
    let pool = memory(100_000);
    let keeping = Keeping::All(MemoryConsumer::new("c").register(&pool));
    let reader = numbers(10_000, 100, false, keeping);
    assert_eq!(fetch(&reader, Direction::Absolute(-3)).await, [9_998]);
    assert_eq!(fetch(&reader, Direction::Backward(2)).await, [9_997, 9_996]);
    assert!(pool.reserved() >= 40_000);
    drop(reader);
    assert_eq!(pool.reserved(), 0);

    let pool = memory(10_000);
    let keeping = Keeping::All(MemoryConsumer::new("c").register(&pool));
    let reader = numbers(10_000, 100, false, keeping);
    let error = reader.lock().await.go(Direction::Forward(ALL)).await;
    assert_eq!(error.unwrap_err().code, sqlstate::OUT_OF_MEMORY);
}

#[tokio::test]
async fn a_cursor_that_was_not_told_to_scroll_does_while_it_is_small() {
    let pool = memory(100 << 20);
    let few = || Keeping::Few(MemoryConsumer::new("c").register(&pool));
    let small = numbers(1_000, 100, false, few());
    assert_eq!(fetch(&small, Direction::Absolute(-1)).await, [1_000]);
    let large = numbers(1_000_000, 10_000, false, few());
    assert_eq!(fetch(&large, Direction::Forward(2)).await, [1, 2]);
    assert_eq!(fetch(&large, Direction::Backward(1)).await, [1]);
    assert_eq!(
        large
            .lock()
            .await
            .go(Direction::Forward(900_000))
            .await
            .unwrap(),
        900_000
    );
    assert_eq!(large.lock().await.batches.len(), 1);
    assert!(large.lock().await.go(Direction::Backward(1)).await.is_err());
}

#[tokio::test]
async fn a_dropped_fetch_has_moved_the_cursor_all_the_same() {
    let reader = numbers(1_000, 10, false, Keeping::Nothing);
    let mut stream = Reader::rows(lock(&reader, "c").unwrap(), Direction::Forward(500))
        .await
        .unwrap();
    assert_eq!(stream.try_next().await.unwrap().unwrap().num_rows(), 10);
    // While it is read nobody else can read the cursor.
    let busy = lock(&reader, "c").map(|_| ()).unwrap_err();
    assert_eq!(busy.code, sqlstate::OBJECT_IN_USE);
    drop(stream);
    assert_eq!(fetch(&reader, Direction::Forward(1)).await, [501]);
}

#[tokio::test]
async fn a_cursor_cannot_be_read_after_a_failure() {
    let reader = numbers(100, 10, true, Keeping::Nothing);
    assert_eq!(fetch(&reader, Direction::Forward(1)).await, [1]);
    reader.lock().await.statement_failed();
    assert!(
        reader
            .lock()
            .await
            .go(Direction::Forward(ALL))
            .await
            .is_err()
    );
    reader.lock().await.statement_failed();
    let error = lock(&reader, "c").map(|_| ()).unwrap_err();
    assert_eq!(error.message, "portal \"c\" cannot be run");
}
