//! What a row and a message cost on the wire: rows encoded as text and in binary, messages of clients cut and decoded.
//!
//! `make bench-micro` runs it. The time of a row is the median divided by the rows, which are the benchmark's argument.
//!
//! The server is a program and no library, so its sources are modules here as well: those that encode and decode, and what
//! they need.

// Most of what these modules have is for the server.
#![allow(dead_code, unused_imports)]

use std::sync::Arc;

use crate::pgwire::encode::{Format, FormatSettings, RowEncoder};
use crate::pgwire::messages::frontend::Frontend;
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::BytesMut;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nyala_catalog::types::SqlType;

#[path = "../src/error.rs"]
mod error;

#[path = "../src/pgwire"]
mod pgwire {
    pub mod append;
    pub mod encode;
    pub mod frame;
    pub mod messages {
        pub mod frontend;
    }
}

mod pg_catalog {
    /// Names of functions, as which values of `regproc` are written. No row here has any.
    pub mod procedures {
        pub struct Procedure {
            pub name: &'static str,
        }

        pub fn by_oid(_: u32) -> Option<Procedure> {
            None
        }
    }
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// The row of a lookup, and a batch of a query.
const ROWS: [usize; 2] = [1, 8_192];

/// Rows of eight columns, with a NULL in one of ten.
fn batch(rows: usize) -> RecordBatch {
    let count = i64::try_from(rows).expect("few rows");
    let some = |row: i64| row % 10 != 0;
    let names = (0..count).map(|row| format!("customer number {row}"));
    let small = |row: i64| i32::try_from(row % 50).expect("small");
    let at = SqlType::Timestamptz.field("at", true);
    let columns: [(&str, ArrayRef); 7] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..count))),
        ("name", Arc::new(StringViewArray::from_iter_values(names))),
        (
            "region",
            Arc::new(Int32Array::from_iter(
                (0..count).map(|row| some(row).then_some(small(row))),
            )),
        ),
        (
            "balance",
            Arc::new(
                Decimal128Array::from_iter_values((0..count).map(|row| i128::from(row) * 101))
                    .with_precision_and_scale(12, 2)
                    .expect("a scale"),
            ),
        ),
        (
            "rate",
            Arc::new(Float64Array::from_iter_values(
                (0..count).map(|row| row as f64 / 7.0),
            )),
        ),
        (
            "active",
            Arc::new(BooleanArray::from_iter(
                (0..count).map(|row| Some(row % 3 == 0)),
            )),
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter(
                (0..count).map(|row| some(row).then_some(19_000 + small(row))),
            )),
        ),
    ];
    let mut fields: Vec<Field> = columns
        .iter()
        .map(|(name, values)| Field::new(*name, values.data_type().clone(), true))
        .collect();
    let instants =
        TimestampMicrosecondArray::from_iter_values((0..count).map(|row| row * 1_000_003));
    let instants = instants.with_data_type(at.data_type().clone());
    fields.push(at);
    let columns = columns.into_iter().map(|(_, values)| values);
    let columns = columns.chain([Arc::new(instants) as ArrayRef]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("rows")
}

mod row_encoder {
    use super::{
        Bencher, BytesMut, Format, FormatSettings, ItemsCount, ROWS, RowEncoder, batch, black_box,
    };

    /// Eight columns as text.
    #[divan::bench(args = ROWS)]
    fn text(bencher: Bencher<'_, '_>, rows: usize) {
        encode(bencher, Format::Text, rows);
    }

    /// Eight columns in binary.
    #[divan::bench(args = ROWS)]
    fn binary(bencher: Bencher<'_, '_>, rows: usize) {
        encode(bencher, Format::Binary, rows);
    }

    /// Encodes into a buffer that keeps its room, as a connection's does.
    fn encode(bencher: Bencher<'_, '_>, format: Format, rows: usize) {
        let batch = batch(rows);
        let encoder = RowEncoder::new(&batch.schema(), &[format], FormatSettings::default());
        let encoder = encoder.expect("one format");
        let mut out = BytesMut::new();
        bencher.counter(ItemsCount::new(rows)).bench_local(|| {
            out.clear();
            let encoded = encoder.encode(black_box(&batch), 0..rows, &mut out);
            encoded.expect("values that fit");
            black_box(out.len())
        });
    }
}

mod messages {
    use super::{Bencher, BytesMut, Frontend, ItemsCount, black_box, pgwire};

    /// Cycles of a client that are in the buffer at once.
    const CYCLES: [usize; 2] = [1, 64];

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short");
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    /// Bind with two parameters, Execute, Sync: what a prepared lookup sends.
    fn lookup() -> Vec<u8> {
        let bind =
            b"\0lookup\0\0\x01\0\x01\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\0\x05hello\0\x01\0\x01";
        let cycle = [
            message(b'B', bind),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        cycle.concat()
    }

    /// Parse, Describe and the rest: what a driver sends for a statement that it has not prepared.
    fn unprepared() -> Vec<u8> {
        let sql = b"\0SELECT id, owner, balance, note FROM accounts WHERE id = $1 AND owner = $2\0\0\x02\0\0\0\x14\0\0\0\x19";
        let cycle = [message(b'P', sql), message(b'D', b"S\0"), lookup()];
        cycle.concat()
    }

    #[divan::bench(args = CYCLES)]
    fn prepared_lookup(bencher: Bencher<'_, '_>, cycles: usize) {
        decode(bencher, &lookup(), 3, cycles);
    }

    #[divan::bench(args = CYCLES)]
    fn unprepared_statement(bencher: Bencher<'_, '_>, cycles: usize) {
        decode(bencher, &unprepared(), 5, cycles);
    }

    /// Counts messages, of which each cycle has the same number.
    fn decode(bencher: Bencher<'_, '_>, cycle: &[u8], messages: usize, cycles: usize) {
        let bytes = cycle.repeat(cycles);
        bencher
            .counter(ItemsCount::new(messages * cycles))
            .with_inputs(|| BytesMut::from(bytes.as_slice()))
            .bench_local_refs(|input| {
                let mut decoded = 0;
                while let Some(frame) = pgwire::frame::take(input).expect("whole messages") {
                    black_box(Frontend::decode(frame).expect("a message"));
                    decoded += 1;
                }
                assert_eq!(decoded, messages * cycles);
            });
    }
}
