//! `USING` and `NATURAL` in RIGHT and FULL joins.
//!
//! A column that both sides are joined by is one column of the result: that of the right side in a RIGHT join, the one that is not
//! NULL in a FULL join. DataFusion takes the left side's in every join. So the name without a relation, and the column
//! that `*` has of it, are spelled out before planning; `t.id` goes on to be the column of `t`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::datatypes::FieldRef;
use sqlparser::ast::{
    BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, OrderBy, OrderByKind, Query, Select,
    SelectItem, SetExpr, TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
    WildcardAdditionalOptions,
};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::from_columns::{Scopes, columns_of};
use crate::sql::names;
use crate::sql::normalize::{build, factors};
use crate::sql::planner::Planner;

/// Spells out the merged columns of all such joins. Relations that cannot be planned by themselves are refused beside them.
pub(super) fn spell_out(
    planner: &Planner,
    query: &mut Query,
    parameters: &[Option<FieldRef>],
) -> Result<()> {
    if Visit::visit(&*query, &mut Finder).is_continue() {
        return Ok(());
    }
    let mut merger = Merger {
        planner,
        parameters,
        scopes: Scopes::default(),
    };
    match VisitMut::visit(query, &mut merger) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Breaks at a join that merges otherwise than DataFusion does.
struct Finder;

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        match select.from.iter().any(merges) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn merges(item: &TableWithJoins) -> bool {
    let inside = factors(item).any(|factor| match factor {
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => merges(table_with_joins),
        _ => false,
    });
    let here = item.joins.iter().any(|join| {
        let constraint = match &join.join_operator {
            JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => constraint,
            _ => return false,
        };
        matches!(
            constraint,
            JoinConstraint::Using(_) | JoinConstraint::Natural
        )
    });
    inside || here
}

struct Merger<'a> {
    planner: &'a Planner,
    parameters: &'a [Option<FieldRef>],
    scopes: Scopes,
}

impl VisitorMut for Merger<'_> {
    type Break = PgError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<PgError> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<PgError> {
        let merged = match self.body(&mut query.body) {
            Ok(merged) => merged,
            Err(error) => return ControlFlow::Break(error),
        };
        if let (Some(merged), SetExpr::Select(select)) = (merged, query.body.as_ref()) {
            order_by(query.order_by.as_mut(), select, &merged);
        }
        self.scopes.leave(query);
        ControlFlow::Continue(())
    }
}

/// What names mean that are merged.
type Merged = HashMap<String, Expr>;

impl Merger<'_> {
    /// Spells out the columns of the SELECTs of a query; returns those of its only one.
    fn body(&self, body: &mut SetExpr) -> Result<Option<Merged>> {
        Ok(match body {
            SetExpr::Select(select) if select.from.iter().any(merges) => {
                let mut from = select.from.clone();
                let columns = self.columns(&mut from)?;
                select.from = from;
                let merged = columns.iter().filter(|(_, expr)| !is_column(expr));
                let merged: Merged = merged.cloned().collect();
                spell(select, &columns, &merged);
                Some(merged)
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)?;
                None
            }
            _ => None,
        })
    }

    /// The columns that `*` stands for. A join by a column that is merged already gets the condition that says so.
    fn columns(&self, from: &mut [TableWithJoins]) -> Result<Vec<(String, Expr)>> {
        let mut all = Vec::new();
        for item in from {
            all.extend(self.of_item(item)?);
        }
        Ok(all)
    }

    fn of_item(&self, item: &mut TableWithJoins) -> Result<Vec<(String, Expr)>> {
        let mut left = self.of(&mut item.relation)?;
        for join in &mut item.joins {
            let right = self.of(&mut join.relation)?;
            left = joined(left, right, &mut join.join_operator)?;
        }
        Ok(left)
    }

    fn of(&self, relation: &mut TableFactor) -> Result<Vec<(String, Expr)>> {
        if let TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } = relation
        {
            return self.of_item(table_with_joins);
        }
        let columns = columns_of(self.planner, &self.scopes, relation, self.parameters);
        // What is over columns of others cannot be asked for its own.
        let columns = columns.map_err(|error| match error.code {
            sqlstate::UNDEFINED_COLUMN | sqlstate::FEATURE_NOT_SUPPORTED => PgError::unsupported(
                "LATERAL beside a RIGHT or FULL join with USING or NATURAL is not supported",
            ),
            _ => error,
        })?;
        let columns = columns.into_iter();
        Ok(columns.map(|c| (c.name.clone(), c.reference())).collect())
    }
}

