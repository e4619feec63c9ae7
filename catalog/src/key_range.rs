//! Which keys of the row store a query's filters can match.
//!
//! Only what narrows an ordered scan is looked at: equality and IN on leading key columns, and one
//! range on the column behind them. Everything else is left to the filter above the scan, so the
//! answer may be too wide and is never too narrow.

use std::collections::HashMap;
use std::ops::Bound;

use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::definitions::Table;
use crate::error::Result;
use crate::row_codec::Bytes;

/// Keys that are fetched one by one at the most; more are scanned.
const POINT_KEYS_MAX: usize = 1_024;

/// Keys that a scan has to visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRange {
    /// Single keys, in key order.
    Keys(Vec<Bytes>),
    /// Keys between two bounds.
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

impl KeyRange {
    /// All keys.
    pub(crate) fn all() -> Self {
        Self::Range(Bound::Unbounded, Bound::Unbounded)
    }
}

/// What the filters say about one column.
#[derive(Debug, Default, Clone)]
pub(crate) struct ColumnBounds {
    /// Values the column is equal to; `None` where the filters do not say.
    pub values: Option<Vec<ScalarValue>>,
    /// What it is greater than, and whether it may be equal.
    pub lower: Option<(ScalarValue, bool)>,
    /// What it is less than, and whether it may be equal.
    pub upper: Option<(ScalarValue, bool)>,
}

/// The keys of `table` that rows matching all of `filters` can have.
pub(crate) fn key_range(table: &Table, filters: &[Expr]) -> Result<KeyRange> {
    let key_columns = table.key_columns();
    if key_columns.is_empty() || filters.is_empty() {
        return Ok(KeyRange::all());
    }
    let bounds = column_bounds(filters);
    let mut prefixes: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    let mut matched = 0;
    for at in key_columns {
        let Some(field) = table.schema.fields().get(*at) else {
            break;
        };
        let Some(column) = bounds.get(field.name().as_str()) else {
            break;
        };
        let Some(values) = &column.values else { break };
        let usable = values
            .iter()
            .all(|v| !v.is_null() && v.data_type() == *field.data_type());
        if !usable || prefixes.len() * values.len() > POINT_KEYS_MAX {
            break;
        }
        prefixes = prefixes
            .iter()
            .flat_map(|prefix| {
                values.iter().map(|value| {
                    let mut longer = prefix.clone();
                    longer.push(value.clone());
                    longer
                })
            })
            .collect();
        matched += 1;
    }
    if matched == key_columns.len() {
        return encode_points(table, &prefixes);
    }
    // Several prefixes would need several ranges; the filter above the scan sorts them out.
    let [prefix] = prefixes.as_slice() else {
        return Ok(KeyRange::all());
    };
    let next = key_columns
        .get(matched)
        .and_then(|at| table.schema.fields().get(*at));
    let next = next.and_then(|field| {
        let column = bounds.get(field.name().as_str())?;
        let same = |(value, inclusive): &(ScalarValue, bool)| {
            (!value.is_null() && value.data_type() == *field.data_type())
                .then(|| (value.clone(), *inclusive))
        };
        Some((
            column.lower.as_ref().and_then(same),
            column.upper.as_ref().and_then(same),
        ))
    });
    let (lower, upper) = next.unwrap_or_default();
    encode_range(table, prefix, lower, upper)
}

/// What filters that all have to hold say about each column.
pub(crate) fn column_bounds(filters: &[Expr]) -> HashMap<&str, ColumnBounds> {
    let mut bounds = HashMap::new();
    for filter in filters {
        collect(filter, &mut bounds);
    }
    bounds
}

