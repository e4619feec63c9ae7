//! Tests of the COPY formats: PostgreSQL's own output, all cuts of the input, errors with CONTEXT.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringViewArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Schema};
use bytes::BytesMut;
use nyala_catalog::types::SqlType;

use super::super::decode::{InputSettings, ValueError};
use super::super::encode::{DateOrder, FormatSettings, TimeZone};
use super::{
    CopyError, CopyFormat, CopyOptions, CopyReader, CopyWriter, Direction, ForceColumns, Header,
};

fn columns() -> Vec<(String, SqlType)> {
    let column = |name: &str, ty| (name.to_string(), ty);
    vec![
        column("a", SqlType::Int4),
        column("b", SqlType::Text),
        column("c", SqlType::Text),
    ]
}

fn csv() -> CopyOptions {
    CopyOptions {
        format: CopyFormat::Csv,
        ..CopyOptions::default()
    }
}

fn reader(options: &CopyOptions) -> CopyReader {
    let json = |text: &str, _| -> Result<String, ValueError> { Ok(text.to_string()) };
    let settings = InputSettings {
        time_zone: TimeZone::default(),
        date_order: DateOrder::Mdy,
        json,
        now_us: None,
    };
    CopyReader::new(options, "t", &columns(), &settings, 2)
}

fn sample() -> RecordBatch {
    let schema = Schema::new(
        columns()
            .iter()
            .map(|(name, ty)| ty.field(name, true))
            .collect::<Vec<_>>(),
    );
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int32Array::from(vec![
                Some(1),
                Some(2),
                Some(3),
                Some(4),
                None,
            ])),
            Arc::new(StringViewArray::from(vec![
                "a,b", "", "l1\nl2", "tab\tx", " sp ",
            ])),
            Arc::new(StringViewArray::from(vec![
                None,
                Some("\"q\""),
                Some("\\."),
                Some("back\\slash"),
                Some("NULL"),
            ])),
        ],
    )
    .unwrap()
}

fn written(options: &CopyOptions) -> String {
    String::from_utf8(written_bytes(options)).unwrap()
}

fn written_bytes(options: &CopyOptions) -> Vec<u8> {
    let batch = sample();
    let writer = CopyWriter::new(options, &batch.schema(), FormatSettings::default());
    let mut out = BytesMut::new();
    writer.header(&mut out);
    writer.signature(&mut out);
    let mut rows = writer.rows(&batch).unwrap();
    for row in 0..batch.num_rows() {
        rows.write(row, &mut out).unwrap();
    }
    writer.trailer(&mut out);
    out.to_vec()
}

/// Feeds `data` in pieces of `size` bytes.
fn read(options: &CopyOptions, data: &[u8], size: usize) -> Result<RecordBatch, CopyError> {
    let mut reader = reader(options);
    let mut batches = Vec::new();
    for piece in data.chunks(size) {
        batches.extend(reader.push(piece)?);
    }
    batches.extend(reader.finish()?);
    assert!(batches.iter().all(|batch| batch.num_rows() <= 2));
    Ok(concat_batches(&reader.schema(), &batches).unwrap())
}

fn failure(options: &CopyOptions, data: &[u8]) -> (String, String, String) {
    let error = read(options, data, 7).unwrap_err();
    (
        error.error.sqlstate.to_string(),
        error.error.message,
        error.context.unwrap_or_default(),
    )
}

fn odd_csv() -> CopyOptions {
    CopyOptions {
        null: Some("NULL".to_string()),
        delimiter: Some(b';'),
        quote: Some(b'\''),
        escape: Some(b'\\'),
        force_quote: ForceColumns::All,
        ..csv()
    }
}

#[test]
fn output_is_that_of_postgresql() {
    assert_eq!(
        written(&CopyOptions::default()),
        "1\ta,b\t\\N\n2\t\t\"q\"\n3\tl1\\nl2\t\\\\.\n4\ttab\\tx\tback\\\\slash\n\\N\t sp \tNULL\n"
    );
    assert_eq!(
        written(&CopyOptions {
            header: Header::Yes,
            ..csv()
        }),
        "a,b,c\n1,\"a,b\",\n2,\"\",\"\"\"q\"\"\"\n3,\"l1\nl2\",\\.\n4,tab\tx,back\\slash\n, sp ,NULL\n"
    );
    assert_eq!(
        written(&odd_csv()),
        "'1';'a,b';NULL\n'2';'';'\"q\"'\n'3';'l1\nl2';'\\\\.'\n'4';'tab\tx';'back\\\\slash'\nNULL;' sp ';'NULL'\n"
    );
}

#[test]
fn numbers_are_quoted_where_they_would_be_misread() {
    let numbers = |options: &CopyOptions| {
        written(options)
            .lines()
            .filter_map(|line| line.split(';').next().map(str::to_string))
            .filter(|field| field.contains(char::is_numeric) && !field.contains('l'))
            .collect::<Vec<_>>()
    };
    let dialect = |null: &str, quote: u8| CopyOptions {
        delimiter: Some(b';'),
        null: Some(null.to_string()),
        quote: Some(quote),
        ..csv()
    };
    assert_eq!(numbers(&dialect("none", b'"')), ["1", "2", "3", "4"]);
    assert_eq!(numbers(&dialect("3", b'"')), ["1", "2", "\"3\"", "4", "3"]);
    assert_eq!(numbers(&dialect("", b'2')), ["1", "2222", "3", "4"]);
}

