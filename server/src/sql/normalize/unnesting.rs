//! Correlated subqueries as joins, wherever they look at the query around them.
//!
//! DataFusion can turn a subquery into a join only where it looks out in a filter, and out of an aggregate only through
//! equalities. Everything else goes through here, as T. Neumann and A. Kemper have it in "Unnesting Arbitrary Queries"
//! (BTW 2015): the *domain* is the distinct combinations of values of the outer columns that the subquery looks at. It is joined with
//! what the subquery reads, each step above passes its columns on, and the result is joined with the outer query by them:
//!
//! - an aggregate is grouped by them as well; one without groups has a row for each combination, also where it counts nothing;
//! - a window is partitioned by them, and a limit is a row number within such a partition;
//! - where a filter makes an inner column equal to each outer one, those are the domain, and nothing is joined below.
//!
//! NULLs are equal to each other wherever the domain is joined.
//!
//! What is left out: recursive queries that look out, and the row that an empty grouping set has where there is nothing to group.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, JoinType, Result as DfResult, not_impl_err};
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprFunctionExt, Filter, GroupingSet, Join, LogicalPlan,
    LogicalPlanBuilder, Projection, SortExpr, Subquery, Union, Values, Window, cast, lit,
};

use crate::sql::normalize::correlation::equality;
use crate::sql::normalize::domain_join::{joined, same_values};

/// Names that no other part of a statement has.
#[derive(Debug, Default)]
pub struct Numbers {
    last: usize,
}

impl Numbers {
    fn next(&mut self) -> usize {
        self.last += 1;
        self.last
    }
}

/// A subquery that became a relation to be joined with the query around it.
pub struct Unnested {
    /// The rows for all combinations of outer values.
    pub plan: LogicalPlan,
    /// Columns of the outer query.
    pub outer: Vec<Column>,
    /// The columns of `plan` that have their values.
    pub domain: Vec<Column>,
}

impl Unnested {
    /// The outer plan with what belongs to each of its rows; with a column of NULLs where nothing does.
    pub fn joined_with(self, outer: LogicalPlan) -> DfResult<LogicalPlan> {
        let same = same_values(&outer, &self.outer, &self.plan, &self.domain)?;
        joined(outer, self.plan, JoinType::Left, same, None)
    }
}

/// The value of a subquery of one column and at most one row, as a column of what is to be joined.
pub fn value(
    subquery: &LogicalPlan,
    outer: &LogicalPlan,
    numbers: &mut Numbers,
) -> DfResult<(Expr, Unnested)> {
    let mut unnesting = Unnesting::of(subquery, outer, numbers);
    let Part { plan, domain } = unnesting.part(subquery)?;
    let relation = format!("nyala_subquery_{}", unnesting.numbers.next());
    let Some(value) = subquery.schema().columns().into_iter().next() else {
        return not_impl_err!("a subquery without a column");
    };
    let mut columns = vec![Expr::Column(value).alias("value")];
    columns.extend(domain.iter().cloned().map(Expr::Column));
    let plan = LogicalPlanBuilder::from(plan)
        .project(columns)?
        .alias(relation.clone())?
        .build()?;
    let within = |column: Column| Column::new(Some(relation.clone()), column.name);
    let unnested = Unnested {
        plan,
        outer: unnesting.outer_columns,
        domain: domain.into_iter().map(within).collect(),
    };
    let value = Column::new(Some(relation.clone()), "value");
    Ok((Expr::Column(value), unnested))
}

/// `left JOIN LATERAL right`, where that is what a join is.
pub fn lateral(join: &Join, numbers: &mut Numbers) -> DfResult<Option<LogicalPlan>> {
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return Ok(None);
    }
    let right = match without_marker(&join.right) {
        Some(right) => right,
        // Where only a subquery in it looks at the left side, nothing marks it.
        None if !outer_columns(&join.right, &join.left).is_empty() => join.right.as_ref().clone(),
        None => return Ok(None),
    };
    let mut unnesting = Unnesting::of(&right, &join.left, numbers);
    let Part { plan, domain } = unnesting.part(&right)?;
    let mut pairs = same_values(&join.left, &unnesting.outer_columns, &plan, &domain)?;
    pairs.extend(join.on.iter().cloned());
    let left = join.left.as_ref().clone();
    let joined = joined(left, plan, join.join_type, pairs, join.filter.clone())?;
    let columns = join.schema.columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(joined)
        .project(columns)?
        .build()
        .map(Some)
}

