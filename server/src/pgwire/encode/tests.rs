//! Tests of output: PostgreSQL's own bytes, every Arrow representation, and nested values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array,
    DictionaryArray, DurationMillisecondArray, FixedSizeBinaryArray, Float16Array, Float32Array,
    Int8Array, Int32Array, Int32Builder, Int64Array, IntervalYearMonthArray, LargeStringArray,
    ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder, StringViewArray,
    StructArray, Time32MillisecondArray, Time32SecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt32Array, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, Schema, i256};
use bytes::BytesMut;
use nyala_catalog::types::SqlType;

use super::{EncodeError, Format, FormatSettings, RowEncoder, TextColumn};

/// Text of every row; NULL is `None`.
fn texts(array: &ArrayRef, ty: &SqlType) -> Vec<Option<String>> {
    let column = TextColumn::new(array, ty, &FormatSettings::default()).unwrap();
    (0..array.len())
        .map(|row| {
            let mut out = BytesMut::new();
            let present = column.write(row, &mut out).unwrap();
            present.then(|| String::from_utf8(out.to_vec()).unwrap())
        })
        .collect()
}

fn text(array: impl Array + 'static) -> Vec<Option<String>> {
    let array: ArrayRef = Arc::new(array);
    let ty = SqlType::of_arrow(array.data_type());
    texts(&array, &ty)
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values
        .iter()
        .map(|value| Some((*value).to_string()))
        .collect()
}

fn encode(array: ArrayRef, ty: &SqlType, format: Format) -> Result<Vec<u8>, EncodeError> {
    let field = Field::new("c", array.data_type().clone(), true).with_metadata(
        [(
            nyala_catalog::types::PG_TYPE_KEY.to_string(),
            ty.to_string(),
        )]
        .into(),
    );
    let schema = Arc::new(Schema::new(vec![field]));
    let rows = array.len();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array]).unwrap();
    let encoder = RowEncoder::new(&schema, &[format], FormatSettings::default())?;
    let mut out = BytesMut::new();
    encoder.encode(&batch, 0..rows, &mut out)?;
    Ok(out.to_vec())
}

/// Hexadecimal binary form of the only row.
fn binary(array: impl Array + 'static, ty: &SqlType) -> String {
    let message = encode(Arc::new(array), ty, Format::Binary).unwrap();
    message[11..]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn a_row_is_framed() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8, true),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int32Array::from(vec![Some(1), None, Some(-7)])),
            Arc::new(StringArray::from(vec!["x", "yz", ""])),
        ],
    )
    .unwrap();
    let formats = [Format::Binary, Format::Text];
    let encoder = RowEncoder::new(&schema, &formats, FormatSettings::default()).unwrap();
    let mut out = BytesMut::new();
    encoder.encode(&batch, 1..3, &mut out).unwrap();
    let expected: &[u8] = b"D\0\0\0\x10\0\x02\xff\xff\xff\xff\0\0\0\x02yz\
        D\0\0\0\x12\0\x02\0\0\0\x04\xff\xff\xff\xf9\0\0\0\0";
    assert_eq!(&out[..], expected);
    let error =
        RowEncoder::new(&schema, &[Format::Text; 3], FormatSettings::default()).unwrap_err();
    assert_eq!(error.sqlstate, "08P01");
    assert_eq!(
        error.message,
        "bind message has 3 result formats but query has 2 columns"
    );
}