#[test]
fn what_was_written_is_read_back_however_it_is_cut() {
    let header = CopyOptions {
        header: Header::Yes,
        ..csv()
    };
    let matched = CopyOptions {
        header: Header::Match,
        ..csv()
    };
    let quoted = CopyOptions {
        force_quote: ForceColumns::None,
        ..odd_csv()
    };
    let pairs = [
        (CopyOptions::default(), CopyOptions::default()),
        (csv(), csv()),
        (header, matched),
        (quoted.clone(), quoted),
        (odd_csv(), odd_csv()),
    ];
    for (output, input) in pairs {
        let data = written(&output);
        for size in 1..=data.len() {
            assert_eq!(
                read(&input, data.as_bytes(), size).unwrap(),
                sample(),
                "{input:?} {size}"
            );
        }
    }
}

#[test]
fn escapes_line_ends_and_the_end_marker_are_read() {
    let text = CopyOptions::default();
    let batch = read(
        &text,
        b"1\t\\x41\\102\\t\\q\t\\\n\n\\N\tx\t\\\\N\n\\.\ngarbage",
        3,
    )
    .unwrap();
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.column(1).as_string_view().value(0), "AB\tq");
    assert_eq!(batch.column(2).as_string_view().value(0), "\n");
    assert!(batch.column(0).is_null(1));
    assert_eq!(batch.column(2).as_string_view().value(1), "\\N");
    for options in [
        text,
        CopyOptions {
            delimiter: Some(b'\t'),
            ..csv()
        },
    ] {
        let batch = read(&options, b"1\tx\ty\r\n2\tz\tw\r\n", 4).unwrap();
        assert_eq!(
            batch.column(0).as_primitive::<Int32Type>().values(),
            &[1, 2]
        );
        assert_eq!(batch.column(2).as_string_view().value(0), "y");
    }
    let batch = read(&csv(), b"1,a\"b,c\"d,\"\"\n,,\"x\r\ny\"\n", 5).unwrap();
    assert_eq!(batch.column(1).as_string_view().value(0), "ab,cd");
    assert_eq!(batch.column(2).as_string_view().value(0), "");
    assert!(batch.column(0).is_null(1) && batch.column(1).is_null(1));
    assert_eq!(batch.column(2).as_string_view().value(1), "x\r\ny");
}

#[test]
fn nulls_can_be_forced() {
    let named = |name: &str| ForceColumns::Named(vec![name.to_string()]);
    let options = CopyOptions {
        force_null: named("b"),
        force_not_null: named("c"),
        ..csv()
    };
    let batch = read(&options, b"1,\"\",\n", 2).unwrap();
    assert!(batch.column(1).is_null(0));
    assert_eq!(batch.column(2).as_string_view().value(0), "");
}

#[test]
fn errors_name_their_place() {
    let text = CopyOptions::default();
    let expect = |got: (String, String, String), state: &str, message: &str, context: &str| {
        assert_eq!(
            (got.0.as_str(), got.1.as_str(), got.2.as_str()),
            (state, message, context)
        );
    };
    expect(
        failure(&csv(), b"1,\"x\ny\",z\nabc,x,y\n"),
        "22P02",
        "invalid input syntax for type integer: \"abc\"",
        "COPY t, line 3, column a: \"abc\"",
    );
    expect(
        failure(&text, b"1\tx\n"),
        "22P04",
        "missing data for column \"c\"",
        "COPY t, line 1: \"1\tx\"",
    );
    expect(
        failure(&text, b"1\tx\ty\tz\n"),
        "22P04",
        "extra data after last expected column",
        "COPY t, line 1: \"1\tx\ty\tz\"",
    );
    expect(
        failure(&csv(), b"1,\"x,y\n"),
        "22P04",
        "unterminated CSV quoted field",
        "COPY t, line 1: \"1,\"x,y\n\"",
    );
    let matched = CopyOptions {
        header: Header::Match,
        ..csv()
    };
    let got = failure(&matched, b"a,x,c\n");
    assert_eq!(
        got.1,
        "column name mismatch in header line field 2: got \"x\", expected \"b\""
    );
    let got = failure(&matched, b"a,b\n");
    assert_eq!(
        got.1,
        "wrong number of fields in header line: got 2, expected 3"
    );
    assert_eq!(failure(&text, b"1\t\xff\ty\n").0, "22021");
    assert_eq!(failure(&text, b"1\t\\xff\ty\n").0, "22021");
    let long = format!("{}\tx\ty\n", "9".repeat(120));
    assert!(
        failure(&text, long.as_bytes())
            .2
            .ends_with(&format!("column a: \"{}...\"", "9".repeat(100)))
    );
}