fn collect<'a>(filter: &'a Expr, bounds: &mut HashMap<&'a str, ColumnBounds>) {
    match filter {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => {
            collect(left, bounds);
            collect(right, bounds);
        }
        // Short IN lists come as this.
        Expr::BinaryExpr(BinaryExpr {
            op: Operator::Or, ..
        }) => {
            let mut alternatives = None;
            if any_of(filter, &mut alternatives)
                && let Some((column, values)) = alternatives
            {
                note_values(column, values, bounds);
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) => {
                compare(&column.name, *op, value, bounds);
            }
            (Expr::Literal(value, _), Expr::Column(column)) => {
                if let Some(op) = op.swap() {
                    compare(&column.name, op, value, bounds);
                }
            }
            _ => {}
        },
        Expr::Between(between) if !between.negated => {
            if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                (&*between.expr, &*between.low, &*between.high)
            {
                compare(&column.name, Operator::GtEq, low, bounds);
                compare(&column.name, Operator::LtEq, high, bounds);
            }
        }
        Expr::IsNull(column) => {
            if let Expr::Column(column) = &**column {
                note_values(&column.name, vec![ScalarValue::Null], bounds);
            }
        }
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = &*list.expr else {
                return;
            };
            let values: Option<Vec<_>> = list
                .list
                .iter()
                .map(|item| match item {
                    Expr::Literal(value, _) => Some(value.clone()),
                    _ => None,
                })
                .collect();
            if let Some(values) = values {
                note_values(&column.name, values, bounds);
            }
        }
        _ => {}
    }
}

/// The column is equal to one of `values`.
fn note_values<'a>(
    column: &'a str,
    values: Vec<ScalarValue>,
    bounds: &mut HashMap<&'a str, ColumnBounds>,
) {
    let entry = bounds.entry(column).or_default();
    let known = entry.values.as_ref();
    if known.is_none_or(|known| known.len() > values.len()) {
        entry.values = Some(values);
    }
}

/// Collects the values of `c = 1 OR c = 2 OR …`; false if the filter is something else.
fn any_of<'a>(filter: &'a Expr, found: &mut Option<(&'a str, Vec<ScalarValue>)>) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
        return false;
    };
    let (column, value) = match (op, &**left, &**right) {
        (Operator::Or, ..) => return any_of(left, found) && any_of(right, found),
        (Operator::Eq, Expr::Column(column), Expr::Literal(value, _))
        | (Operator::Eq, Expr::Literal(value, _), Expr::Column(column)) => (column, value),
        _ => return false,
    };
    let (name, values) = found.get_or_insert_with(|| (&column.name, Vec::new()));
    if *name != column.name {
        return false;
    }
    values.push(value.clone());
    true
}

fn compare<'a>(
    column: &'a str,
    op: Operator,
    value: &ScalarValue,
    bounds: &mut HashMap<&'a str, ColumnBounds>,
) {
    let entry = bounds.entry(column).or_default();
    // The last bound wins: each one alone is right, the filter above the scan applies all.
    match op {
        Operator::Eq => entry.values = Some(vec![value.clone()]),
        Operator::Gt => entry.lower = Some((value.clone(), false)),
        Operator::GtEq => entry.lower = Some((value.clone(), true)),
        Operator::Lt => entry.upper = Some((value.clone(), false)),
        Operator::LtEq => entry.upper = Some((value.clone(), true)),
        _ => {}
    }
}

fn encode_points(table: &Table, points: &[Vec<ScalarValue>]) -> Result<KeyRange> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(table.key_columns().len());
    for at in 0..table.key_columns().len() {
        let values = points.iter().filter_map(|point| point.get(at).cloned());
        columns.push(ScalarValue::iter_to_array(values)?);
    }
    let mut keys = table.codec.encode_key_prefix(&columns)?.unwrap_or_default();
    keys.sort_unstable();
    keys.dedup();
    Ok(KeyRange::Keys(keys))
}

fn encode_range(
    table: &Table,
    prefix: &[ScalarValue],
    lower: Option<(ScalarValue, bool)>,
    upper: Option<(ScalarValue, bool)>,
) -> Result<KeyRange> {
    let encode = |last: Option<&ScalarValue>| -> Result<Vec<u8>> {
        let columns: Vec<ArrayRef> = prefix
            .iter()
            .chain(last)
            .map(ScalarValue::to_array)
            .collect::<Result<_, _>>()?;
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let keys = table.codec.encode_key_prefix(&columns)?.unwrap_or_default();
        Ok(keys.into_iter().next().unwrap_or_default().into_vec())
    };
    let start = match &lower {
        // A key with more columns is longer than the encoding of the bound, so that an exclusive
        // lower bound starts behind all keys with that prefix.
        Some((value, true)) => Bound::Included(encode(Some(value))?),
        Some((value, false)) => after_prefix(encode(Some(value))?, Bound::Included),
        None if prefix.is_empty() => Bound::Unbounded,
        None => Bound::Included(encode(None)?),
    };
    let end = match &upper {
        Some((value, true)) => after_prefix(encode(Some(value))?, Bound::Excluded),
        Some((value, false)) => Bound::Excluded(encode(Some(value))?),
        None if prefix.is_empty() => Bound::Unbounded,
        None => after_prefix(encode(None)?, Bound::Excluded),
    };
    if let (Bound::Included(start), Bound::Excluded(end)) = (&start, &end)
        && start >= end
    {
        return Ok(KeyRange::Keys(Vec::new()));
    }
    Ok(KeyRange::Range(start, end))
}