/// The plan of a lateral subquery without the node that says that it is one.
fn without_marker(plan: &LogicalPlan) -> Option<LogicalPlan> {
    match plan {
        LogicalPlan::Subquery(Subquery { subquery, .. }) => Some(subquery.as_ref().clone()),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let [input] = plan.inputs()[..] else {
                return None;
            };
            let input = without_marker(input)?;
            plan.with_new_exprs(plan.expressions(), vec![input]).ok()
        }
        _ => None,
    }
}

/// The columns of `outer` that a plan looks at, subqueries in its expressions aside.
pub fn outer_columns(plan: &LogicalPlan, outer: &LogicalPlan) -> Vec<Column> {
    let mut columns = Vec::new();
    for expr in plan.all_out_ref_exprs() {
        if let Expr::OuterReferenceColumn(_, column) = expr
            && outer.schema().has_column(&column)
            && !columns.contains(&column)
        {
            columns.push(column);
        }
    }
    columns
}

/// A part of a subquery with the columns that have the outer values.
struct Part {
    plan: LogicalPlan,
    domain: Vec<Column>,
}

struct Unnesting<'a> {
    outer: &'a LogicalPlan,
    outer_columns: Vec<Column>,
    numbers: &'a mut Numbers,
}

impl<'a> Unnesting<'a> {
    fn of(subquery: &LogicalPlan, outer: &'a LogicalPlan, numbers: &'a mut Numbers) -> Self {
        Self {
            outer_columns: outer_columns(subquery, outer),
            outer,
            numbers,
        }
    }

    fn looks_out(&self, plan: &LogicalPlan) -> bool {
        let refers = |expr: Expr| match expr {
            Expr::OuterReferenceColumn(_, column) => self.outer_columns.contains(&column),
            _ => false,
        };
        plan.all_out_ref_exprs().into_iter().any(refers)
    }