#[test]
fn options_are_checked_as_in_postgresql() {
    let names: Vec<String> = columns().into_iter().map(|(name, _)| name).collect();
    let check = |options: CopyOptions, direction| {
        options
            .validate(direction, &names)
            .map_err(|error| (error.sqlstate, error.message))
            .err()
    };
    let text = CopyOptions::default();
    assert_eq!(check(text.clone(), Direction::From), None);
    assert_eq!(check(odd_csv(), Direction::To), None);
    let cases = [
        (
            CopyOptions {
                delimiter: Some(b'a'),
                ..text.clone()
            },
            Direction::To,
            "22023",
            "COPY delimiter cannot be \"a\"",
        ),
        (
            CopyOptions {
                quote: Some(b'"'),
                ..text.clone()
            },
            Direction::To,
            "0A000",
            "COPY quote available only in CSV mode",
        ),
        (
            CopyOptions {
                delimiter: Some(b'"'),
                ..csv()
            },
            Direction::To,
            "22023",
            "COPY delimiter and quote must be different",
        ),
        (
            odd_csv(),
            Direction::From,
            "0A000",
            "COPY force quote only available using COPY TO",
        ),
        (
            CopyOptions {
                null: Some("a,b".to_string()),
                ..csv()
            },
            Direction::From,
            "22023",
            "COPY delimiter character must not appear in the NULL specification",
        ),
        (
            CopyOptions {
                header: Header::Match,
                ..text
            },
            Direction::To,
            "0A000",
            "cannot use \"match\" with HEADER in COPY TO",
        ),
        (
            CopyOptions {
                force_null: ForceColumns::Named(vec!["x".to_string()]),
                ..csv()
            },
            Direction::From,
            "42P10",
            "FORCE_NULL column \"x\" not referenced by COPY",
        ),
    ];
    for (options, direction, state, message) in cases {
        assert_eq!(
            check(options, direction),
            Some((state, message.to_string()))
        );
    }
    assert_eq!(
        CopyOptions::single_byte("delimiter", "ab")
            .unwrap_err()
            .sqlstate,
        "0A000"
    );
    assert!(CopyOptions::check_encoding("UTF-8").is_ok());
    assert!(CopyOptions::check_encoding("LATIN1").is_err());
}

fn binary() -> CopyOptions {
    CopyOptions {
        format: CopyFormat::Binary,
        ..CopyOptions::default()
    }
}

#[test]
fn binary_data_is_that_of_postgresql() {
    let written = written_bytes(&binary());
    let first_row = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\
        \0\x03\0\0\0\x04\0\0\0\x01\0\0\0\x03a,b\xff\xff\xff\xff";
    assert_eq!(written.get(..first_row.len()), Some(first_row.as_slice()));
    assert_eq!(
        written.get(written.len() - 2..),
        Some([0xff, 0xff].as_slice())
    );
}

#[test]
fn binary_data_is_read_whatever_its_cuts() {
    let written = written_bytes(&binary());
    for size in 1..=written.len() {
        assert_eq!(
            read(&binary(), &written, size).unwrap().columns(),
            sample().columns()
        );
    }
}

#[test]
fn binary_data_may_end_without_its_trailer() {
    let written = written_bytes(&binary());
    let (rows, trailer) = written.split_at(written.len() - 2);
    assert_eq!(trailer, [0xff, 0xff]);
    for size in [1, 7, rows.len()] {
        assert_eq!(
            read(&binary(), rows, size).unwrap().columns(),
            sample().columns()
        );
    }
    let (code, message, _) = failure(&binary(), &rows[..rows.len() - 1]);
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("22P04", "unexpected EOF in COPY data")
    );
}

#[test]
fn binary_data_that_is_none_is_refused() {
    let whole = written_bytes(&binary());
    let header = &whole[..19];
    let with = |row: &[u8]| [header, row].concat();
    let wrong_flags = [&whole[..11], &[0, 1, 0, 0, 0, 0, 0, 0]].concat();
    let cases: [(&[u8], &str, &str); 8] = [
        (b"1\tone\n", "22P04", "COPY file signature not recognized"),
        (b"", "22P04", "COPY file signature not recognized"),
        (
            &wrong_flags,
            "22P04",
            "invalid COPY file header (WITH OIDS)",
        ),
        (&with(&[0, 2]), "22P04", "row field count is 2, expected 3"),
        (
            &with(&[0, 3, 0, 0, 0, 2, 0, 1]),
            "22P04",
            "unexpected EOF in COPY data",
        ),
        (
            &with(&[0, 3, 0xff, 0xff, 0xff, 0xfe]),
            "22P04",
            "invalid field size",
        ),
        (
            &with(&[0xff, 0xff, 0]),
            "22P04",
            "received copy data after EOF marker",
        ),
        (
            &with(&[
                0, 3, 0, 0, 0, 2, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ]),
            "22P03",
            "incorrect binary data format",
        ),
    ];
    for (data, code, message) in cases {
        let (got_code, got, _) = failure(&binary(), data);
        assert_eq!((got_code.as_str(), got.as_str()), (code, message));
    }
    let (.., context) = failure(
        &binary(),
        &with(&[0, 3, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    assert_eq!(context, "COPY t, line 1, column a");
}
