//! Rows of every layout are read as the table is now.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;

use super::*;
use crate::definitions::Table;
use crate::definitions::tests::table_of;
use crate::row_codec::Bytes;
use crate::table_edit::TableEdit;

fn ty(name: &str) -> SqlType {
    name.parse().unwrap()
}

fn column(name: &str, type_name: &str) -> ColumnDef {
    ColumnDef::new(name, ty(type_name))
}

/// `t (id int PRIMARY KEY, a int, b text)`.
fn table() -> Table {
    let schema = Schema::new(vec![
        ty("int4").field("id", false),
        ty("int4").field("a", true),
        ty("text").field("b", true),
    ]);
    table_of(&schema, Some(&[0]))
}

fn altered(table: &Table, actions: impl FnOnce(&mut TableEdit)) -> Table {
    let mut edit = TableEdit::new(&table.def);
    actions(&mut edit);
    // As it is stored and loaded again.
    let stored = serde_json::to_vec(&edit.finish().unwrap()).unwrap();
    Table::new(serde_json::from_slice(&stored).unwrap()).unwrap()
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values.iter().copied()))
}

fn ints(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn null(name: &str) -> ScalarValue {
    ScalarValue::try_from(ty(name).arrow_type()).unwrap()
}

/// Keys and values of rows in the table's layout.
fn stored(table: &Table, columns: Vec<ArrayRef>) -> (Vec<Bytes>, Vec<Bytes>) {
    let rows = RecordBatch::try_new(Arc::clone(&table.schema), columns).unwrap();
    let addresses = table.codec.project_key(&rows).unwrap();
    let keys = table.codec.encode_keys(&addresses).unwrap();
    (keys, table.codec.encode_values(&rows).unwrap())
}

fn read(table: &Table, keys: &[Bytes], values: &[Bytes]) -> RecordBatch {
    let all: Vec<usize> = (0..table.schema.fields().len()).collect();
    table.codec.decode(&all, keys, values).unwrap()
}

#[test]
fn rows_of_all_layouts_are_read_together() {
    let first = table();
    let (mut keys, mut values) = stored(
        &first,
        vec![
            ints(&[Some(1), Some(2)]),
            ints(&[Some(10), None]),
            text(&[Some("x"), None]),
        ],
    );
    let second = altered(&first, |edit| {
        let nine = ScalarValue::Int32(Some(9));
        edit.add_column(column("c", "int4"), &nine).unwrap();
        edit.set_type(1, ty("int8")).unwrap();
    });
    let (more_keys, more_values) = stored(
        &second,
        vec![
            ints(&[Some(3)]),
            Arc::new(Int64Array::from(vec![1 << 40])),
            text(&[Some("y")]),
            ints(&[None]),
        ],
    );
    // Not in the order of their layouts.
    keys.insert(1, more_keys[0].clone());
    values.insert(1, more_values[0].clone());
    let rows = read(&second, &keys, &values);
    let expected: Vec<ArrayRef> = vec![
        ints(&[Some(1), Some(3), Some(2)]),
        Arc::new(Int64Array::from(vec![Some(10), Some(1 << 40), None])),
        text(&[Some("x"), Some("y"), None]),
        ints(&[Some(9), None, Some(9)]),
    ];
    assert_eq!(rows.columns(), expected);

    let third = altered(&second, |edit| {
        edit.drop_column(2).unwrap();
        edit.set_type(2, ty("numeric(12,2)")).unwrap();
    });
    let rows = read(&third, &keys, &values);
    let cents = Decimal128Array::from(vec![Some(900), None, Some(900)]);
    let cents: ArrayRef = Arc::new(cents.with_precision_and_scale(12, 2).unwrap());
    assert_eq!(rows.column(2), &cents, "the missing value is widened, too");
    assert!(third.codec.knows_layout(&values[0]));
    assert!(!first.codec.knows_layout(&values[1]));
    assert!(first.codec.decode(&[1], &keys, &values).is_err());
}

#[test]
fn a_column_that_comes_again_is_another_one() {
    let first = table();
    let (keys, values) = stored(
        &first,
        vec![ints(&[Some(1)]), ints(&[Some(10)]), text(&[None])],
    );
    let without = altered(&first, |edit| edit.drop_column(1).unwrap());
    let again = altered(&without, |edit| {
        edit.add_column(column("a", "int4"), &null("int4")).unwrap();
    });
    let rows = read(&again, &keys, &values);
    assert_eq!(rows.column(2), &ints(&[None]));
    let names = |table: &Table| -> Vec<String> {
        let files = table.files.iter();
        files.map(|column| column.written.name().clone()).collect()
    };
    assert_eq!(names(&without), ["id", "b"]);
    assert_eq!(names(&again), ["id", "b", "a_3"]);
    // A name is taken by whoever had it, in any spelling.
    let renamed = altered(&first, |edit| {
        edit.rename_column(2, "c".to_string()).unwrap();
        edit.add_column(column("B", "text"), &null("text")).unwrap();
    });
    assert_eq!(names(&renamed), ["id", "a", "b", "B_3"]);
}

#[test]
fn earlier_columns_take_the_earlier_layout() {
    let first = table();
    let added = altered(&first, |edit| {
        edit.add_column(column("c", "int4"), &null("int4")).unwrap();
    });
    let back = altered(&added, |edit| edit.drop_column(3).unwrap());
    let other_name = altered(&added, |edit| {
        edit.rename_column(1, "z".to_string()).unwrap();
        edit.set_type(2, ty("varchar")).unwrap();
    });
    let layout = |table: &Table| table.def.history.as_ref().unwrap().current_layout();
    assert_eq!(
        (layout(&added), layout(&back), layout(&other_name)),
        (2, 1, 2)
    );
}

#[test]
fn what_stored_rows_cannot_follow_is_refused() {
    let first = table();
    let mut edit = TableEdit::new(&first.def);
    assert_eq!(
        edit.drop_column(0).unwrap_err().kind,
        ErrorKind::Unsupported
    );
    assert_eq!(
        edit.set_type(0, ty("int8")).unwrap_err().kind,
        ErrorKind::Unsupported
    );
    assert_eq!(
        edit.set_type(1, ty("int2")).unwrap_err().kind,
        ErrorKind::Unsupported
    );
    assert_eq!(
        edit.set_not_null(0, false).unwrap_err().kind,
        ErrorKind::InvalidDefinition
    );
    edit.drop_column(2).unwrap();
    edit.drop_column(1).unwrap();
    assert_eq!(
        edit.drop_column(0).unwrap_err().kind,
        ErrorKind::Unsupported
    );
}

#[test]
fn readers_do_not_rely_on_a_later_not_null() {
    let first = table();
    let strict = altered(&first, |edit| edit.set_not_null(1, true).unwrap());
    assert!(strict.def.columns[1].not_null);
    assert!(strict.schema.field(1).is_nullable());
    assert!(!strict.schema.field(0).is_nullable());
}

#[test]
fn definitions_that_do_not_fit_their_history_are_refused() {
    let altered = altered(&table(), |edit| edit.set_not_null(1, true).unwrap());
    let mut def = altered.def.clone();
    def.columns.pop();
    assert_eq!(Table::new(def).unwrap_err().kind, ErrorKind::Corrupted);
}
