//! Recognises statements about one row, and compiles their expressions.
//!
//! The planner plans `SELECT items FROM row WHERE condition` over a relation that has the table's columns and the parameters;
//! if the plan is a projection over at most a filter over that relation, its expressions are what is wanted. Whatever is not
//! recognised, errors included, is left to the planner.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan, Volatility};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use nyala_catalog::Arbiter;
use nyala_catalog::types::SqlType;
use sqlparser::ast::{
    ConflictTarget, Delete, Expr, Ident, Insert, LimitClause, OnConflict, OnConflictAction,
    OnInsert, Query, SelectItem, SetExpr, Statement, TableFactor, Update, Value, VisitMut,
    visit_expressions_mut,
};

use super::returning::Returning;
use super::{Access, Conflict, Kind, PointStatement, RowExprs, Source};
use crate::sql::dml::{self, Target, aliased, change, insert, internal_table, quoted};
use crate::sql::planner::Planner;
use crate::sql::{checks, names, parameters, sequences};

mod keys;

pub(super) use keys::column_of;

/// Internal name of the row that expressions are compiled over.
const ROW: &str = "point";

/// Compiles a statement, if it is one about one row. `epoch` is one in which the definitions that the planner sees
/// were the newest; none if they may not have been. `settings` is the version of the session's settings.
pub fn compile(
    planner: &mut Planner,
    statement: &Statement,
    types: &[SqlType],
    columns: Option<&SchemaRef>,
    epoch: Option<u64>,
    settings: u64,
) -> Option<PointStatement> {
    let fields: Vec<_> = types
        .iter()
        .enumerate()
        .map(|(at, ty)| ty.field(&format!("${}", at + 1), true))
        .collect();
    let parameters = Arc::new(Schema::new(fields));
    let mut compiler = Compiler {
        planner,
        parameters,
    };
    // Whatever cannot be compiled is planned as any other statement, and errors are found there.
    let (target, kind, returning) = match statement {
        Statement::Query(query) => {
            let (target, kind) = compiler.select(query, columns?)?;
            (target, kind, None)
        }
        Statement::Update(update) => {
            let (target, kind) = compiler.update(update)?;
            (target, kind, update.returning.as_ref())
        }
        Statement::Delete(delete) => {
            let (target, kind) = compiler.delete(delete)?;
            (target, kind, delete.returning.as_ref())
        }
        Statement::Insert(insert) => {
            let (target, kind) = compiler.insert(insert)?;
            (target, kind, insert.returning.as_ref())
        }
        _ => return None,
    };
    let returning = match returning {
        Some(items) => Some(Returning::compile(&target, items, columns?)?),
        None => None,
    };
    Some(PointStatement {
        table: target.table,
        kind,
        returning,
        parameters: compiler.parameters,
        definitions: Arc::clone(&compiler.planner.view.definitions),
        epoch,
        settings,
        input: compiler.planner.input,
        format: compiler.planner.format,
    })
}

struct Compiler<'a> {
    planner: &'a mut Planner,
    parameters: SchemaRef,
}

