//! Values printed as text and as binary read back as themselves, on random and on edge values.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, IntervalMonthDayNano, Schema};
use bytes::{Buf, BytesMut};
use nyala_catalog::types::SqlType;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::super::encode::{Format, FormatSettings, RowEncoder, TimeZone};
use super::super::{ColumnParser, InputSettings};
use super::input_settings;

const ROWS: usize = 500;

/// Sends `array` through `DataRow` messages and reads it back.
fn through_the_wire(array: &ArrayRef, ty: &SqlType, format: Format, zone: TimeZone) -> ArrayRef {
    let schema = Arc::new(Schema::new(vec![ty.field("c", true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(array)]).unwrap();
    let settings = FormatSettings {
        time_zone: zone,
        ..FormatSettings::default()
    };
    let encoder = RowEncoder::new(&schema, &[format], settings).unwrap();
    let mut out = BytesMut::new();
    encoder
        .encode(&batch, 0..batch.num_rows(), &mut out)
        .unwrap();
    let mut parser = ColumnParser::new(
        ty,
        &InputSettings {
            time_zone: zone,
            ..input_settings()
        },
    );
    let mut bytes = out.freeze();
    while bytes.has_remaining() {
        assert_eq!(bytes.get_u8(), b'D');
        let length = bytes.get_u32() as usize;
        let mut row = bytes.split_to(length - 4);
        assert_eq!(row.get_u16(), 1);
        match (row.get_i32(), format) {
            (-1, _) => parser.append_null(),
            (length, _) if length as usize != row.len() => panic!("length of a field"),
            (_, Format::Text) => parser
                .append_text(std::str::from_utf8(&row).unwrap())
                .unwrap(),
            (_, Format::Binary) => parser.append_binary(&row).unwrap(),
        }
    }
    parser.finish()
}

fn check(array: ArrayRef, ty: &SqlType) {
    let zones = ["UTC", "Europe/Berlin", "America/New_York", "+05:30"];
    for zone in zones.map(|name| TimeZone::parse(name).unwrap()) {
        for format in [Format::Text, Format::Binary] {
            let back = through_the_wire(&array, ty, format, zone);
            assert_eq!(&back, &array, "{ty} {format:?} {zone:?}");
        }
    }
    let list = Arc::new(ListArray::new(
        match SqlType::Array(Box::new(ty.clone())).arrow_type() {
            DataType::List(field) => field,
            other => panic!("{other}"),
        },
        OffsetBuffer::new(ScalarBuffer::from(vec![0, 0, 1, array.len() as i32])),
        Arc::clone(&array),
        None,
    )) as ArrayRef;
    for format in [Format::Text, Format::Binary] {
        let array_type = SqlType::Array(Box::new(ty.clone()));
        let back = through_the_wire(&list, &array_type, format, TimeZone::default());
        assert_eq!(&back, &list, "{array_type} {format:?}");
    }
    let nulls = new_null_array(&ty.arrow_type(), 3);
    for format in [Format::Text, Format::Binary] {
        let back = through_the_wire(&nulls, ty, format, TimeZone::default());
        assert_eq!(back.null_count(), 3);
    }
}

/// The edge values, random ones and NULLs.
fn mixed<T: Clone>(edges: &[T], mut random: impl FnMut(&mut StdRng) -> T) -> Vec<Option<T>> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut values: Vec<_> = edges.iter().cloned().map(Some).collect();
    for _ in 0..ROWS {
        values.push(if rng.random_bool(0.1) {
            None
        } else {
            Some(random(&mut rng))
        });
    }
    values
}

#[test]
fn booleans_and_integers() {
    check(
        Arc::new(BooleanArray::from(mixed(&[true], |rng| rng.random()))),
        &SqlType::Bool,
    );
    let small = mixed(&[i16::MIN, i16::MAX, 0], |rng| rng.random());
    check(Arc::new(Int16Array::from(small)), &SqlType::Int2);
    let middle = mixed(&[i32::MIN, i32::MAX, 0], |rng| rng.random());
    check(Arc::new(Int32Array::from(middle.clone())), &SqlType::Int4);
    check(Arc::new(Int32Array::from(middle)), &SqlType::Oid);
    let big = mixed(&[i64::MIN, i64::MAX, 0], |rng| rng.random());
    check(Arc::new(Int64Array::from(big)), &SqlType::Int8);
}

#[test]
fn floats() {
    let special = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        1e15,
        1e-5,
    ];
    let finite = |rng: &mut StdRng| match f64::from_bits(rng.random()) {
        value if value.is_nan() => 0.1,
        value => value,
    };
    check(
        Arc::new(Float64Array::from(mixed(&special, finite))),
        &SqlType::Float8,
    );
    check(
        Arc::new(Float64Array::from(mixed(&[1.5], |rng| {
            f64::from(rng.random::<i32>()) / 1000.0
        }))),
        &SqlType::Float8,
    );
    let special = [
        0.0_f32,
        -0.0,
        f32::NAN,
        f32::INFINITY,
        f32::MAX,
        1e-45,
        999_999.0,
        1e6,
    ];
    let finite = |rng: &mut StdRng| match f32::from_bits(rng.random()) {
        value if value.is_nan() => 0.1,
        value => value,
    };
    check(
        Arc::new(Float32Array::from(mixed(&special, finite))),
        &SqlType::Float4,
    );
}

