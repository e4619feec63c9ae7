//! What is known of parts together.

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::stats::Precision;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::statistics::StatisticsContext;

use super::*;

/// A part of rows whose columns `a` and `b` have these values.
fn part(a: &[Option<i64>], b: &[Option<i64>]) -> Arc<dyn ExecutionPlan> {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Int64, true),
    ]);
    let schema = Arc::new(schema);
    let columns = [a, b].map(|values| Arc::new(Int64Array::from(values.to_vec())) as _);
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns.to_vec()).unwrap();
    MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None).unwrap()
}

fn statistics(plan: &Arc<dyn ExecutionPlan>) -> Arc<Statistics> {
    let context = StatisticsContext::new();
    let found = context.compute(plan.as_ref(), &StatisticsArgs::new());
    found.unwrap()
}

#[test]
fn rows_of_parts_add_up() {
    let parts = vec![
        part(&[Some(1), Some(2)], &[None, None]),
        part(&[Some(3)], &[Some(4)]),
    ];
    let plan = PartsExec::of(parts).unwrap();
    assert_eq!(statistics(&plan).num_rows, Precision::Exact(3));
}

#[test]
fn the_union_takes_its_place() {
    let parts = vec![part(&[Some(1)], &[None]), part(&[Some(3)], &[Some(4)])];
    let plan = PartsExec::of(parts).unwrap();
    let replaced = UnionOfParts.optimize(plan, &ConfigOptions::new()).unwrap();
    assert!(replaced.is::<UnionExec>());
    let rules = physical_optimizer_rules();
    let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
    let at = names
        .iter()
        .position(|name| *name == AGGREGATES_FROM_STATISTICS);
    assert_eq!(names.get(at.unwrap() + 1), Some(&"union_of_parts"));
    let at = names.iter().position(|name| *name == "add_sieves");
    assert_eq!(names.get(at.unwrap() + 1), Some(&DYNAMIC_FILTERS));
}
