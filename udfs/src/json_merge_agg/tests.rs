//! Checks that every way the rows of a group may be split, interleaved and merged gives the sequential fold.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, Int64Array, StringViewArray};
use datafusion::logical_expr::EmitTo;

use super::*;
use crate::json_merge_patch::fold_patches;
use crate::random_json::RandomJson;

/// One row: group, place in the order, patch.
type Row = (usize, Option<i64>, Option<String>);

const DESCENDING_NULLS_LAST: SortOptions = SortOptions {
    descending: true,
    nulls_first: false,
};

fn arguments(rows: &[Row]) -> Vec<ArrayRef> {
    let bodies: StringViewArray = rows.iter().map(|(_, _, body)| body.as_deref()).collect();
    let places: Int64Array = rows.iter().map(|(_, place, _)| *place).collect();
    vec![Arc::new(bodies), Arc::new(places)]
}

fn group_indices(rows: &[Row]) -> Vec<usize> {
    rows.iter().map(|(group, _, _)| *group).collect()
}

fn update(groups: &mut MergeGroups, rows: &[Row], count: usize) {
    groups
        .update_batch(&arguments(rows), &group_indices(rows), None, count)
        .expect("valid rows");
}

fn profiles(array: &ArrayRef) -> Vec<Option<String>> {
    array
        .as_string_view()
        .iter()
        .map(|profile| profile.map(str::to_string))
        .collect()
}

/// The profiles by sorting all rows and folding them one after another.
fn sequential(rows: &[Row], count: usize, options: SortOptions) -> Vec<Option<String>> {
    (0..count)
        .map(|group| {
            let mut patches: Vec<(Option<i64>, &str)> = rows
                .iter()
                .filter(|row| row.0 == group)
                .filter_map(|(_, place, body)| body.as_deref().map(|body| (*place, body)))
                .collect();
            patches.sort_by(|left, right| {
                let places = match (left.0, right.0) {
                    (Some(left), Some(right)) if options.descending => right.cmp(&left),
                    (Some(left), Some(right)) => left.cmp(&right),
                    (left, right) if options.nulls_first => left.is_some().cmp(&right.is_some()),
                    (left, right) => left.is_none().cmp(&right.is_none()),
                };
                places.then_with(|| left.1.as_bytes().cmp(right.1.as_bytes()))
            });
            let mut out = String::new();
            fold_patches(patches.iter().map(|(_, body)| *body), &mut out)
                .expect("valid")
                .then_some(out)
        })
        .collect()
}

fn random_rows(random: &mut RandomJson, count: usize, groups: usize) -> Vec<Row> {
    (0..count)
        .map(|_| {
            let place = random.below(9);
            let body = (random.below(10) > 0).then(|| random.patch());
            (
                random.below(groups),
                i64::try_from(place).ok().filter(|place| *place > 0),
                body,
            )
        })
        .collect()
}

#[test]
fn any_split_gives_the_sequential_fold() {
    let mut random = RandomJson::new(23);
    for round in 0..200 {
        let options = if round % 2 == 0 {
            SortOptions::default()
        } else {
            DESCENDING_NULLS_LAST
        };
        let group_count = 1 + random.below(6);
        let row_count = random.below(60);
        let rows = random_rows(&mut random, row_count, group_count);
        let expected = sequential(&rows, group_count, options);

        let mut partials: Vec<MergeGroups> =
            (0..3).map(|_| MergeGroups::new(vec![options])).collect();
        let mut last = MergeGroups::new(vec![options]);
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let (batch, left) = rest.split_at(1 + random.below(rest.len().min(7)));
            rest = left;
            match random.below(4) {
                3 => {
                    // A partial stage that has given up grouping passes rows on as states.
                    let states = last
                        .convert_to_state(&arguments(batch), None)
                        .expect("valid rows");
                    last.merge_batch(&states, &group_indices(batch), group_count)
                        .expect("valid states");
                }
                partial => update(&mut partials[partial], batch, group_count),
            }
        }
        while !partials.is_empty() {
            let chosen = random.below(partials.len());
            let mut partial = partials.remove(chosen);
            let present = partial.store.group_count();
            let split = random.below(present + 1);
            let first = partial.state(EmitTo::First(split)).expect("state");
            let second = partial.state(EmitTo::All).expect("state");
            let groups: Vec<usize> = (0..present).collect();
            let (first_groups, second_groups) = groups.split_at(split);
            last.merge_batch(&second, second_groups, group_count)
                .expect("valid states");
            last.merge_batch(&first, first_groups, group_count)
                .expect("valid states");
        }
        last.store.grow(group_count);
        let emitted = random.below(group_count + 1);
        let mut actual = profiles(&last.evaluate(EmitTo::First(emitted)).expect("profiles"));
        actual.extend(profiles(&last.evaluate(EmitTo::All).expect("profiles")));
        assert_eq!(actual, expected, "{rows:?}");
        assert_eq!(last.store.size(), 0);
    }
}