    fn expr_looks_out(&self, expr: &Expr) -> bool {
        let mut found = false;
        let _ = expr.apply(|part| {
            if let Expr::OuterReferenceColumn(_, column) = part {
                found |= self.outer_columns.contains(column);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        found
    }

    /// An expression with the domain's columns in the place of outer ones.
    fn bound(&self, expr: Expr, domain: &[Column]) -> DfResult<Expr> {
        let bound = expr.transform_up(|part| {
            let Expr::OuterReferenceColumn(_, column) = &part else {
                return Ok(Transformed::no(part));
            };
            let at = self.outer_columns.iter().position(|known| known == column);
            Ok(match at.and_then(|at| domain.get(at)) {
                Some(value) => Transformed::yes(Expr::Column(value.clone())),
                None => Transformed::no(part),
            })
        })?;
        Ok(bound.data)
    }

    /// The same under the name it had.
    fn named(
        &self,
        expr: &Expr,
        domain: &[Column],
        schema: &datafusion::common::DFSchema,
        at: usize,
    ) -> DfResult<Expr> {
        if !self.expr_looks_out(expr) {
            return Ok(expr.clone());
        }
        let (qualifier, field) = schema.qualified_field(at);
        let bound = self.bound(expr.clone().unalias(), domain)?;
        Ok(match qualifier {
            Some(qualifier) => bound.alias_qualified(Some(qualifier.clone()), field.name()),
            None => bound.alias(field.name()),
        })
    }

    fn names(&mut self) -> (String, Vec<String>) {
        let number = self.numbers.next();
        let names = (0..self.outer_columns.len()).map(|at| format!("outer_{number}_{at}"));
        (format!("nyala_domain_{number}"), names.collect())
    }

    /// The combinations of outer values that there are.
    fn domain(&mut self) -> DfResult<Part> {
        let (relation, names) = self.names();
        let values = self.outer_columns.iter().zip(&names);
        let values = values.map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let plan = LogicalPlanBuilder::from(self.outer.clone())
            .project(values.collect::<Vec<_>>())?
            .distinct()?
            .alias(relation.clone())?
            .build()?;
        let domain = names
            .into_iter()
            .map(|name| Column::new(Some(relation.clone()), name));
        Ok(Part {
            plan,
            domain: domain.collect(),
        })
    }

    fn part(&mut self, plan: &LogicalPlan) -> DfResult<Part> {
        if self.outer_columns.is_empty() {
            return Ok(Part {
                plan: plan.clone(),
                domain: Vec::new(),
            });
        }
        if !self.looks_out(plan) {
            let domain = self.domain()?;
            let plan = LogicalPlanBuilder::from(domain.plan)
                .cross_join(plan.clone())?
                .build()?;
            return Ok(Part {
                plan,
                domain: domain.domain,
            });
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let part = self.part(&projection.input)?;
                self.projected(projection, part)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let part = self.part(&alias.input)?;
                let plan = LogicalPlanBuilder::from(part.plan).alias(alias.alias.clone())?;
                let within = |column: Column| Column::new(Some(alias.alias.clone()), column.name);
                Ok(Part {
                    plan: plan.build()?,
                    domain: part.domain.into_iter().map(within).collect(),
                })
            }
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let part = self.part(&sort.input)?;
                let keys = self.keys(&sort.expr, &part.domain)?;
                Ok(Part {
                    plan: LogicalPlanBuilder::from(part.plan).sort(keys)?.build()?,
                    domain: part.domain,
                })
            }
            LogicalPlan::Limit(limit) => {
                let (skip, fetch) = (limit.skip.as_deref(), limit.fetch.as_deref());
                self.limited(&limit.input, skip, fetch)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let part = self.part(input)?;
                Ok(Part {
                    plan: LogicalPlanBuilder::from(part.plan).distinct()?.build()?,
                    domain: part.domain,
                })
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Unnest(unnest) => {
                let part = self.part(&unnest.input)?;
                let plan = LogicalPlanBuilder::from(part.plan).unnest_columns_with_options(
                    unnest.exec_columns.clone(),
                    unnest.options.clone(),
                )?;
                Ok(Part {
                    plan: plan.build()?,
                    domain: part.domain,
                })
            }
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::Subquery(subquery) => self.part(&subquery.subquery),
            other => not_impl_err!(
                "{} in a correlated subquery is not supported",
                other.display()
            ),
        }
    }

    /// One row for each combination of outer values and row of VALUES.
    fn values(&mut self, values: &Values) -> DfResult<Part> {
        let domain = self.domain()?;
        let numbers = (0_i64..).zip(&values.values);
        let numbers = numbers.map(|(number, _)| vec![lit(number)]);
        let relation = format!("nyala_rows_{}", self.numbers.next());
        let rows = LogicalPlanBuilder::values(numbers.collect())?
            .alias(relation)?
            .build()?;
        let Some(number) = rows.schema().columns().pop() else {
            return not_impl_err!("rows without numbers");
        };
        let mut columns: Vec<Expr> = domain.domain.iter().cloned().map(Expr::Column).collect();
        for (at, (qualifier, field)) in values.schema.iter().enumerate() {
            let mut when_then = Vec::with_capacity(values.values.len());
            for (row, cells) in (0_i64..).zip(&values.values) {
                let Some(cell) = cells.get(at) else {
                    return not_impl_err!("rows of different lengths");
                };
                let cell = self.bound(cell.clone(), &domain.domain)?;
                when_then.push((Box::new(lit(row)), Box::new(cell)));
            }
            let number = Some(Box::new(Expr::Column(number.clone())));
            let chosen = Expr::Case(Case::new(number, when_then, None));
            columns.push(chosen.alias_qualified(qualifier.cloned(), field.name()));
        }
        let plan = LogicalPlanBuilder::from(domain.plan)
            .cross_join(rows)?
            .project(columns)?
            .build()?;
        Ok(Part {
            plan,
            domain: domain.domain,
        })
    }

    fn projected(&mut self, projection: &Projection, part: Part) -> DfResult<Part> {
        let columns = projection.expr.iter().enumerate();
        let columns =
            columns.map(|(at, expr)| self.named(expr, &part.domain, &projection.schema, at));
        let mut columns = columns.collect::<DfResult<Vec<_>>>()?;
        columns.extend(part.domain.iter().cloned().map(Expr::Column));
        let plan = Projection::try_new(columns, Arc::new(part.plan))?;
        Ok(Part {
            plan: LogicalPlan::Projection(plan),
            domain: part.domain,
        })
    }

    fn filter(&mut self, filter: &Filter) -> DfResult<Part> {
        let part = match self.equal_columns(filter) {
            Some(equal) => {
                let (relation, names) = self.names();
                let relation = datafusion::common::TableReference::bare(relation);
                let input = filter.input.schema().columns().into_iter();
                let mut columns: Vec<Expr> = input.map(Expr::Column).collect();
                for (column, name) in equal.into_iter().zip(&names) {
                    let column = Expr::Column(column);
                    columns.push(column.alias_qualified(Some(relation.clone()), name));
                }
                let plan = Projection::try_new(columns, Arc::clone(&filter.input))?;
                let names = names.into_iter();
                Part {
                    plan: LogicalPlan::Projection(plan),
                    domain: names
                        .map(|name| Column::new(Some(relation.clone()), name))
                        .collect(),
                }
            }
            None => self.part(&filter.input)?,
        };
        let predicate = self.bound(filter.predicate.clone(), &part.domain)?;
        Ok(Part {
            plan: LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(part.plan))?),
            domain: part.domain,
        })
    }

