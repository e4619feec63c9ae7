//! Tests of input: against PostgreSQL's answers, and round trips through both output forms.

mod round_trip;

use bytes::BytesMut;
use datafusion::common::ScalarValue;
use nyala_catalog::types::SqlType;

use super::super::encode::{
    ByteaOutput, DateOrder, DateOutput, DateStyle, FormatSettings, IntervalStyle, TextColumn,
    TimeZone,
};
use super::{ColumnParser, InputSettings, ValueError, parse_scalar, parse_text_array};

/// What PostgreSQL 15 answers; see the head of the file.
const ORACLE: &str = include_str!("tests/postgresql.tsv");

/// Where Nyala differs on purpose: type, literal and its own answer.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    // Microseconds since 1970 end 29 years before microseconds since 2000 do.
    (
        "timestamptz",
        "294277-01-01 00:00:00",
        "!22008 timestamp out of range: \"294277-01-01 00:00:00\"",
    ),
    (
        "interval",
        "1 day ago 2",
        "!22007 invalid input syntax for type interval: \"1 day ago 2\"",
    ),
    ("numeric[]", "{1.50,2}", "{1.5,2}"),
];

/// The kernel that these tests put in the place of the real one: it only trims.
pub fn json(text: &str, jsonb: bool) -> Result<String, ValueError> {
    match text.trim() {
        "" => Err(ValueError::new(
            "22P02",
            "invalid input syntax for type json",
        )),
        trimmed if jsonb => Ok(trimmed.to_string()),
        _ => Ok(text.to_string()),
    }
}

pub fn input_settings() -> InputSettings {
    InputSettings {
        time_zone: TimeZone::default(),
        date_order: DateOrder::Mdy,
        json,
        now_us: None,
    }
}

fn settings_of(text: &str) -> (InputSettings, FormatSettings) {
    let mut input = input_settings();
    let mut format = FormatSettings::default();
    for setting in text.split(';').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap();
        match name {
            "timezone" => {
                format.time_zone = TimeZone::parse(value).unwrap();
                input.time_zone = format.time_zone;
            }
            "datestyle" => {
                let output = match value.split(',').next().unwrap() {
                    "SQL" => DateOutput::Sql,
                    "Postgres" => DateOutput::Postgres,
                    "German" => DateOutput::German,
                    _ => DateOutput::Iso,
                };
                let order = match value.split_once(", ") {
                    Some((_, "DMY")) => DateOrder::Dmy,
                    Some((_, "YMD")) => DateOrder::Ymd,
                    None => DateOrder::Dmy,
                    _ => DateOrder::Mdy,
                };
                input.date_order = order;
                format.date_style = DateStyle { output, order };
            }
            "intervalstyle" => {
                format.interval_style = match value {
                    "postgres_verbose" => IntervalStyle::PostgresVerbose,
                    "sql_standard" => IntervalStyle::SqlStandard,
                    "iso_8601" => IntervalStyle::Iso8601,
                    _ => IntervalStyle::Postgres,
                }
            }
            "extra_float_digits" => format.extra_float_digits = value.parse().unwrap(),
            "bytea_output" => format.bytea_output = ByteaOutput::Escape,
            other => panic!("unknown setting {other}"),
        }
    }
    (input, format)
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        out.push(match c {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                other => other.unwrap(),
            },
            c => c,
        });
    }
    out
}

/// Parses a literal and prints it again, or prints its error.
fn answer(settings: &str, ty: &SqlType, literal: &str) -> String {
    let (input, format) = settings_of(settings);
    let mut parser = ColumnParser::new(ty, &input);
    match parser.append_text(literal) {
        Ok(()) => {
            let array = parser.finish();
            assert_eq!(array.data_type(), &ty.arrow_type());
            let mut out = BytesMut::new();
            TextColumn::new(&array, ty, &format)
                .unwrap()
                .write(0, &mut out)
                .unwrap();
            String::from_utf8(out.to_vec()).unwrap()
        }
        Err(error) => format!("!{} {}", error.sqlstate, error.message),
    }
}

#[test]
fn literals_read_and_print_as_in_postgresql() {
    let mut wrong = Vec::new();
    for line in ORACLE.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap();
        let (settings, name, literal, expected) =
            (next(), next(), unescape(next()), unescape(next()));
        let ty: SqlType = name.parse().unwrap();
        let differs = DIFFERENCES
            .iter()
            .find(|(ty, text, _)| *ty == name && *text == literal);
        let expected = match (differs, &ty) {
            (Some((_, _, own)), _) => (*own).to_string(),
            // Nyala's numeric without modifier has no scale of its own to keep.
            (None, SqlType::Numeric(None))
                if expected.contains('.') && !expected.starts_with('!') =>
            {
                expected
                    .trim_end_matches('0')
                    .trim_end_matches('.')
                    .to_string()
            }
            _ => expected,
        };
        let got = answer(settings, &ty, &literal);
        if got != expected {
            wrong.push(format!(
                "{settings} {name} {literal:?}: {got:?}, expected {expected:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn words_that_need_a_clock_are_refused_without_one() {
    for word in ["now", "today", "tomorrow", "yesterday"] {
        let error = parse_scalar(word, &SqlType::Timestamptz, &input_settings()).unwrap_err();
        assert_eq!(error.sqlstate, "0A000");
    }
}

#[test]
fn words_are_of_the_statement_s_time() {
    // 2020-02-29 23:30 in UTC is the first of March in Berlin.
    let settings = InputSettings {
        time_zone: TimeZone::parse("Europe/Berlin").unwrap(),
        now_us: Some(1_583_019_000_000_000),
        ..input_settings()
    };
    let days = |word| parse_scalar(word, &SqlType::Date, &settings).unwrap();
    let march = 18_322;
    assert_eq!(days("today"), ScalarValue::Date32(Some(march)));
    assert_eq!(days("Yesterday"), ScalarValue::Date32(Some(march - 1)));
    let micros = |word, ty: &SqlType| match parse_scalar(word, ty, &settings).unwrap() {
        ScalarValue::TimestampMicrosecond(Some(micros), _) => micros,
        other => panic!("{other:?}"),
    };
    assert_eq!(micros("now", &SqlType::Timestamptz), 1_583_019_000_000_000);
    let tomorrow = i64::from(march + 1) * 86_400_000_000;
    assert_eq!(micros("tomorrow", &SqlType::Timestamp), tomorrow);
    let zoned = tomorrow - 3_600_000_000;
    assert_eq!(micros("tomorrow 00:00", &SqlType::Timestamptz), zoned);
    assert!(parse_scalar("now 10:00", &SqlType::Timestamp, &settings).is_err());
}

#[test]
fn arrays_of_strings_are_parsed_at_once() {
    use arrow::array::{ArrayRef, AsArray, StringViewArray};
    use arrow::datatypes::Int32Type;
    let input: ArrayRef =
        std::sync::Arc::new(StringViewArray::from(vec![Some("1"), None, Some(" -3 ")]));
    let output = parse_text_array(&input, &SqlType::Int4, &input_settings()).unwrap();
    let values: Vec<_> = output.as_primitive::<Int32Type>().iter().collect();
    assert_eq!(values, [Some(1), None, Some(-3)]);
    let error = parse_text_array(&input, &SqlType::Bool, &input_settings()).unwrap_err();
    assert_eq!(
        error.message,
        "invalid input syntax for type boolean: \" -3 \""
    );
}