/// Bytes as PostgreSQL's `*_send` functions give them.
#[test]
fn binary_forms_are_those_of_postgresql() {
    let numerics = [
        (0, 0, "0000000000000000"),
        (1, 0, "00010000000000000001"),
        (-15, 1, "000200004000000100011388"),
        (10_000, 0, "00010001000000000001"),
        (1, 4, "0001ffff000000040001"),
        (123_456_789_012, 4, "000300010000000404d2162e2334"),
        (0, 2, "0000000000000002"),
        (10_000, 2, "00010000000000020064"),
        (
            12_345_678_901_234_567_890_123_456_789_012_345_678,
            8,
            "000a000700000008000c0d801ed204d2162e23340d801ed204d2162e",
        ),
    ];
    for (value, scale, expected) in numerics {
        let ty = SqlType::Numeric(Some((38, scale)));
        let array = Decimal128Array::from(vec![value])
            .with_precision_and_scale(38, scale)
            .unwrap();
        assert_eq!(binary(array, &ty), expected, "{value} {scale}");
        let wide = Decimal256Array::from(vec![i256::from_i128(value)])
            .with_precision_and_scale(76, scale)
            .unwrap();
        assert_eq!(binary(wide, &ty), expected, "{value} {scale}");
    }
    let interval = IntervalMonthDayNano::new(14, 3, 14_706_789_000_000);
    let array = arrow::array::IntervalMonthDayNanoArray::from(vec![interval]);
    assert_eq!(
        binary(array, &SqlType::Interval),
        "000000036c97ca88000000030000000e"
    );
    let instant = TimestampMillisecondArray::from(vec![1_767_323_045_123]).with_timezone("UTC");
    assert_eq!(binary(instant, &SqlType::Timestamptz), "0002ea5dbb16f3b8");
    assert_eq!(
        binary(Date32Array::from(vec![20_455]), &SqlType::Date),
        "0000251a"
    );
    let time = Time32MillisecondArray::from(vec![14_706_789]);
    assert_eq!(binary(time, &SqlType::Time), "000000036c97ca88");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None, Some(3)])]);
    let ints = SqlType::Array(Box::new(SqlType::Int4));
    assert_eq!(
        binary(list, &ints),
        "0000000100000001000000170000000300000001000000040000000\
         1ffffffff0000000400000003"
    );
    let empty = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([])]);
    assert_eq!(binary(empty, &ints), "000000000000000000000017");
    assert_eq!(
        binary(StringArray::from(vec!["1 2"]), &SqlType::Int2vector),
        "000000010000000000000015000000020000000000000002000100000002\
         0002"
    );
    assert_eq!(
        binary(StringArray::from(vec!["{\"a\": 1}"]), &SqlType::Jsonb),
        "017b2261223a20317d"
    );
    assert_eq!(
        binary(
            StringArray::from(vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
            &SqlType::Uuid
        ),
        "a0eebc999c0b4ef8bb6d6bb9bd380a11"
    );
}

#[test]
fn every_arrow_representation_prints() {
    assert_eq!(text(Int8Array::from(vec![-5])), some(&["-5"]));
    assert_eq!(text(UInt8Array::from(vec![255])), some(&["255"]));
    assert_eq!(
        text(UInt32Array::from(vec![u32::MAX])),
        some(&["4294967295"])
    );
    assert_eq!(text(UInt64Array::from(vec![7])), some(&["7"]));
    assert_eq!(text(LargeStringArray::from(vec!["x"])), some(&["x"]));
    assert_eq!(
        text(BooleanArray::from(vec![Some(true), None])),
        [Some("t".to_string()), None]
    );
    assert_eq!(text(NullArray::new(2)), [None, None]);
    let half = Float32Array::from(vec![1.5]);
    let half = arrow::compute::cast(&half, &DataType::Float16).unwrap();
    assert_eq!(
        half.as_any().downcast_ref::<Float16Array>().unwrap().len(),
        1
    );
    assert_eq!(texts(&half, &SqlType::Float4), some(&["1.5"]));
    let dictionary: DictionaryArray<Int32Type> = [Some("a"), None, Some("a")].into_iter().collect();
    assert_eq!(
        text(dictionary),
        [Some("a".to_string()), None, Some("a".to_string())]
    );
    assert_eq!(text(Date64Array::from(vec![-1])), some(&["1969-12-31"]));
    assert_eq!(
        text(Time32SecondArray::from(vec![3_661])),
        some(&["01:01:01"])
    );
    assert_eq!(
        text(TimestampNanosecondArray::from(vec![-1])),
        some(&["1969-12-31 23:59:59.999999"])
    );
    assert_eq!(
        text(TimestampMillisecondArray::from(vec![1_500])),
        some(&["1970-01-01 00:00:01.5"])
    );
    assert_eq!(
        text(TimestampSecondArray::from(vec![0]).with_timezone("+02:00")),
        some(&["1970-01-01 00:00:00+00"])
    );
    assert_eq!(
        text(DurationMillisecondArray::from(vec![90_061_000])),
        some(&["25:01:01"])
    );
    assert_eq!(
        text(IntervalYearMonthArray::from(vec![14])),
        some(&["1 year 2 mons"])
    );
    let fixed = FixedSizeBinaryArray::try_from_iter([vec![0_u8, 255]].into_iter()).unwrap();
    assert_eq!(text(fixed), some(&["\\x00ff"]));
    let wide = "1".repeat(60);
    let value = i256::from_string(&wide).unwrap();
    let array = Decimal256Array::from(vec![value])
        .with_precision_and_scale(76, 2)
        .unwrap();
    assert_eq!(text(array), some(&[&format!("{}.11", &wide[..58])]));
    let array = Decimal128Array::from(vec![15, 0])
        .with_precision_and_scale(5, -2)
        .unwrap();
    assert_eq!(text(array), some(&["1500", "0"]));
    let oid: ArrayRef = Arc::new(Int64Array::from(vec![4_294_967_295_i64]));
    assert_eq!(texts(&oid, &SqlType::Oid), some(&["4294967295"]));
}