    /// The inner columns that a filter makes equal to all outer ones, if the plan below looks at none.
    fn equal_columns(&self, filter: &Filter) -> Option<Vec<Column>> {
        if self.looks_out(&filter.input) {
            return None;
        }
        let conditions = split_conjunction(&filter.predicate);
        let (inner, outer) = (filter.input.schema(), self.outer.schema());
        let equal = self.outer_columns.iter().map(|wanted| {
            conditions.iter().find_map(|condition| {
                let (column, other) = equality(condition)?;
                let same = other == wanted
                    && inner.data_type(column).ok()? == outer.data_type(wanted).ok()?;
                same.then(|| column.clone())
            })
        });
        equal.collect()
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> DfResult<Part> {
        let part = self.part(&aggregate.input)?;
        let domain: Vec<Expr> = part.domain.iter().cloned().map(Expr::Column).collect();
        let mut groups: Vec<Expr> = Vec::new();
        match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(sets)] => {
                let sets = sets_of(sets)?.into_iter().map(|set| {
                    let set = set.into_iter().map(|expr| self.bound(expr, &part.domain));
                    domain.iter().cloned().map(Ok).chain(set).collect()
                });
                let sets = sets.collect::<DfResult<_>>()?;
                groups.push(Expr::GroupingSet(GroupingSet::GroupingSets(sets)));
            }
            plain => {
                groups.extend(domain.iter().cloned());
                for (at, expr) in plain.iter().enumerate() {
                    groups.push(self.named(expr, &part.domain, &aggregate.schema, at)?);
                }
            }
        }
        let first = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
        let aggregates = aggregate.aggr_expr.iter().enumerate();
        let aggregates = aggregates
            .map(|(at, expr)| self.named(expr, &part.domain, &aggregate.schema, first + at));
        let aggregates = aggregates.collect::<DfResult<Vec<_>>>()?;
        let grouped = Aggregate::try_new(Arc::new(part.plan), groups, aggregates)?;
        let grouped = Part {
            plan: LogicalPlan::Aggregate(grouped),
            domain: part.domain,
        };
        match aggregate.group_expr.is_empty() {
            true => self.of_each(aggregate, grouped),
            false => Ok(grouped),
        }
    }

    /// A row for each combination of outer values, also those for which an aggregate without groups has read no row.
    fn of_each(&mut self, aggregate: &Aggregate, grouped: Part) -> DfResult<Part> {
        let all = self.domain()?;
        let same = same_values(&all.plan, &all.domain, &grouped.plan, &grouped.domain)?;
        let joined = joined(all.plan, grouped.plan, JoinType::Left, same, None)?;
        let mut columns: Vec<Expr> = all.domain.iter().cloned().map(Expr::Column).collect();
        let schema = &aggregate.schema;
        for (at, expr) in aggregate.aggr_expr.iter().enumerate() {
            let (qualifier, field) = schema.qualified_field(at);
            let value = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let of_nothing = match expr.clone().unalias() {
                Expr::AggregateFunction(call) => call.func.default_value(field.data_type())?,
                _ => return not_impl_err!("an aggregate that is no function"),
            };
            columns.push(match of_nothing.is_null() {
                true => value,
                false => coalesce(vec![value, lit(of_nothing)])
                    .alias_qualified(qualifier.cloned(), field.name()),
            });
        }
        Ok(Part {
            plan: LogicalPlanBuilder::from(joined).project(columns)?.build()?,
            domain: all.domain,
        })
    }

    fn window(&mut self, window: &Window) -> DfResult<Part> {
        let part = self.part(&window.input)?;
        let first = window.schema.fields().len() - window.window_expr.len();
        let functions = window.window_expr.iter().enumerate().map(|(at, expr)| {
            let (_, field) = window.schema.qualified_field(first + at);
            let bound = self.bound(expr.clone().unalias(), &part.domain)?;
            let Expr::WindowFunction(mut call) = bound else {
                return not_impl_err!("a window expression that is no function");
            };
            let domain = part.domain.iter().cloned().map(Expr::Column);
            call.params.partition_by.extend(domain);
            Ok(Expr::WindowFunction(call).alias(field.name()))
        });
        let functions = functions.collect::<DfResult<Vec<_>>>()?;
        let plan = Window::try_new(functions, Arc::new(part.plan))?;
        Ok(Part {
            plan: LogicalPlan::Window(plan),
            domain: part.domain,
        })
    }

    fn keys(&self, keys: &[SortExpr], domain: &[Column]) -> DfResult<Vec<SortExpr>> {
        let keys = keys.iter().map(|key| {
            let expr = self.bound(key.expr.clone(), domain)?;
            Ok(key.with_expr(expr))
        });
        keys.collect()
    }

    fn limited(
        &mut self,
        plan: &LogicalPlan,
        skip: Option<&Expr>,
        fetch: Option<&Expr>,
    ) -> DfResult<Part> {
        match plan {
            // Columns that only the order needs are dropped above it.
            LogicalPlan::Projection(projection) if is_sorted(&projection.input) => {
                let part = self.limited(&projection.input, skip, fetch)?;
                self.projected(projection, part)
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let part = self.part(&sort.input)?;
                let keys = self.keys(&sort.expr, &part.domain)?;
                let mut part = numbered(part, keys.clone(), skip, fetch)?;
                part.plan = LogicalPlanBuilder::from(part.plan).sort(keys)?.build()?;
                Ok(part)
            }
            plan => {
                let part = self.part(plan)?;
                numbered(part, Vec::new(), skip, fetch)
            }
        }
    }

    fn distinct_on(&mut self, distinct: &DistinctOn) -> DfResult<Part> {
        let part = self.part(&distinct.input)?;
        let domain = || part.domain.iter().cloned().map(Expr::Column);
        let bound = |expr: &Expr| self.bound(expr.clone(), &part.domain);
        let on = distinct.on_expr.iter().map(bound);
        let on = domain().map(Ok).chain(on).collect::<DfResult<Vec<_>>>()?;
        let columns = distinct.select_expr.iter().enumerate();
        let columns =
            columns.map(|(at, expr)| self.named(expr, &part.domain, &distinct.schema, at));
        let columns = columns.chain(domain().map(Ok)).collect::<DfResult<_>>()?;
        let keys = match &distinct.sort_expr {
            None => None,
            Some(keys) => {
                let first = domain().map(|column| column.sort(true, false));
                Some(first.chain(self.keys(keys, &part.domain)?).collect())
            }
        };
        let input = Arc::new(part.plan);
        let distinct = DistinctOn::try_new(on, columns, keys, input)?;
        Ok(Part {
            plan: LogicalPlan::Distinct(Distinct::On(distinct)),
            domain: part.domain,
        })
    }

    fn union(&mut self, union: &Union) -> DfResult<Part> {
        let width = union.schema.fields().len();
        let inputs = union.inputs.iter().map(|input| {
            let part = self.part(input)?;
            let columns = input.schema().columns().into_iter().chain(part.domain);
            let plan = Projection::try_new(columns.map(Expr::Column).collect(), part.plan.into())?;
            Ok(Arc::new(LogicalPlan::Projection(plan)))
        });
        let inputs = inputs.collect::<DfResult<Vec<_>>>()?;
        let plan = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        let domain = plan.schema().columns().into_iter().skip(width).collect();
        Ok(Part { plan, domain })
    }

    fn join(&mut self, join: &Join) -> DfResult<Part> {
        let expressions = join.on.iter().flat_map(|(left, right)| [left, right]);
        let in_condition = expressions
            .chain(&join.filter)
            .any(|expr| self.expr_looks_out(expr));
        let (in_left, in_right) = (self.looks_out(&join.left), self.looks_out(&join.right));
        let (on_left, on_right) = match join.join_type {
            JoinType::Inner => (in_left || (in_condition && !in_right), in_right),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                (true, in_right)
            }
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                (in_left, true)
            }
            JoinType::Full => (true, true),
        };
        let mut side = |correlated: bool, plan: &Arc<LogicalPlan>| match correlated {
            true => self.part(plan),
            false => Ok(Part {
                plan: plan.as_ref().clone(),
                domain: Vec::new(),
            }),
        };
        let left = side(on_left, &join.left)?;
        let right = side(on_right, &join.right)?;
        // The side all of whose rows stay has the outer values in each row.
        let of_right = matches!(
            join.join_type,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
        );
        let domain = match on_left && !of_right {
            true => left.domain.clone(),
            false => right.domain.clone(),
        };
        let on = join.on.iter().map(|(left, right)| {
            let left = self.bound(left.clone(), &domain)?;
            Ok((left, self.bound(right.clone(), &domain)?))
        });
        let mut on = on.collect::<DfResult<Vec<_>>>()?;
        let filter = join.filter.clone();
        let filter = filter
            .map(|filter| self.bound(filter, &domain))
            .transpose()?;
        if on_left && on_right {
            on.extend(same_values(
                &left.plan,
                &left.domain,
                &right.plan,
                &right.domain,
            )?);
        }
        let plan = LogicalPlan::Join(Join::try_new(
            Arc::new(left.plan),
            Arc::new(right.plan),
            on,
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?);
        if join.join_type != JoinType::Full {
            return Ok(Part { plan, domain });
        }
        // Either side may have no row.
        let (relation, names) = self.names();
        let relation = datafusion::common::TableReference::bare(relation);
        let old = join.schema.columns();
        let all = plan.schema().columns();
        let added: Vec<Column> = all
            .into_iter()
            .filter(|column| !old.contains(column))
            .collect();
        let (lefts, rights) = added.split_at(added.len() / 2);
        let mut columns: Vec<Expr> = old.into_iter().map(Expr::Column).collect();
        for ((left, right), name) in lefts.iter().zip(rights).zip(&names) {
            let either = coalesce(vec![
                Expr::Column(left.clone()),
                Expr::Column(right.clone()),
            ]);
            columns.push(either.alias_qualified(Some(relation.clone()), name));
        }
        let plan = Projection::try_new(columns, Arc::new(plan))?;
        let names = names.into_iter();
        Ok(Part {
            plan: LogicalPlan::Projection(plan),
            domain: names
                .map(|name| Column::new(Some(relation.clone()), name))
                .collect(),
        })
    }
}

fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::Sort(_) => true,
        _ => false,
    }
}

/// The rows of each combination of outer values that a limit leaves.
fn numbered(
    part: Part,
    keys: Vec<SortExpr>,
    skip: Option<&Expr>,
    fetch: Option<&Expr>,
) -> DfResult<Part> {
    let columns = part.plan.schema().columns();
    let domain: Vec<Expr> = part.domain.iter().cloned().map(Expr::Column).collect();
    let mut number = row_number().partition_by(domain);
    if !keys.is_empty() {
        number = number.order_by(keys);
    }
    let rows = LogicalPlanBuilder::from(part.plan)
        .window(vec![number.build()?])?
        .build()?;
    let Some(number) = rows.schema().columns().pop() else {
        return not_impl_err!("a limit over rows without columns");
    };
    let bigint = |count: &Expr| cast(count.clone(), DataType::Int64);
    let number = bigint(&Expr::Column(number));
    let skip = skip.map_or(lit(0_i64), |skip| coalesce(vec![bigint(skip), lit(0_i64)]));
    let mut within = number.clone().gt(skip.clone());
    if let Some(fetch) = fetch {
        let most = coalesce(vec![bigint(fetch), lit(i64::MAX)]);
        within = within.and((number - skip).lt_eq(most));
    }
    let plan = LogicalPlanBuilder::from(rows)
        .filter(within)?
        .project(columns.into_iter().map(Expr::Column))?
        .build()?;
    Ok(Part {
        plan,
        domain: part.domain,
    })
}