#[test]
fn filtered_rows_do_not_count() {
    let rows: Vec<Row> = [
        (0, "{\"a\":1}"),
        (0, "{\"a\":2}"),
        (1, "{\"a\":3}"),
        (0, "{\"b\":4}"),
    ]
    .iter()
    .map(|(group, body)| (*group, Some(1), Some((*body).to_string())))
    .collect();
    let filter = BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]);
    let mut updated = MergeGroups::new(vec![SortOptions::default()]);
    updated
        .update_batch(&arguments(&rows), &group_indices(&rows), Some(&filter), 2)
        .expect("valid rows");
    let mut merged = MergeGroups::new(vec![SortOptions::default()]);
    let states = merged
        .convert_to_state(&arguments(&rows), Some(&filter))
        .expect("valid rows");
    merged
        .merge_batch(&states, &group_indices(&rows), 2)
        .expect("valid states");
    for mut groups in [updated, merged] {
        let actual = profiles(&groups.evaluate(EmitTo::All).expect("profiles"));
        assert_eq!(actual, vec![Some("{\"a\": 1, \"b\": 4}".to_string()), None]);
    }
}

#[test]
fn without_an_order_patches_are_folded_as_they_arrive() {
    let bodies =
        |texts: Vec<&str>| -> Vec<ArrayRef> { vec![Arc::new(StringViewArray::from(texts))] };
    let mut first = MergeGroups::new(Vec::new());
    first
        .update_batch(&bodies(vec!["{\"a\":9}", "{\"a\":1}"]), &[0, 0], None, 1)
        .expect("valid rows");
    let mut last = MergeGroups::new(Vec::new());
    last.merge_batch(&first.state(EmitTo::All).expect("state"), &[0], 1)
        .expect("valid states");
    assert_eq!(
        profiles(&last.evaluate(EmitTo::All).expect("profiles")),
        vec![Some("{\"a\": 1}".to_string())]
    );
}

#[test]
fn a_window_may_ask_again() {
    let mut single = SingleGroup {
        groups: MergeGroups::new(Vec::new()),
    };
    assert_eq!(
        single.evaluate().expect("profile"),
        ScalarValue::Utf8View(None)
    );
    let batch: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from(vec!["{\"a\":1}"]))];
    single.update_batch(&batch).expect("valid rows");
    for _ in 0..2 {
        assert_eq!(
            single.evaluate().expect("profile"),
            ScalarValue::Utf8View(Some("{\"a\": 1}".into()))
        );
    }
    assert!(single.size() > size_of_val(&single));
}

#[test]
fn malformed_and_damaged_input_is_an_error() {
    let mut groups = MergeGroups::new(Vec::new());
    let batch: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from(vec!["{\"a\":"]))];
    groups
        .update_batch(&batch, &[0], None, 1)
        .expect("not read yet");
    let error = groups.evaluate(EmitTo::All).expect_err("malformed");
    assert_eq!(
        crate::JsonError::find(&error).map(|error| error.sqlstate),
        Some("22P02")
    );
    let damaged: Vec<ArrayRef> = vec![Arc::new(datafusion::arrow::array::LargeBinaryArray::from(
        vec![&b"xyz"[..]],
    ))];
    assert!(groups.merge_batch(&damaged, &[0], 1).is_err());
}