/// The columns of a join: those that it merges, then the others of the left and of the right side.
fn joined(
    left: Vec<(String, Expr)>,
    right: Vec<(String, Expr)>,
    operator: &mut JoinOperator,
) -> Result<Vec<(String, Expr)>> {
    let (constraint, is_right, is_full) = match operator {
        JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => {
            (c, false, false)
        }
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (c, false, false),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (c, true, false),
        JoinOperator::FullOuter(c) => (c, false, true),
        _ => return Err(PgError::internal("a join of another kind")),
    };
    let find = |side: &[(String, Expr)], name: &str| {
        let found = side.iter().find(|(known, _)| known == name);
        found.map(|(_, expr)| expr.clone())
    };
    let names: Vec<String> = match &*constraint {
        JoinConstraint::Using(columns) => {
            let idents = columns.iter().filter_map(|name| name.0.last()?.as_ident());
            idents.map(names::fold).collect()
        }
        JoinConstraint::Natural => {
            let common = left.iter().filter(|(name, _)| find(&right, name).is_some());
            common.map(|(name, _)| name.clone()).collect()
        }
        _ => Vec::new(),
    };
    let mut columns = Vec::with_capacity(left.len() + right.len());
    let mut conditions = Vec::with_capacity(names.len());
    let mut is_merged = false;
    for name in &names {
        let missing = |side| {
            PgError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!(
                    "column \"{name}\" specified in USING clause does not exist in {side} table"
                ),
            )
        };
        let one = find(&left, name).ok_or_else(|| missing("left"))?;
        let other = find(&right, name).ok_or_else(|| missing("right"))?;
        is_merged |= !is_column(&one);
        conditions.push(Expr::BinaryOp {
            left: Box::new(one.clone()),
            op: BinaryOperator::Eq,
            right: Box::new(other.clone()),
        });
        let merged = match (is_right, is_full) {
            (true, _) => spelled(other),
            (_, true) => build::call("coalesce", vec![one, other]),
            _ => one,
        };
        columns.push((name.clone(), merged));
    }
    let all = conditions.into_iter().reduce(|one, other| Expr::BinaryOp {
        left: Box::new(one),
        op: BinaryOperator::And,
        right: Box::new(other),
    });
    if let Some(condition) = all.filter(|_| is_merged) {
        *constraint = JoinConstraint::On(condition);
    }
    for (name, expr) in left.into_iter().chain(right) {
        if !names.contains(&name) {
            columns.push((name, expr));
        }
    }
    Ok(columns)
}

/// The right side's column in the place of the left one's: no plain name, so that it is put in for the name.
fn spelled(column: Expr) -> Expr {
    Expr::Nested(Box::new(column))
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn spell(select: &mut Select, columns: &[(String, Expr)], merged: &Merged) {
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) if is_plain(&options) => {
                items.extend(columns.iter().map(|(name, expr)| match is_column(expr) {
                    true => SelectItem::UnnamedExpr(expr.clone()),
                    false => aliased(name, expr),
                }));
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => {
                let folded = build::fold(&name);
                items.push(match merged.get(&folded) {
                    Some(expr) => aliased(&folded, expr),
                    None => SelectItem::UnnamedExpr(Expr::Identifier(name)),
                });
            }
            other => items.push(other),
        }
    }
    select.projection = items;
    let mut names = Names { merged, depth: 0 };
    let from = std::mem::take(&mut select.from);
    let _: ControlFlow<()> = VisitMut::visit(select, &mut names);
    select.from = from;
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.to_string().is_empty()
}

fn aliased(name: &str, expr: &Expr) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr: expr.clone(),
        alias: Ident::with_quote('"', name),
    }
}

/// ORDER BY takes a column of the result by its name; any other name is one of FROM.
fn order_by(order: Option<&mut OrderBy>, select: &Select, merged: &Merged) {
    let Some(OrderBy {
        kind: OrderByKind::Expressions(keys),
        ..
    }) = order
    else {
        return;
    };
    let given: Vec<String> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(build::fold(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(build::fold(name)),
            _ => None,
        })
        .collect();
    for key in keys {
        let is_output =
            matches!(&key.expr, Expr::Identifier(name) if given.contains(&build::fold(name)));
        if !is_output {
            let mut names = Names { merged, depth: 0 };
            let _: ControlFlow<()> = VisitMut::visit(&mut key.expr, &mut names);
        }
    }
}

/// Puts in what merged names mean, but in subqueries, which have names of their own.
struct Names<'a> {
    merged: &'a Merged,
    depth: usize,
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(name) = expr
            && let Some(merged) = self.merged.get(&build::fold(name))
        {
            *expr = merged.clone();
        }
        ControlFlow::Continue(())
    }
}
