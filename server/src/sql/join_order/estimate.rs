//! How many rows a plan has, and how many different values a column: guesses that only decide an order.
//!
//! What is known is the number of rows of stored tables and the bounds of their columns. The rest is assumed as PostgreSQL
//! and System R assume it: values are spread evenly between their bounds, conditions do not depend on each other.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, FetchType, JoinType, LogicalPlan, Operator, TableScan,
};

use super::column;

use crate::sql::shared_ctes::SharedRows;

/// What is assumed of a condition that says nothing about bounds.
const UNKNOWN: f64 = 0.2;
/// Of `=` with a value where the number of values is not known, `LIKE`, and a comparison of two columns.
const EQUAL: f64 = 0.02;
const LIKE: f64 = 0.1;
const COLUMNS_COMPARED: f64 = 0.33;
/// Rows of the outer side for which EXISTS holds.
const EXISTS: f64 = 0.5;
/// No condition is believed to leave less than this.
const LEAST: f64 = 1e-6;

/// What is known, or guessed, of a plan's rows.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    /// Rows that the plan returns.
    pub(super) rows: f64,
    /// Rows without its filters.
    pub(super) all_rows: f64,
    columns: HashMap<Column, Values>,
}

/// What is known of a column.
#[derive(Debug, Clone, Copy)]
struct Values {
    /// Different values, at most.
    distinct: f64,
    bounds: Option<(f64, f64)>,
    /// Part of the rows that are null.
    nulls: f64,
}

