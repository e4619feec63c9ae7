//! What a row costs where rows become bytes and come back, and where shadowed rows are taken out of a scan's batches.
//!
//! `make bench-micro` runs it. The time of a row is the median divided by the rows, which are the benchmark's argument.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nyala_catalog::closed_table::{LeftOutRows, without};
use nyala_catalog::definitions::{ColumnDef, OnCommit, PrimaryKeyDef, Schedules, Table, TableDef};
use nyala_catalog::types::SqlType;
use roaring::RoaringBitmap;

fn main() {
    divan::main();
}

/// A lookup's row, a small statement's, and a batch of a scan.
const ROWS: [usize; 3] = [1, 64, 8_192];

/// Rows of a batch of a scan.
const BATCH_ROWS: usize = 8_192;

/// A table of eight columns. The key is the first one, or the first two.
fn table(key: &[usize]) -> Table {
    let numeric = SqlType::of_arrow(&DataType::Decimal128(12, 2));
    let columns = [
        ("id", SqlType::Int8),
        ("name", SqlType::Text),
        ("region", SqlType::Int4),
        ("balance", numeric),
        ("rate", SqlType::Float8),
        ("active", SqlType::Bool),
        ("day", SqlType::Date),
        ("at", SqlType::Timestamptz),
    ];
    let columns = columns
        .into_iter()
        .enumerate()
        .map(|(at, (name, ty))| ColumnDef {
            not_null: key.contains(&at),
            ..ColumnDef::new(name, ty)
        });
    let def = TableDef {
        oid: 1,
        schema: 2,
        name: "measured".to_string(),
        owner: 10,
        storage: 1,
        columns: columns.collect(),
        primary_key: Some(PrimaryKeyDef {
            constraint_oid: 3,
            index_oid: 4,
            name: "measured_pkey".to_string(),
            columns: key.to_vec(),
        }),
        closing: None,
        schedules: Schedules::default(),
        retention_s: None,
        history: None,
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        on_commit: OnCommit::default(),
        materialized: None,
    };
    Table::new(def).expect("a table")
}

/// Rows of the table, with a NULL in one of ten.
fn batch(table: &Table, rows: usize) -> RecordBatch {
    let count = i64::try_from(rows).expect("few rows");
    let some = |row: i64| row % 10 != 0;
    let names = (0..count).map(|row| format!("customer number {row}"));
    let small = |row: i64| i32::try_from(row % 50).expect("small");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..count)),
        Arc::new(StringViewArray::from_iter_values(names)),
        Arc::new(Int32Array::from_iter(
            (0..count).map(|row| some(row).then_some(small(row))),
        )),
        Arc::new(
            Decimal128Array::from_iter_values((0..count).map(|row| i128::from(row) * 101))
                .with_precision_and_scale(12, 2)
                .expect("a scale"),
        ),
        Arc::new(Float64Array::from_iter_values(
            (0..count).map(|row| row as f64 / 7.0),
        )),
        Arc::new(BooleanArray::from_iter(
            (0..count).map(|row| Some(row % 3 == 0)),
        )),
        Arc::new(Date32Array::from_iter(
            (0..count).map(|row| some(row).then_some(19_000 + small(row))),
        )),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values((0..count).map(|row| row * 1_000_003))
                .with_data_type(table.schema.field(7).data_type().clone()),
        ),
    ];
    RecordBatch::try_new(Arc::clone(&table.schema), columns).expect("rows of the table")
}

mod row_codec {
    use super::{Bencher, ItemsCount, ROWS, batch, black_box, table};

    /// Keys of one column.
    #[divan::bench(args = ROWS)]
    fn encode_keys(bencher: Bencher<'_, '_>, rows: usize) {
        encode(bencher, &[0], rows);
    }

    /// Keys of a number and a text.
    #[divan::bench(args = ROWS)]
    fn encode_keys_of_two_columns(bencher: Bencher<'_, '_>, rows: usize) {
        encode(bencher, &[0, 1], rows);
    }

