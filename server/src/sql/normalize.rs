//! Rewrites a parsed statement, so that DataFusion's planner reads it with PostgreSQL's meaning.
//!
//! The input is the tree that `PostgreSqlDialect` parsed; no text is ever rewritten. What DataFusion
//! understands as PostgreSQL does is left alone, so most statements come out as they went in. Two steps:
//!
//! 1. [`normalize`] edits the syntax tree before planning: operators and names with a schema, casts to
//!    types DataFusion does not have, arrays, set-returning functions in FROM, names of result columns.
//! 2. [`bound_scalar_subqueries`] edits the logical plan after planning, before it is optimised: subqueries that are
//!    values and functions in FROM that see columns before them get a form that can be run.
//!
//! Some rewrites call functions named `nyala_…`; those come from [`crate::pg_catalog::function`] and
//! [`crate::pg_catalog::aggregates`].

use std::ops::ControlFlow;

use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast::{
    BinaryOperator, Expr, ObjectName, Query, Select, TableFactor, UnaryOperator, VisitMut,
    VisitorMut,
};

use crate::error::{PgError, Result};
use crate::sql::integers;
use crate::sql::normalize::unnesting::Numbers;

mod arrays;
mod bounds;
pub(in crate::sql) mod build;
mod calls;
mod casts;
mod computed_keys;
mod correlation;
mod domain_join;
mod empty;
mod from;
mod functions;
mod grand_total;
mod join_conditions;
mod labels;
mod lateral;
mod membership;
mod multisets;
mod nullable;
mod quantified;
mod recursion;
mod rows;
mod sample;
mod sequences;
mod sets;
mod single_row;
mod unnesting;
mod values;

pub use calls::SERIES;
pub use functions::{calls_aggregate_or_set, factors, is_keyword};
pub use labels::column_label;
pub use nullable::derived;
pub use sets::returns_value;

/// Rewrites a statement, query or expression in place.
pub fn normalize<Node: VisitMut>(node: &mut Node) -> Result<()> {
    edit(node)?;
    integers::mark(node);
    let _: ControlFlow<()> = node.visit(&mut ArrayLiterals);
    Ok(())
}

fn edit<Node: VisitMut>(node: &mut Node) -> Result<()> {
    match node.visit(&mut Normalizer { depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Rewrites a logical plan as it was planned: keys of grouping sets become columns.
pub fn grouping_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(grand_total::keys)?.data)
}

/// Rewrites a logical plan that is not optimised yet: bounds subqueries used as values to one row, flattens functions in FROM over
/// columns before them, filters by limits that are computed or have ties, and gives grouping sets their row of no rows. Its output columns stay as they are.
pub fn bound_scalar_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(lateral::flatten)?.data;
    let plan = plan.transform_up_with_subqueries(bounds::filter_rows)?.data;
    let plan = plan.transform_up_with_subqueries(multisets::numbered)?.data;
    let plan = plan
        .transform_up_with_subqueries(join_conditions::filtered_above)?
        .data;
    let totals = plan.transform_up_with_subqueries(grand_total::of_no_rows)?;
    let mut numbers = Numbers::default();
    let plan = totals.data;
    let bound = plan.transform_up_with_subqueries(|node| single_row::bound(node, &mut numbers))?;
    let keys = bound
        .data
        .transform_up_with_subqueries(computed_keys::as_columns)?;
    let changed = totals.transformed || bound.transformed || keys.transformed;
    Ok(nullable::subqueries(keys.data, changed)?)
}

/// Runs last: until then array literals are known as what they are.
struct ArrayLiterals;

impl VisitorMut for ArrayLiterals {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        arrays::literal(expr);
        ControlFlow::Continue(())
    }
}

struct Normalizer {
    /// Queries around the current node, itself included.
    depth: usize,
}