impl Estimate {
    /// The estimate of a plan; `None` if it reads something of which nothing is known.
    pub(super) fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => Self::of_scan(scan),
            LogicalPlan::SubqueryAlias(alias) => {
                let inner = Self::of(&alias.input)?;
                // The same columns, by position, under another name.
                let names = alias.input.schema().columns();
                let renamed = names.into_iter().zip(alias.schema.columns());
                Some(inner.renamed(renamed))
            }
            LogicalPlan::Extension(node) => Self::of(SharedRows::input_of(node)?),
            LogicalPlan::Projection(projection) => {
                let inner = Self::of(&projection.input)?;
                let outputs = projection.schema.columns();
                let items = projection.expr.iter().zip(outputs);
                let kept = items.filter_map(|(item, to)| Some((column(item)?.clone(), to)));
                Some(inner.renamed(kept))
            }
            LogicalPlan::Filter(filter) => {
                let mut inner = Self::of(&filter.input)?;
                // What the scan was told, too, is counted there.
                let told = match filter.input.as_ref() {
                    LogicalPlan::TableScan(scan) => scan.filters.as_slice(),
                    _ => &[],
                };
                let conditions = split_conjunction(&filter.predicate);
                let new = conditions.into_iter().filter(|c| !told.contains(c));
                inner.rows *= inner.together(new);
                Some(inner)
            }
            LogicalPlan::Aggregate(aggregate) => {
                let inner = Self::of(&aggregate.input)?;
                let groups = aggregate.group_expr.iter();
                let groups: f64 = groups
                    .map(|g| inner.values(g).unwrap_or(inner.rows))
                    .product();
                let outputs = aggregate.schema.columns();
                let items = aggregate.group_expr.iter().zip(outputs);
                let kept = items.filter_map(|(item, to)| Some((column(item)?.clone(), to)));
                let kept: Vec<_> = kept.collect();
                let rows = groups.min(inner.rows).max(1.0);
                Some(Self {
                    rows,
                    all_rows: rows,
                    ..inner.renamed(kept)
                })
            }
            LogicalPlan::Join(join) => {
                let (left, right) = (Self::of(&join.left)?, Self::of(&join.right)?);
                let rows = match join.join_type {
                    JoinType::LeftSemi | JoinType::LeftAnti => left.rows * EXISTS,
                    JoinType::RightSemi | JoinType::RightAnti => right.rows * EXISTS,
                    JoinType::Left | JoinType::LeftMark => left.rows,
                    JoinType::Right | JoinType::RightMark => right.rows,
                    JoinType::Inner | JoinType::Full => left.rows.max(right.rows),
                };
                let all_rows = match join.join_type {
                    JoinType::LeftSemi | JoinType::LeftAnti => left.all_rows,
                    JoinType::RightSemi | JoinType::RightAnti => right.all_rows,
                    _ => left.all_rows.max(right.all_rows),
                };
                let mut columns = left.columns;
                columns.extend(right.columns);
                Some(Self {
                    rows,
                    all_rows,
                    columns,
                })
            }
            LogicalPlan::Limit(limit) => {
                let mut inner = Self::of(&limit.input)?;
                if let Ok(FetchType::Literal(Some(fetch))) = limit.get_fetch_type() {
                    inner.rows = inner.rows.min(fetch as f64);
                }
                Some(inner)
            }
            LogicalPlan::Union(union) => {
                let parts = union.inputs.iter().map(|input| Self::of(input));
                let parts: Vec<Self> = parts.collect::<Option<_>>()?;
                let rows = parts.iter().map(|part| part.rows).sum();
                Some(Self::without_columns(rows))
            }
            LogicalPlan::Sort(sort) => Self::of(&sort.input),
            LogicalPlan::Window(window) => Self::of(&window.input),
            LogicalPlan::Repartition(repartition) => Self::of(&repartition.input),
            LogicalPlan::Subquery(subquery) => Self::of(&subquery.subquery),
            LogicalPlan::Distinct(distinct) => Self::of(distinct.input()),
            LogicalPlan::Values(values) => Some(Self::without_columns(values.values.len() as f64)),
            LogicalPlan::EmptyRelation(_) => Some(Self::without_columns(1.0)),
            _ => None,
        }
    }

    fn of_scan(scan: &TableScan) -> Option<Self> {
        let statistics = source_as_provider(&scan.source).ok()?.statistics()?;
        let rows = *statistics.num_rows.get_value()? as f64;
        let schema = scan.source.schema();
        let columns = schema.fields().iter().zip(&statistics.column_statistics);
        let columns = columns.map(|(field, known)| {
            let name = Column::new(Some(scan.table_name.clone()), field.name());
            (name, Values::new(field.data_type(), known, rows))
        });
        let mut estimate = Self {
            rows,
            all_rows: rows.max(1.0),
            columns: columns.collect(),
        };
        estimate.rows *= estimate.together(scan.filters.iter());
        Some(estimate)
    }

    fn without_columns(rows: f64) -> Self {
        Self {
            rows,
            all_rows: rows.max(1.0),
            columns: HashMap::new(),
        }
    }

    fn renamed(mut self, names: impl IntoIterator<Item = (Column, Column)>) -> Self {
        let names = names.into_iter();
        let known = names.filter_map(|(from, to)| Some((to, *self.columns.get(&from)?)));
        self.columns = known.collect();
        self
    }

    /// Different values of a column of this plan, at most; `None` if the expression is no column of it.
    pub(super) fn values(&self, expr: &Expr) -> Option<f64> {
        let known = self.columns.get(column(expr)?)?;
        Some(known.distinct.min(self.all_rows).max(1.0))
    }

    /// The part of the rows for which a condition holds.
    pub(super) fn selectivity(&self, condition: &Expr) -> f64 {
        self.together(split_conjunction(condition))
    }

    /// The part of the rows for which all conditions hold. Bounds of one column are one condition.
    fn together<'a>(&self, conditions: impl IntoIterator<Item = &'a Expr>) -> f64 {
        let mut ranges: HashMap<&Column, (f64, f64)> = HashMap::new();
        let mut part = 1.0;
        for condition in conditions {
            match bound(condition) {
                Some((column, low, high)) if self.bounds(column).is_some() => {
                    let range = ranges.entry(column).or_insert((f64::MIN, f64::MAX));
                    *range = (range.0.max(low), range.1.min(high));
                }
                _ => part *= self.alone(condition),
            }
        }
        for (column, (low, high)) in ranges {
            let Some((min, max)) = self.bounds(column) else {
                continue;
            };
            let within = high.min(max) - low.max(min);
            let whole = max - min;
            part *= if whole > 0.0 {
                (within / whole).clamp(0.0, 1.0)
            } else {
                1.0
            };
        }
        part.max(LEAST)
    }

    fn bounds(&self, column: &Column) -> Option<(f64, f64)> {
        self.columns.get(column)?.bounds
    }

    fn alone(&self, condition: &Expr) -> f64 {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => self.selectivity(left) * self.selectivity(right),
                Operator::Or => {
                    let (left, right) = (self.selectivity(left), self.selectivity(right));
                    left + right - left * right
                }
                Operator::Eq if is_value(left) => self.equal(right),
                Operator::Eq if is_value(right) => self.equal(left),
                Operator::NotEq => 1.0 - EQUAL,
                _ if column(left).is_some() && column(right).is_some() => COLUMNS_COMPARED,
                _ => UNKNOWN,
            },
            Expr::Not(inner) => 1.0 - self.selectivity(inner),
            Expr::InList(list) if list.negated => 1.0 - EQUAL,
            Expr::InList(list) => (self.equal(&list.expr) * list.list.len() as f64).min(1.0),
            Expr::Like(like) if like.negated => 1.0 - LIKE,
            Expr::Like(_) | Expr::SimilarTo(_) => LIKE,
            Expr::IsNull(inner) => self.nulls(inner),
            Expr::IsNotNull(inner) => 1.0 - self.nulls(inner),
            Expr::Literal(ScalarValue::Boolean(Some(true)), _) => 1.0,
            _ => UNKNOWN,
        }
    }

    fn equal(&self, side: &Expr) -> f64 {
        let known = column(side).and_then(|column| self.columns.get(column));
        match known {
            Some(known) if known.distinct < self.all_rows => 1.0 / known.distinct.max(1.0),
            // A key, or a column of which nothing is known.
            _ => EQUAL.min(1.0 / self.all_rows.sqrt()).max(LEAST),
        }
    }

    fn nulls(&self, side: &Expr) -> f64 {
        let known = column(side).and_then(|column| self.columns.get(column));
        known.map_or(EQUAL, |known| known.nulls)
    }
}

