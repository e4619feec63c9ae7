//! Every type a closed table can have, through Delta and back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::{Fixture, files_read, number, query, session};
use crate::types::SqlType;

fn list(sql_type: &SqlType, values: ArrayRef) -> ArrayRef {
    let DataType::List(item) = SqlType::Array(Box::new(sql_type.clone())).arrow_type() else {
        panic!("an array is a list");
    };
    let offsets = OffsetBuffer::new(vec![0, 2, 2, 3].into());
    let valid = vec![true, false, true].into();
    Arc::new(ListArray::try_new(item, offsets, values, Some(valid)).expect("a list"))
}

fn decimals(sql_type: &SqlType, values: [Option<i128>; 3]) -> ArrayRef {
    let DataType::Decimal128(precision, scale) = sql_type.arrow_type() else {
        panic!("a numeric is a decimal");
    };
    let array = Decimal128Array::from_iter(values);
    Arc::new(
        array
            .with_precision_and_scale(precision, scale)
            .expect("fits"),
    )
}

/// A key and one column of each type: a large value, a null, a small value.
fn all_types() -> RecordBatch {
    let big = 10_i128.pow(38) - 1;
    let text =
        |values: [Option<&str>; 3]| -> ArrayRef { Arc::new(StringViewArray::from_iter(values)) };
    let times = || TimestampMicrosecondArray::from(vec![Some(i64::MAX), None, Some(-1)]);
    let long = "ä".repeat(100);
    let columns: Vec<(SqlType, ArrayRef)> = vec![
        (SqlType::Int8, Arc::new(Int64Array::from(vec![1, 2, 3]))),
        (
            SqlType::Bool,
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            SqlType::Int2,
            Arc::new(Int16Array::from(vec![Some(i16::MAX), None, Some(i16::MIN)])),
        ),
        (
            SqlType::Int4,
            Arc::new(Int32Array::from(vec![Some(i32::MAX), None, Some(i32::MIN)])),
        ),
        (
            SqlType::Int8,
            Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(i64::MIN)])),
        ),
        (
            SqlType::Float4,
            Arc::new(Float32Array::from(vec![Some(f32::MAX), None, Some(-0.1)])),
        ),
        (
            SqlType::Float8,
            Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(1.5)])),
        ),
        (SqlType::Text, text([Some(&long), None, Some("")])),
        (
            SqlType::Varchar(Some(20)),
            text([Some("v"), None, Some("w")]),
        ),
        (SqlType::Bpchar(Some(3)), text([Some("b"), None, Some("c")])),
        (
            SqlType::Uuid,
            text([
                Some("7b1c6b0e-5f0e-4b43-9c61-0d2c1ab7f3ad"),
                None,
                Some("a"),
            ]),
        ),
        (
            SqlType::Json,
            text([Some("{\"a\": 1}"), None, Some("null")]),
        ),
        (SqlType::Jsonb, text([Some("{}"), None, Some("[1]")])),
        (
            SqlType::Bytea,
            Arc::new(BinaryViewArray::from_iter([
                Some(&[0_u8, 255][..]),
                None,
                Some(&[]),
            ])),
        ),
        (
            SqlType::Date,
            Arc::new(Date32Array::from(vec![
                Some(2_932_897),
                None,
                Some(-719_163),
            ])),
        ),
        (SqlType::Timestamp, Arc::new(times())),
        (SqlType::Timestamptz, Arc::new(times().with_timezone("UTC"))),
        (
            SqlType::Array(Box::new(SqlType::Int4)),
            list(
                &SqlType::Int4,
                Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])),
            ),
        ),
        (
            SqlType::Array(Box::new(SqlType::Text)),
            list(&SqlType::Text, text([Some("x"), None, Some("")])),
        ),
        (
            SqlType::Array(Box::new(SqlType::Jsonb)),
            list(&SqlType::Jsonb, text([Some("1"), None, Some("2")])),
        ),
    ];
    let numerics = [
        (SqlType::Numeric(None), [Some(big), None, Some(-big)]),
        (
            SqlType::Numeric(Some((9, 2))),
            [Some(999_999_999), None, Some(-1)],
        ),
        (
            SqlType::Numeric(Some((18, 0))),
            [Some(10_i128.pow(18) - 1), None, Some(-1)],
        ),
        (
            SqlType::Numeric(Some((38, 38))),
            [Some(big), None, Some(-big)],
        ),
    ];
    let numerics = numerics.into_iter().map(|(ty, values)| {
        let array = decimals(&ty, values);
        (ty, array)
    });
    let columns: Vec<(SqlType, ArrayRef)> = columns.into_iter().chain(numerics).collect();
    let fields: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(index, (ty, _))| ty.field(&format!("c{index}"), index != 0))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

#[tokio::test]
async fn all_types_come_back() {
    let rows = all_types();
    let schema: SchemaRef = rows.schema();
    let fixture = Fixture::new(schema.clone(), vec![0]).await;
    let version = fixture.append(1, rows.clone()).await;
    for pushdown in [false, true] {
        let context = session(&version, &schema, pushdown);
        let (found, plan) = query(&context, "select * from t").await;
        assert_eq!(found.schema(), schema, "{plan}");
        for (index, field) in schema.fields().iter().enumerate() {
            // NaN is not equal to itself; its printed form is.
            let (found, expected) = (found.column(index), rows.column(index));
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{field}");
        }
        for column in 1..schema.fields().len() {
            let sql = format!("select count(*) from t where c{column} is null");
            assert_eq!(number(&context, &sql).await, 1, "c{column}");
        }
    }
    // A rewrite reads and writes all of it once more.
    let keys = rows.project(&[0]).expect("projected").slice(1, 1);
    let rewrite = fixture
        .table
        .rewrite_without(&version, &keys)
        .await
        .expect("rewritten");
    let version = fixture
        .table
        .commit(&version, "test", 2, Vec::new(), Some(rewrite))
        .await;
    let version = fixture
        .table
        .at_version(version.expect("committed"))
        .await
        .expect("loaded");
    let context = session(&version, &schema, false);
    let (found, _) = query(&context, "select * from t").await;
    let expected = arrow::compute::concat(&[
        rows.column(18).slice(0, 1).as_ref(),
        rows.column(18).slice(2, 1).as_ref(),
    ]);
    assert_eq!(found.column(18), &expected.expect("two rows"));
}

#[tokio::test]
async fn bounds_of_difficult_values_hold() {
    let rows = all_types();
    let schema = rows.schema();
    let fixture = Fixture::new(schema.clone(), vec![0]).await;
    let version = fixture.append(1, rows).await;
    let context = session(&version, &schema, true);
    let found = [
        // NaN is above all numbers.
        "c6 > 1e300",
        "c4 = 9223372036854775807",
        "c3 <= -2147483648",
        "c7 > 'ääää'",
        "c15 > arrow_cast('9999-01-01', 'Timestamp(Microsecond, None)')",
        "c5 > 3e38",
        "c20 > cast('9999999999999999999999999999' as decimal(28, 0))",
        "c14 > date '9999-01-01'",
    ];
    for filter in found {
        let sql = format!("select count(*) from t where {filter}");
        assert_eq!(number(&context, &sql).await, 1, "{filter}");
    }
    let excluded = [
        "c5 < -1",
        "c9 > 'd'",
        "c22 > 999999999999999999",
        "c21 > 9999999.99",
    ];
    for filter in excluded {
        let (_, plan) = query(&context, &format!("select c0 from t where {filter}")).await;
        assert_eq!(files_read(&plan), 0, "{filter}: {plan}");
    }
}