impl VisitorMut for Normalizer {
    type Break = PgError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<PgError> {
        self.depth += 1;
        values::resolve(query);
        labels::apart_from_order(query, self.depth == 1);
        labels::order_by_position(query);
        match bounds::literals(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<PgError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<PgError> {
        // Names come from the expressions as they were written, so before anything changes them.
        labels::label_columns(select, self.depth == 1);
        grand_total::without_keys(select);
        empty::drop_subqueries_over_nothing(select);
        if let Some(condition) = &mut select.selection
            && let Err(error) = rows::condition(condition)
        {
            return ControlFlow::Break(error);
        }
        functions::resolve_system_columns(select);
        if let Some(condition) = &mut select.selection {
            casts::condition(condition);
        }
        if let Some(condition) = &mut select.having {
            casts::condition(condition);
        }
        casts::show_names(select);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<PgError> {
        calls::named_frames(select);
        select.from.iter_mut().for_each(from::beside_outer_joins);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<PgError> {
        if !sets::in_from(factor) {
            from::rewrite(factor);
        }
        match sample::rewrite(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PgError> {
        calls::plain_string(expr);
        casts::typed_string(expr);
        sets::field_of_set(expr);
        empty::drop_subquery_of_nothing(expr);
        sequences::lookup(expr);
        casts::cast_twice(expr);
        arrays::array_subquery(expr);
        rows::negated_list(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PgError> {
        plain_operator(expr);
        drop_collation(expr);
        like_escape(expr);
        match expr {
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => casts::condition(expr),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And | BinaryOperator::Or,
                right,
            } => {
                casts::condition(left);
                casts::condition(right);
            }
            _ => {}
        }
        casts::large_number(expr);
        casts::cast(expr);
        functions::keyword(expr);
        functions::listening_channels(expr);
        functions::partition_ancestors(expr);
        functions::strip_schema(expr);
        functions::field_access(expr);
        functions::timezone(expr);
        functions::substring_of_pattern(expr);
        calls::spell_out(expr);
        quantified::over_subquery(expr);
        quantified::over_values(expr);
        arrays::quantified(expr);
        arrays::vector(expr);
        calls::distinct_in_order(expr);
        calls::result_type(expr);
        match rows::compare(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// `a OPERATOR(pg_catalog.~) b` is `a ~ b`: psql spells operators that way.
fn plain_operator(expr: &mut Expr) {
    let Expr::BinaryOp { op, .. } = expr else {
        return;
    };
    let BinaryOperator::PGCustomBinaryOperator(parts) = &op else {
        return;
    };
    let plain = match parts.last().map(String::as_str) {
        Some("=") => BinaryOperator::Eq,
        Some("<>" | "!=") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("*") => BinaryOperator::Multiply,
        Some("/") => BinaryOperator::Divide,
        Some("%") => BinaryOperator::Modulo,
        Some("||") => BinaryOperator::StringConcat,
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("~~*") => BinaryOperator::PGILikeMatch,
        Some("!~~") => BinaryOperator::PGNotLikeMatch,
        Some("!~~*") => BinaryOperator::PGNotILikeMatch,
        Some("@>") => BinaryOperator::AtArrow,
        Some("<@") => BinaryOperator::ArrowAt,
        Some("->") => BinaryOperator::Arrow,
        Some("->>") => BinaryOperator::LongArrow,
        Some("#>") => BinaryOperator::HashArrow,
        Some("#>>") => BinaryOperator::HashLongArrow,
        _ => return,
    };
    *op = plain;
}

/// Text compares byte by byte here, which is what the collations `C`, `POSIX` and the database's default mean.
fn drop_collation(expr: &mut Expr) {
    let Expr::Collate {
        expr: inner,
        collation,
    } = expr
    else {
        return;
    };
    if matches!(
        last_name(collation).as_deref(),
        Some("default" | "C" | "POSIX" | "ucs_basic")
    ) {
        *expr = build::take(inner);
    }
}

/// LIKE with an escape character of its own: the pattern is rewritten to escape with a backslash.
fn like_escape(expr: &mut Expr) {
    if let Expr::Like {
        pattern,
        escape_char,
        ..
    }
    | Expr::ILike {
        pattern,
        escape_char,
        ..
    } = expr
        && let Some(escape) = escape_char.take()
    {
        **pattern = build::call(
            "nyala_like_pattern",
            vec![build::take(pattern), Expr::Value(escape)],
        );
    }
}

/// The name of an object without its schema, where that is `pg_catalog` or left out.
fn system_name(name: &ObjectName) -> Option<String> {
    let parts: Option<Vec<_>> = name
        .0
        .iter()
        .map(|part| part.as_ident().map(build::fold))
        .collect();
    match parts?.as_slice() {
        [name] => Some(name.clone()),
        [schema, name] if schema == "pg_catalog" => Some(name.clone()),
        _ => None,
    }
}

fn last_name(name: &ObjectName) -> Option<String> {
    name.0
        .last()
        .and_then(|part| part.as_ident())
        .map(build::fold)
}

#[cfg(test)]
mod tests;