impl Values {
    fn new(data_type: &DataType, known: &ColumnStatistics, rows: f64) -> Self {
        let min = known.min_value.get_value().and_then(number);
        let max = known.max_value.get_value().and_then(number);
        let bounds = min.zip(max);
        let counted = known.distinct_count.get_value().map(|count| *count as f64);
        let distinct = counted.unwrap_or(match bounds {
            Some((min, max)) if is_discrete(data_type) => (max - min + 1.0).min(rows),
            _ => rows,
        });
        let nulls = match (known.null_count, rows > 0.0) {
            (Precision::Exact(nulls) | Precision::Inexact(nulls), true) => nulls as f64 / rows,
            _ => EQUAL,
        };
        Self {
            distinct,
            bounds,
            nulls,
        }
    }
}

/// What a comparison of a column with a value leaves of the column: its lower and upper bound.
fn bound(condition: &Expr) -> Option<(&Column, f64, f64)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, value, op) = match (column(left), value(right)) {
                (Some(column), Some(value)) => (column, value, *op),
                _ => (column(right)?, value(left)?, op.swap()?),
            };
            match op {
                Operator::Lt | Operator::LtEq => Some((column, f64::MIN, value)),
                Operator::Gt | Operator::GtEq => Some((column, value, f64::MAX)),
                _ => None,
            }
        }
        Expr::Between(between) if !between.negated => Some((
            column(&between.expr)?,
            value(&between.low)?,
            value(&between.high)?,
        )),
        _ => None,
    }
}

fn is_value(expr: &Expr) -> bool {
    expr.column_refs().is_empty()
}

fn value(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(value, _) => number(value),
        Expr::Cast(cast) => value(&cast.expr),
        _ => None,
    }
}

/// A value on a line, such that distances mean something: numbers, days, microseconds.
fn number(value: &ScalarValue) -> Option<f64> {
    let to = match value.data_type() {
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, zone)
        }
        DataType::Date32 => DataType::Int32,
        data_type if data_type.is_numeric() => DataType::Float64,
        _ => return None,
    };
    match value.cast_to(&to).ok()? {
        ScalarValue::Float64(value) => value,
        ScalarValue::Int32(value) => value.map(f64::from),
        ScalarValue::TimestampMicrosecond(value, _) => value.map(|value| value as f64),
        _ => None,
    }
}

fn is_discrete(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Date32)
}