/// The first bytes behind all keys that start with `prefix`.
pub(crate) fn after_prefix(
    mut prefix: Vec<u8>,
    bound: fn(Vec<u8>) -> Bound<Vec<u8>>,
) -> Bound<Vec<u8>> {
    while let Some(last) = prefix.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return bound(prefix);
        }
        prefix.pop();
    }
    Bound::Unbounded
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;
    use crate::definitions::{ColumnDef, PrimaryKeyDef, Schedules, TableDef};
    use crate::types::SqlType;

    fn table() -> Table {
        let column = |name: &str, ty: SqlType| ColumnDef {
            not_null: true,
            ..ColumnDef::new(name, ty)
        };
        Table::new(TableDef {
            oid: 1,
            schema: 2,
            name: "t".to_string(),
            owner: 10,
            storage: 1,
            columns: vec![
                column("a", SqlType::Int8),
                column("b", SqlType::Text),
                column("c", SqlType::Int4),
            ],
            primary_key: Some(PrimaryKeyDef {
                constraint_oid: 3,
                index_oid: 4,
                name: "t_pkey".to_string(),
                columns: vec![0, 1],
            }),
            closing: None,
            schedules: Schedules::default(),
            retention_s: None,
            history: None,
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            on_commit: crate::definitions::OnCommit::default(),
            materialized: None,
        })
        .unwrap()
    }

    fn text(value: &str) -> Expr {
        lit(ScalarValue::Utf8View(Some(value.to_string())))
    }

    #[test]
    fn whole_keys_are_points() {
        let filters = [
            col("a").in_list(vec![lit(2i64), lit(1i64)], false),
            col("b").eq(text("x")),
        ];
        let KeyRange::Keys(keys) = key_range(&table(), &filters).unwrap() else {
            panic!()
        };
        assert_eq!(keys.len(), 2);
        assert!(keys.is_sorted());
    }

    #[test]
    fn alternatives_of_one_column_are_a_list() {
        let is = |value: i64| col("a").eq(lit(value));
        let filters = [is(2).or(is(1)).or(is(9)), col("b").eq(text("x"))];
        let KeyRange::Keys(keys) = key_range(&table(), &filters).unwrap() else {
            panic!()
        };
        assert_eq!(keys.len(), 3);
        let mixed = [is(2).or(col("b").eq(text("x")))];
        assert_eq!(key_range(&table(), &mixed).unwrap(), KeyRange::all());
    }

    #[test]
    fn a_leading_column_is_a_range() {
        let filters = [col("a").eq(lit(7i64)).and(col("b").gt(text("k")))];
        let KeyRange::Range(start, end) = key_range(&table(), &filters).unwrap() else {
            panic!()
        };
        assert!(matches!(start, Bound::Included(_)));
        assert!(matches!(end, Bound::Excluded(_)));
    }

    #[test]
    fn empty_ranges_visit_nothing() {
        let filters = [col("a").gt(lit(7i64)), col("a").lt(lit(7i64))];
        assert_eq!(
            key_range(&table(), &filters).unwrap(),
            KeyRange::Keys(Vec::new())
        );
    }

    #[test]
    fn other_filters_visit_everything() {
        for filter in [
            col("c").eq(lit(1i32)),
            col("b").eq(text("x")),
            col("a").eq(lit(1i32)),
        ] {
            assert_eq!(key_range(&table(), &[filter]).unwrap(), KeyRange::all());
        }
    }
}