#[test]
fn values_out_of_range_are_errors() {
    let overflow = encode(
        Arc::new(UInt64Array::from(vec![u64::MAX])),
        &SqlType::Int8,
        Format::Text,
    );
    let error = overflow.unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("22003", "bigint out of range")
    );
    let seconds = TimestampSecondArray::from(vec![i64::MAX / 2]);
    let error = encode(Arc::new(seconds), &SqlType::Timestamp, Format::Text).unwrap_err();
    assert_eq!(error.sqlstate, "22008");
    let not_uuid = StringArray::from(vec!["x"]);
    let error = encode(Arc::new(not_uuid), &SqlType::Uuid, Format::Binary).unwrap_err();
    assert_eq!(error.sqlstate, "22P02");
}

#[test]
fn records_and_maps_print_as_in_postgresql() {
    let fields = vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Utf8, true),
        Field::new("d", DataType::Utf8, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(1), None])),
        Arc::new(StringArray::from(vec![Some("a b"), None])),
        Arc::new(StringArray::from(vec![Some("q\"x"), Some("")])),
        Arc::new(StringArray::from(vec![Some("back\\s"), Some("y")])),
    ];
    let nulls = NullBuffer::from(vec![true, true]);
    let array = StructArray::new(fields.into(), columns, Some(nulls));
    assert_eq!(
        text(array),
        some(&["(1,\"a b\",\"q\"\"x\",\"back\\\\s\")", "(,,\"\",y)"])
    );
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    builder.keys().append_value("k");
    builder.values().append_value(1);
    builder.keys().append_value("l");
    builder.values().append_null();
    builder.append(true).unwrap();
    assert_eq!(text(builder.finish()), some(&["{\"(k,1)\",\"(l,)\"}"]));
}

#[test]
fn nested_lists_are_arrays_of_more_dimensions() {
    let inner = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some([Some(1), Some(2)]),
        Some([Some(3), Some(4)]),
    ]);
    let outer = |inner: ListArray, offsets: Vec<i32>| {
        let field = Arc::new(Field::new("item", inner.data_type().clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::new(offsets.into());
        ListArray::new(field, offsets, Arc::new(inner), None)
    };
    let ints = SqlType::Array(Box::new(SqlType::Int4));
    assert_eq!(
        text(outer(inner.clone(), vec![0, 2])),
        some(&["{{1,2},{3,4}}"])
    );
    assert_eq!(
        binary(outer(inner, vec![0, 2]), &ints),
        "000000020000000000000017000000020000000100000002000000010000000400000001\
         000000040000000200000004000000030000000400000004"
    );
    let ragged = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), Some(2)]),
        Some(vec![Some(3)]),
    ]);
    let error = encode(Arc::new(outer(ragged, vec![0, 2])), &ints, Format::Binary).unwrap_err();
    assert_eq!(error.sqlstate, "2202E");
}

#[test]
fn elements_are_quoted_where_they_need_it() {
    let values = StringViewArray::from(vec![
        Some("a"),
        Some("b c"),
        Some(""),
        Some("null"),
        None,
        Some("q\"\\"),
    ]);
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = arrow::buffer::OffsetBuffer::new(vec![0, 6].into());
    let list = ListArray::new(field, offsets, Arc::new(values), None);
    assert_eq!(
        text(list),
        some(&["{a,\"b c\",\"\",\"null\",NULL,\"q\\\"\\\\\"}"])
    );
}