impl Compiler<'_> {
    fn select(&mut self, query: &Query, columns: &SchemaRef) -> Option<(Target, Kind)> {
        let plain = query.with.is_none()
            && query.order_by.is_none()
            && query.fetch.is_none()
            && query.locks.is_empty()
            && query.for_clause.is_none()
            && takes_one_row(query.limit_clause.as_ref());
        let SetExpr::Select(select) = query.body.as_ref() else {
            return None;
        };
        let [from] = select.from.as_slice() else {
            return None;
        };
        let ungrouped = matches!(&select.group_by,
            sqlparser::ast::GroupByExpr::Expressions(keys, _) if keys.is_empty());
        let simple = select.distinct.is_none()
            && select.into.is_none()
            && select.having.is_none()
            && select.named_window.is_empty()
            && select.qualify.is_none()
            && select.lateral_views.is_empty()
            && ungrouped
            && from.joins.is_empty();
        if !plain || !simple {
            return None;
        }
        let TableFactor::Table {
            name,
            alias,
            args: None,
            sample: None,
            version: None,
            ..
        } = &from.relation
        else {
            return None;
        };
        if alias
            .as_ref()
            .is_some_and(|alias| !alias.columns.is_empty())
        {
            return None;
        }
        let alias = alias.as_ref().map(|alias| &alias.name);
        let target = Target::find(self.planner, name, alias).ok()?;
        let (access, condition) = self.access(&target, select.selection.as_ref()?)?;
        if !matches!(access, Access::Key(_)) && query.limit_clause.is_some() {
            return None;
        }
        let mut items = Vec::with_capacity(select.projection.len());
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(options) if options.to_string().is_empty() => {
                    let columns = target.table.def.columns.iter();
                    items.extend(columns.map(|column| target.reference(&column.name)));
                }
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    items.push(expr.clone());
                }
                _ => return None,
            }
        }
        if items.len() != columns.fields().len() {
            return None;
        }
        let row = self.row(&target, items, condition)?;
        let kind = Kind::Select {
            access,
            row,
            schema: Arc::clone(columns),
        };
        Some((target, kind))
    }

    fn update(&mut self, update: &Update) -> Option<(Target, Kind)> {
        if update.from.is_some() {
            return None;
        }
        let target = change::update_target(self.planner, update).ok()?;
        checks::prepare(self.planner, &target.table).ok()?;
        let (key, condition) = self.key(&target, update.selection.as_ref()?)?;
        let mut assignments = update.assignments.clone();
        let assigned = change::assigned_columns(&assignments, &target).ok()?;
        for (assignment, at) in assignments.iter_mut().zip(&assigned) {
            let column = target.table.def.columns.get(*at)?;
            if column.identity.is_some() {
                return None;
            }
            parameters::cast_literal(&mut assignment.value, &column.ty).ok()?;
        }
        let items = change::new_row_items(&target, &assignments, &assigned).ok()?;
        let row = self.row(&target, expressions(items)?, condition)?;
        Some((target, Kind::Update { key, row }))
    }

    fn delete(&mut self, delete: &Delete) -> Option<(Target, Kind)> {
        if delete.using.is_some() {
            return None;
        }
        let target = change::delete_target(self.planner, delete).ok()?;
        let (key, condition) = self.key(&target, delete.selection.as_ref()?)?;
        let keys = target.table.key_columns().iter();
        let items = keys
            .map(|at| {
                let column = target.table.def.columns.get(*at)?;
                Some(target.reference(&column.name))
            })
            .collect::<Option<_>>()?;
        let row = self.row(&target, items, condition)?;
        Some((target, Kind::Delete { key, row }))
    }

    fn insert(&mut self, insert: &Insert) -> Option<(Target, Kind)> {
        if insert.table_alias.is_some() {
            return None;
        }
        let target = insert::target(self.planner, insert).ok()?;
        let table = Arc::clone(&target.table);
        let given = insert::given_columns(insert, &target).ok()?;
        let query = insert.source.as_ref()?;
        if query.with.is_some() || query.order_by.is_some() || query.limit_clause.is_some() {
            return None;
        }
        let SetExpr::Values(values) = query.body.as_ref() else {
            return None;
        };
        let [row] = values.rows.as_slice() else {
            return None;
        };
        if row.content.len() > given.len()
            || (row.content.len() < given.len() && !insert::has_no_columns(insert))
        {
            return None;
        }
        let mut items = Vec::with_capacity(table.def.columns.len());
        for (at, column) in table.def.columns.iter().enumerate() {
            let cell = given.iter().position(|given| *given == at);
            let mut expr = match cell.and_then(|cell| row.content.get(cell)) {
                Some(cell) if !insert::is_default(cell) => cell.clone(),
                _ => insert::default_of(&table, at).ok()?,
            };
            if !matches!(column.ty, SqlType::Json | SqlType::Jsonb) {
                parameters::cast_literal(&mut expr, &column.ty).ok()?;
            }
            items.push(expr);
        }
        // Values for identity columns have rules of their own.
        let overrides = given.iter().any(|at| {
            let column = table.def.columns.get(*at);
            column.is_some_and(|column| column.identity.is_some())
        });
        if overrides {
            return None;
        }
        checks::prepare(self.planner, &table).ok()?;
        let values = self.over_parameters(items)?;
        let conflict = match &insert.on {
            None => Conflict::Error,
            Some(OnInsert::OnConflict(conflict)) => {
                let arbiters = insert::arbiters(conflict, &table).ok()?;
                let [Arbiter::Key] = arbiters.as_slice() else {
                    return None;
                };
                conflict_of(conflict, &target)?
            }
            Some(_) => return None,
        };
        Some((target, Kind::Insert { values, conflict }))
    }

    /// Compiles expressions over the parameters alone.
    fn over_parameters(&mut self, items: Vec<Expr>) -> Option<Vec<Arc<dyn PhysicalExpr>>> {
        let schema = Arc::clone(&self.parameters);
        let alias = quoted("$parameters");
        let (items, _) = self.compile(items, None, &schema, &alias)?;
        Some(items)
    }

    /// Compiles expressions over a row of the table and the parameters.
    fn row(
        &mut self,
        target: &Target,
        items: Vec<Expr>,
        condition: Option<Expr>,
    ) -> Option<RowExprs> {
        let table = &target.table;
        let width = table.schema.fields().len();
        let own = table.schema.fields().iter();
        // A column could be named like a parameter.
        if own.clone().any(|field| field.name().starts_with('$')) {
            return None;
        }
        let all = own.chain(self.parameters.fields()).cloned();
        let all = Arc::new(Schema::new(all.collect::<Vec<_>>()));
        let (items, condition) = self.compile(items, condition, &all, &target.alias)?;
        let mut read = HashSet::new();
        for expr in items.iter().chain(&condition) {
            read.extend(
                collect_columns(expr)
                    .into_iter()
                    .map(|column| column.index()),
            );
        }
        let columns: Vec<usize> = (0..width).filter(|at| read.contains(at)).collect();
        let parameters = 0..self.parameters.fields().len();
        let parameters: Vec<usize> = parameters
            .filter(|at| read.contains(&(width + at)))
            .collect();
        let read_columns = columns
            .iter()
            .filter_map(|at| table.schema.fields().get(*at));
        let read_parameters = parameters
            .iter()
            .filter_map(|at| self.parameters.fields().get(*at));
        let fields: Vec<_> = read_columns.chain(read_parameters).cloned().collect();
        let schema = Arc::new(Schema::new(fields));
        let reassigned = |expr| reassign_expr_columns(expr, &schema).ok();
        Some(RowExprs {
            columns,
            parameters,
            condition: match condition {
                Some(condition) => Some(reassigned(condition)?),
                None => None,
            },
            items: items.into_iter().map(reassigned).collect::<Option<_>>()?,
            schema,
        })
    }

    /// Plans `SELECT items FROM row WHERE condition` and takes the expressions out of the plan.
    #[allow(clippy::type_complexity)]
    fn compile(
        &mut self,
        items: Vec<Expr>,
        condition: Option<Expr>,
        schema: &SchemaRef,
        alias: &Ident,
    ) -> Option<(Vec<Arc<dyn PhysicalExpr>>, Option<Arc<dyn PhysicalExpr>>)> {
        let count = items.len();
        let items = items
            .into_iter()
            .enumerate()
            .map(|(at, item)| aliased(item, &format!("$item{at}")))
            .collect();
        let row = Arc::clone(schema);
        self.planner.add_transient(ROW, Vec::new(), row).ok()?;
        let from = vec![internal_table(ROW, alias).ok()?];
        let mut query = dml::select(items, from, condition).ok()?;
        parameters_to_columns(&mut query)?;
        let plan = self.planner.plan(&query, Vec::new()).ok()?;
        let LogicalPlan::Projection(projection) = plan else {
            return None;
        };
        let (filter, input) = match projection.input.as_ref() {
            LogicalPlan::Filter(filter) => (Some(&filter.predicate), filter.input.as_ref()),
            input => (None, input),
        };
        let scan = match input {
            LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
            input => input,
        };
        if !matches!(scan, LogicalPlan::TableScan(_)) || projection.expr.len() != count {
            return None;
        }
        let names = input.schema();
        let items = projection
            .expr
            .iter()
            .map(|expr| self.physical(expr, names))
            .collect::<Option<Vec<_>>>()?;
        let condition = match filter {
            Some(filter) => Some(self.physical(filter, names)?),
            None => None,
        };
        Some((items, condition))
    }

    fn physical(&self, expr: &PlanExpr, names: &DFSchemaRef) -> Option<Arc<dyn PhysicalExpr>> {
        let mut lasting = true;
        expr.apply(|part| {
            lasting &= match part {
                // Bound to the session, to which the compiled statement belongs as well.
                PlanExpr::ScalarFunction(call) if sequences::is_sequence_function(call.name()) => {
                    true
                }
                PlanExpr::ScalarFunction(call) => {
                    call.func.signature().volatility == Volatility::Immutable
                }
                PlanExpr::ScalarSubquery(_)
                | PlanExpr::Exists(_)
                | PlanExpr::InSubquery(_)
                | PlanExpr::SetComparison(_)
                | PlanExpr::AggregateFunction(_)
                | PlanExpr::WindowFunction(_)
                | PlanExpr::Unnest(_)
                | PlanExpr::OuterReferenceColumn(..)
                | PlanExpr::Placeholder(_) => false,
                _ => true,
            };
            Ok(TreeNodeRecursion::Continue)
        })
        .ok()?;
        let properties = self.planner.state.execution_props();
        let context = PhysicalPlanningContext::default();
        let compiled = lasting.then(|| create_physical_expr(expr, names, properties, &context));
        compiled?.ok()
    }
}

