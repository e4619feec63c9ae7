//! Which rows of a batch stay.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::Schema;
use roaring::RoaringBitmap;

use super::{LeftOutRows, place_fields, without};

fn left_out() -> LeftOutRows {
    let second = RoaringBitmap::from_iter([3_u32, 9_000, u32::MAX]);
    vec![None, Some(Arc::new(second))]
}

/// The rows that remain of those at the given places.
fn remaining(files: Vec<u32>, rows: Vec<i64>) -> Vec<i64> {
    let places = place_fields(&Schema::empty()).to_vec();
    let mut fields = vec![Arc::new(places[1].as_ref().clone().with_name("v"))];
    fields.extend(places);
    let values = Arc::new(Int64Array::from(rows.clone()));
    let columns: Vec<arrow::array::ArrayRef> = vec![
        values,
        Arc::new(UInt32Array::from(files)),
        Arc::new(Int64Array::from(rows)),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let batch = without(batch, &left_out()).unwrap();
    assert_eq!(batch.num_columns(), 1);
    batch
        .column(0)
        .as_any()
        .downcast_ref::<Int64Array>()
        .unwrap()
        .values()
        .to_vec()
}

#[test]
fn a_stretch_loses_the_rows_left_out() {
    assert_eq!(remaining(vec![1; 4], vec![2, 3, 4, 5]), [2, 4, 5]);
    assert_eq!(remaining(vec![1; 2], vec![8_999, 9_000]), [8_999]);
    assert_eq!(remaining(vec![1], vec![3]), [0_i64; 0]);
    assert_eq!(remaining(vec![1; 2], vec![4, 5]), [4, 5]);
    assert_eq!(remaining(vec![0; 4], vec![2, 3, 4, 5]), [2, 3, 4, 5]);
    let last = i64::from(u32::MAX);
    assert_eq!(remaining(vec![1; 2], vec![last - 1, last]), [last - 1]);
    assert_eq!(remaining(vec![1; 2], vec![last + 1, last + 2]).len(), 2);
    assert_eq!(remaining(Vec::new(), Vec::new()), [0_i64; 0]);
}

#[test]
fn rows_with_gaps_and_of_several_files_are_looked_up_one_by_one() {
    assert_eq!(remaining(vec![1; 3], vec![1, 3, 9_000]), [1]);
    assert_eq!(remaining(vec![0, 1, 1, 7], vec![3, 3, 4, 3]), [3, 4, 3]);
    // As long as a stretch, and not one.
    assert_eq!(remaining(vec![1; 3], vec![3, 9, 5]), [9, 5]);
    // Sorted by something else, and from several files, with the ends of a stretch.
    assert_eq!(remaining(vec![1; 4], vec![2, 9, 3, 5]), [2, 9, 5]);
    assert_eq!(remaining(vec![1, 0, 1], vec![2, 3, 4]), [2, 3, 4]);
}

#[test]
fn names_of_places_are_not_those_of_columns() {
    let [file, row] = place_fields(&Schema::empty());
    let [other_file, other_row] = place_fields(&Schema::new(vec![file.clone(), row.clone()]));
    assert_ne!(file.name(), other_file.name());
    assert_ne!(row.name(), other_row.name());
}