    fn encode(bencher: Bencher<'_, '_>, key: &[usize], rows: usize) {
        let table = table(key);
        let addresses = table.codec.project_key(&batch(&table, rows)).expect("keys");
        bencher.counter(ItemsCount::new(rows)).bench_local(|| {
            table
                .codec
                .encode_keys(black_box(&addresses))
                .expect("bytes")
        });
    }

    /// Values of seven columns.
    #[divan::bench(args = ROWS)]
    fn encode_values(bencher: Bencher<'_, '_>, rows: usize) {
        let table = table(&[0]);
        let batch = batch(&table, rows);
        bencher
            .counter(ItemsCount::new(rows))
            .bench_local(|| table.codec.encode_values(black_box(&batch)).expect("bytes"));
    }

    /// All eight columns.
    #[divan::bench(args = ROWS)]
    fn decode_all(bencher: Bencher<'_, '_>, rows: usize) {
        decode(bencher, &[0, 1, 2, 3, 4, 5, 6, 7], rows);
    }

    /// A key column and one other.
    #[divan::bench(args = ROWS)]
    fn decode_two(bencher: Bencher<'_, '_>, rows: usize) {
        decode(bencher, &[0, 3], rows);
    }

    /// Nothing but the key.
    #[divan::bench(args = ROWS)]
    fn decode_key(bencher: Bencher<'_, '_>, rows: usize) {
        decode(bencher, &[0], rows);
    }

    fn decode(bencher: Bencher<'_, '_>, projection: &[usize], rows: usize) {
        let table = table(&[0]);
        let batch = batch(&table, rows);
        let addresses = table.codec.project_key(&batch).expect("keys");
        let keys = table.codec.encode_keys(&addresses).expect("bytes");
        let values = table.codec.encode_values(&batch).expect("bytes");
        bencher.counter(ItemsCount::new(rows)).bench_local(|| {
            let decoded = table
                .codec
                .decode(projection, black_box(&keys), black_box(&values));
            decoded.expect("rows")
        });
    }
}

mod left_out {
    use super::{
        Arc, BATCH_ROWS, Bencher, DataType, Field, Int64Array, ItemsCount, LeftOutRows,
        RecordBatch, RoaringBitmap, Schema, UInt32Array, batch, black_box, table, without,
    };

    /// Rows in a thousand that are left out.
    const SHARES: [u32; 4] = [0, 1, 10, 100];

    /// A batch that is one stretch of a file, as nearly all are.
    #[divan::bench(args = SHARES)]
    fn of_one_stretch(bencher: Bencher<'_, '_>, share: u32) {
        leave_out(bencher, share, 1);
    }

    /// A batch that the reader has skipped pages in.
    #[divan::bench(args = SHARES)]
    fn of_several_stretches(bencher: Bencher<'_, '_>, share: u32) {
        leave_out(bencher, share, 2);
    }

    /// Every `step`th row of a file is in the batch, of which `share` in a thousand go.
    fn leave_out(bencher: Bencher<'_, '_>, share: u32, step: usize) {
        let batch = with_places(step);
        let last = u32::try_from(BATCH_ROWS * step).expect("few rows");
        let gone = (0..last).filter(|row| row.wrapping_mul(2_654_435_761) % 1_000 < share);
        let gone: RoaringBitmap = gone.collect();
        let left_out: LeftOutRows = vec![None, Some(Arc::new(gone))];
        bencher
            .counter(ItemsCount::new(BATCH_ROWS))
            .with_inputs(|| batch.clone())
            .bench_local_values(|batch| without(batch, black_box(&left_out)).expect("rows"));
    }

    fn with_places(step: usize) -> RecordBatch {
        let batch = batch(&table(&[0]), BATCH_ROWS);
        let rows = (0..BATCH_ROWS * step).step_by(step);
        let rows = rows.map(|row| i64::try_from(row).expect("few rows"));
        let mut fields = batch.schema().fields().to_vec();
        fields.push(Arc::new(Field::new("$file", DataType::UInt32, false)));
        fields.push(Arc::new(Field::new("$row", DataType::Int64, false)));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt32Array::from(vec![1; BATCH_ROWS])));
        columns.push(Arc::new(Int64Array::from_iter_values(rows)));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a scan's batch")
    }
}