fn takes_one_row(limit: Option<&LimitClause>) -> bool {
    match limit {
        None => true,
        Some(LimitClause::LimitOffset {
            limit: Some(Expr::Value(value)),
            offset: None,
            limit_by,
        }) if limit_by.is_empty() => {
            matches!(&value.value, Value::Number(rows, _) if rows.parse::<u64>().is_ok_and(|rows| rows > 0))
        }
        Some(_) => false,
    }
}

fn expressions(items: Vec<SelectItem>) -> Option<Vec<Expr>> {
    items
        .into_iter()
        .map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
            _ => None,
        })
        .collect()
}

/// `$1` is read from the column of that name.
fn parameters_to_columns(query: &mut impl VisitMut) -> Option<()> {
    let replaced = visit_expressions_mut(query, |expr| match parameters::parameter_number(expr) {
        Ok(None) => ControlFlow::Continue(()),
        Ok(Some(number)) => {
            *expr = Expr::Identifier(quoted(&format!("${number}")));
            ControlFlow::Continue(())
        }
        Err(_) => ControlFlow::Break(()),
    });
    replaced.is_continue().then_some(())
}

/// ON CONFLICT, if DO UPDATE only takes values over from the row proposed.
fn conflict_of(conflict: &OnConflict, target: &Target) -> Option<Conflict> {
    // Without a key nothing conflicts.
    if target.table.codec.has_row_numbers() {
        return None;
    }
    if matches!(conflict.conflict_target, Some(ConflictTarget::Columns(ref columns)) if columns.is_empty())
    {
        return None;
    }
    let update = match &conflict.action {
        OnConflictAction::DoNothing => return Some(Conflict::Nothing),
        OnConflictAction::DoUpdate(update) if update.selection.is_none() => update,
        OnConflictAction::DoUpdate(_) => return None,
    };
    let assigned = change::assigned_columns(&update.assignments, target).ok()?;
    let mut sources: Vec<Source> = target
        .table
        .def
        .columns
        .iter()
        .map(|_| Source::Existing)
        .collect();
    for (assignment, at) in update.assignments.iter().zip(assigned) {
        let Expr::CompoundIdentifier(parts) = &assignment.value else {
            return None;
        };
        let [table, column] = parts.as_slice() else {
            return None;
        };
        if names::fold(table) != "excluded" {
            return None;
        }
        let from = target.column(&names::fold(column)).ok()?;
        let same_type =
            target.table.def.columns.get(from)?.ty == target.table.def.columns.get(at)?.ty;
        if !same_type {
            return None;
        }
        *sources.get_mut(at)? = Source::Excluded(from);
    }
    Some(Conflict::Update(sources))
}