#[test]
fn numerics_of_every_scale() {
    let limit = 10_i128.pow(38) - 1;
    for scale in 0..=38_i8 {
        let ty = SqlType::Numeric(Some((38, scale)));
        let values = mixed(&[0, 1, -1, 10_000, limit, -limit], |rng| {
            let digits = rng.random_range(1..=38);
            rng.random::<i128>() % 10_i128.pow(digits)
        });
        let array = Decimal128Array::from(values)
            .with_precision_and_scale(38, scale)
            .unwrap();
        check(Arc::new(array), &ty);
    }
    let values = mixed(&[0, 1, 10_000_000_000, limit], |rng| {
        rng.random::<i128>() % 10_i128.pow(20)
    });
    let array = Decimal128Array::from(values)
        .with_precision_and_scale(38, 10)
        .unwrap();
    check(Arc::new(array), &SqlType::Numeric(None));
}

#[test]
fn dates_and_times() {
    let days = mixed(
        &[
            i32::MIN,
            i32::MAX,
            0,
            -1,
            -719_163,
            -2_440_588,
            2_145_031_948,
        ],
        |rng| rng.random_range(-2_440_588..20_000_000),
    );
    check(Arc::new(Date32Array::from(days)), &SqlType::Date);
    let times = mixed(&[0, 86_400_000_000, 1, 86_399_999_999], |rng| {
        rng.random_range(0..86_400_000_000)
    });
    check(
        Arc::new(Time64MicrosecondArray::from(times)),
        &SqlType::Time,
    );
    let first = -2_440_588 * 86_400_000_000;
    let edges = [
        i64::MIN,
        i64::MAX,
        0,
        -1,
        1,
        first,
        i64::MAX - 1 - 86_400_000_000,
    ];
    let wide = mixed(&edges, |rng| rng.random_range(first..i64::MAX / 2));
    check(
        Arc::new(TimestampMicrosecondArray::from(wide)),
        &SqlType::Timestamp,
    );
    // Wall clocks repeat an hour in autumn, so text of a zone is tried only where it is unique.
    let recent = mixed(&[i64::MIN, i64::MAX, 0, -1], |rng| {
        let january = 1_767_225_600_000_000;
        january - rng.random_range(0..50) * 31_557_600_000_000 + rng.random_range(0..86_400_000_000)
    });
    let array = TimestampMicrosecondArray::from(recent).with_timezone("UTC");
    check(Arc::new(array), &SqlType::Timestamptz);
}

#[test]
fn intervals() {
    let value = |months, days, us: i64| IntervalMonthDayNano::new(months, days, us * 1_000);
    let edges = [
        value(0, 0, 0),
        value(i32::MAX, i32::MIN, i64::MAX / 1_000),
        value(-1, 1, -1),
        value(1, -1, 1),
    ];
    let values = mixed(&edges, |rng| {
        value(rng.random(), rng.random(), rng.random::<i64>() / 1_000)
    });
    check(
        Arc::new(IntervalMonthDayNanoArray::from(values)),
        &SqlType::Interval,
    );
}

#[test]
fn strings_and_bytes() {
    let alphabet = [
        'a', 'Z', ' ', '"', '\\', '{', '}', ',', '\n', '\t', 'ä', '€', '😀', '\'', '\r',
    ];
    let random = |rng: &mut StdRng| {
        let length = rng.random_range(0..40);
        (0..length)
            .map(|_| alphabet[rng.random_range(0..alphabet.len())])
            .collect::<String>()
    };
    let edges = [
        "".to_string(),
        "NULL".to_string(),
        "null".to_string(),
        " x ".to_string(),
    ];
    let values = mixed(&edges, random);
    for ty in [
        SqlType::Text,
        SqlType::Varchar(None),
        SqlType::Varchar(Some(40)),
    ] {
        check(Arc::new(StringViewArray::from(values.clone())), &ty);
    }
    let padded = mixed(&["".to_string()], |rng| {
        random(rng).trim_end_matches(' ').to_string()
    });
    check(
        Arc::new(StringViewArray::from(padded)),
        &SqlType::Bpchar(Some(40)),
    );
    let documents = mixed(&["{}".to_string()], |rng| {
        format!("{{\"a\": {}}}", rng.random::<i32>())
    });
    check(
        Arc::new(StringViewArray::from(documents.clone())),
        &SqlType::Json,
    );
    check(Arc::new(StringViewArray::from(documents)), &SqlType::Jsonb);
    let uuids = mixed(
        &["00000000-0000-0000-0000-000000000000".to_string()],
        |rng| {
            let hex = format!("{:032x}", rng.random::<u128>());
            format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            )
        },
    );
    check(Arc::new(StringViewArray::from(uuids)), &SqlType::Uuid);
    let bytes = mixed(&[vec![], vec![0, 255]], |rng| {
        (0..rng.random_range(0..40))
            .map(|_| rng.random())
            .collect::<Vec<u8>>()
    });
    let array: BinaryViewArray = bytes.iter().map(Option::as_deref).collect();
    check(Arc::new(array), &SqlType::Bytea);
}