/// The sets of a grouping, one by one.
pub(super) fn sets_of(sets: &GroupingSet) -> DfResult<Vec<Vec<Expr>>> {
    match sets {
        GroupingSet::GroupingSets(sets) => Ok(sets.clone()),
        GroupingSet::Rollup(columns) => Ok((0..=columns.len())
            .map(|count| columns.iter().take(count).cloned().collect())
            .collect()),
        GroupingSet::Cube(columns) if columns.len() <= 12 => Ok((0..1_usize << columns.len())
            .map(|set| {
                let chosen = columns.iter().enumerate();
                let chosen = chosen.filter(|(at, _)| set & (1 << at) != 0);
                chosen.map(|(_, column)| column.clone()).collect()
            })
            .collect()),
        GroupingSet::Cube(_) => not_impl_err!("CUBE of more than 12 columns in a subquery"),
    }
}

/// Whether DataFusion turns a subquery under WHERE into a join: it looks out in filters alone, and at the query around it alone.
pub fn looks_out_in_filters(plan: &LogicalPlan, outer: &LogicalPlan) -> bool {
    let out = plan.all_out_ref_exprs();
    let known = |expr: &Expr| match expr {
        Expr::OuterReferenceColumn(_, column) => outer.schema().has_column(column),
        _ => true,
    };
    out.iter().all(known) && in_filters(plan)
}

pub(super) fn has_subquery(expr: &Expr) -> bool {
    let subquery = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)
        ))
    };
    expr.exists(subquery).unwrap_or(false)
}

fn in_filters(plan: &LogicalPlan) -> bool {
    let own = |plan: &LogicalPlan| plan.expressions().iter().any(Expr::contains_outer);
    match plan {
        LogicalPlan::Filter(filter) => {
            !(own(plan) && has_subquery(&filter.predicate)) && in_filters(&filter.input)
        }
        LogicalPlan::Projection(projection) => !own(plan) && in_filters(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => in_filters(&alias.input),
        plan => plan.all_out_ref_exprs().is_empty(),
    }
}
