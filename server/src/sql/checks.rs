//! CHECK constraints: their conditions compiled, and as PostgreSQL shows them.
//!
//! A condition is compiled once for a table's definition, with fixed settings: what a row has to be does not depend on who writes
//! it. One that calls functions of the time is compiled again for each batch of rows, so that it sees the time of the
//! write.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use nyala_catalog::definitions::{ColumnDef, Table, arrow_schema};
use nyala_catalog::types::SqlType;
use nyala_catalog::{CatalogError, RowCheck};
use sqlparser::ast::{
    BinaryOperator, Expr, UnaryOperator, Value, visit_expressions, visit_expressions_mut,
};

use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::names::quote_ident;
use crate::pgwire::encode::FormatSettings;
use crate::sql::dml::{self, aliased, internal_table, quoted};
use crate::sql::planner::Planner;
use crate::sql::{names, parse};

/// Internal name of the rows that conditions are compiled over.
const CHECKED: &str = "checked";

/// Makes sure that the table's conditions are compiled; called before rows are written.
pub fn prepare(planner: &mut Planner, table: &Table) -> Result<()> {
    if table.def.checks.is_empty() || table.checks.are_set() {
        return Ok(());
    }
    let mut compiled: Vec<Arc<dyn RowCheck>> = Vec::with_capacity(table.def.checks.len());
    for check in &table.def.checks {
        let condition = parse::parse_expression(&check.condition)?;
        compiled.push(Arc::new(compile(
            planner,
            &table.def.name,
            &table.def.columns,
            condition,
        )?));
    }
    table.checks.set(compiled);
    Ok(())
}

/// Whether a text can be the condition of a constraint of a table; the error if it cannot.
pub fn check_condition(
    planner: &mut Planner,
    table: &str,
    columns: &[ColumnDef],
    condition: &Expr,
) -> Result<()> {
    if holds_subquery(condition) {
        return Err(PgError::unsupported(
            "cannot use subquery in check constraint",
        ));
    }
    compile(planner, table, columns, condition.clone()).map(drop)
}

/// Whether a subquery is part of an expression.
pub fn holds_subquery(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |part| match part {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Columns of a table that a condition names.
pub fn columns_of<'a>(condition: &Expr, columns: &'a [ColumnDef]) -> Vec<&'a ColumnDef> {
    let mut named = BTreeSet::new();
    let _: ControlFlow<()> = visit_expressions(condition, |part| {
        let ident = match part {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        named.extend(ident.map(names::fold));
        ControlFlow::Continue(())
    });
    let columns = columns.iter();
    columns
        .filter(|column| named.contains(&column.name))
        .collect()
}

/// A condition with a column's new name.
pub fn renamed_in(condition: &str, old: &str, new: &str) -> Result<String> {
    let mut expr = parse::parse_expression(condition)?;
    let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |part| {
        let ident = match part {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last_mut(),
            _ => None,
        };
        if let Some(ident) = ident.filter(|ident| names::fold(ident) == old) {
            *ident = quoted(new);
        }
        ControlFlow::Continue(())
    });
    Ok(expr.to_string())
}

/// A compiled condition.
struct Compiled {
    condition: PlanExpr,
    columns: DFSchemaRef,
    state: SessionState,
    /// Absent where the condition depends on the time.
    lasting: Option<Arc<dyn PhysicalExpr>>,
}

impl RowCheck for Compiled {
    fn holds(&self, rows: &RecordBatch) -> Result<BooleanArray, CatalogError> {
        let now;
        let compiled = match &self.lasting {
            Some(compiled) => compiled,
            None => {
                let mut state = self.state.clone();
                state.execution_props_mut().query_execution_start_time =
                    chrono::DateTime::from_timestamp_micros(clock::now_us());
                now = at_once(&state, self.condition.clone(), &self.columns)?;
                &now
            }
        };
        let truth = compiled.evaluate(rows)?.into_array(rows.num_rows())?;
        match truth.data_type() {
            DataType::Null => Ok(BooleanArray::new_null(truth.len())),
            _ => truth
                .as_boolean_opt()
                .cloned()
                .ok_or_else(|| CatalogError::internal("a CHECK condition that is not boolean")),
        }
    }
}

/// Compiles an expression whose functions of the time are those of the state's.
fn at_once(
    state: &SessionState,
    condition: PlanExpr,
    columns: &DFSchemaRef,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let properties = state.execution_props();
    let context = SimplifyContext::builder()
        .with_config_options(Arc::clone(state.config_options()))
        .with_schema(Arc::clone(columns))
        .with_query_execution_start_time(properties.query_execution_start_time)
        .build();
    let condition = ExprSimplifier::new(context).simplify(condition)?;
    let planning = PhysicalPlanningContext::default();
    create_physical_expr(&condition, columns, properties, &planning)
}

fn compile(
    planner: &mut Planner,
    table: &str,
    columns: &[ColumnDef],
    condition: Expr,
) -> Result<Compiled> {
    let fields = arrow_schema(columns);
    let fields = fields.fields().iter().map(|field| field.as_ref().clone());
    let fields: Vec<Field> = fields.map(|field| field.with_nullable(true)).collect();
    planner.add_transient(CHECKED, Vec::new(), Arc::new(Schema::new(fields)))?;
    let from = vec![internal_table(CHECKED, &quoted(table))?];
    let items = vec![aliased(condition, "$holds")];
    let query = dml::select(items, from, None)?;
    // What a row has to be is the same for all sessions.
    let settings = (planner.input, planner.format);
    planner.format = FormatSettings::default();
    planner.input.time_zone = planner.format.time_zone;
    planner.input.date_order = planner.format.date_style.order;
    let plan = planner.plan(&query, Vec::new());
    (planner.input, planner.format) = settings;
    let refused =
        |what: &str| PgError::unsupported(format!("cannot use {what} in check constraint"));
    let LogicalPlan::Projection(projection) = plan? else {
        return Err(refused("this expression"));
    };
    let [holds] = projection.expr.as_slice() else {
        return Err(refused("this expression"));
    };
    let condition = holds.clone().unalias();
    let columns = Arc::clone(projection.input.schema());
    let scan = match projection.input.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
        input => input,
    };
    if !matches!(scan, LogicalPlan::TableScan(_)) {
        return Err(refused("this expression"));
    }
    let ty = projection.schema.field(0).data_type();
    if !matches!(ty, DataType::Boolean | DataType::Null) {
        return Err(PgError::new(
            sqlstate::DATATYPE_MISMATCH,
            format!(
                "argument of CHECK must be type boolean, not type {}",
                SqlType::of_arrow(ty)
            ),
        ));
    }
    let mut immutable = true;
    condition.apply(|part| {
        if let PlanExpr::ScalarFunction(call) = part {
            immutable &= call.func.signature().volatility == Volatility::Immutable;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let state = planner.state.clone();
    let lasting = match immutable {
        true => Some(at_once(&state, condition.clone(), &columns)?),
        false => None,
    };
    Ok(Compiled {
        condition,
        columns,
        state,
        lasting,
    })
}

/// A condition as PostgreSQL shows it: operators in parentheses, literals with their types.
pub fn shown(condition: &str, columns: &[ColumnDef], pretty: bool) -> String {
    match parse::parse_expression(condition) {
        Ok(expr) if pretty => bare_casts(&plain(&expr, columns)),
        Ok(expr) => show(&expr, columns),
        Err(_) => format!("({condition})"),
    }
}

/// A shown condition without the parentheses around single operands of casts: `(1)::numeric` is `1::numeric`.
fn bare_casts(shown: &str) -> String {
    let mut bare = String::with_capacity(shown.len());
    let mut rest = shown;
    let mut quoted = false;
    while let Some(first) = rest.chars().next() {
        quoted ^= first == '\'';
        let operand = match (first, quoted) {
            ('(', false) => rest.get(1..).and_then(|inner| inner.split_once(")::")),
            _ => None,
        };
        match operand {
            Some((inner, behind)) if !inner.contains(['(', ' ', ',']) => {
                bare.push_str(inner);
                bare.push_str("::");
                rest = behind;
            }
            _ => {
                bare.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    bare
}

/// The same without the parentheses that precedence makes needless.
fn plain(expr: &Expr, columns: &[ColumnDef]) -> String {
    match expr {
        Expr::Nested(inner) => plain(inner, columns),
        Expr::BinaryOp {
            left,
            op: op @ (BinaryOperator::And | BinaryOperator::Or),
            right,
        } => {
            let mut parts = Vec::new();
            chain(left, op, &mut parts);
            chain(right, op, &mut parts);
            let part = |part: &Expr| {
                let or = matches!(
                    part,
                    Expr::BinaryOp {
                        op: BinaryOperator::Or,
                        ..
                    }
                );
                match or && *op == BinaryOperator::And {
                    true => format!("({})", plain(part, columns)),
                    false => plain(part, columns),
                }
            };
            let parts: Vec<String> = parts.into_iter().map(part).collect();
            parts.join(&format!(" {op} "))
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => format!("NOT {}", plain(expr, columns)),
        Expr::Between {
            expr,
            negated: false,
            low,
            high,
        } => {
            let (value, least) = (operand(expr, low, columns), operand(low, expr, columns));
            let most = operand(high, expr, columns);
            format!("{value} >= {least} AND {value} <= {most}")
        }
        other => {
            let shown = show(other, columns);
            let has_own = matches!(
                other,
                Expr::BinaryOp { .. }
                    | Expr::IsNull(_)
                    | Expr::IsNotNull(_)
                    | Expr::Like { .. }
                    | Expr::InList { .. }
            );
            let inner = shown
                .strip_prefix('(')
                .and_then(|text| text.strip_suffix(')'));
            match inner.filter(|_| has_own) {
                Some(inner) => inner.to_string(),
                None => shown,
            }
        }
    }
}

fn show(expr: &Expr, columns: &[ColumnDef]) -> String {
    let show_one = |expr: &Expr| show(expr, columns);
    match expr {
        Expr::Nested(inner) => show_one(inner),
        Expr::Identifier(ident) => quote_ident(&names::fold(ident)).into_owned(),
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(column) => quote_ident(&names::fold(column)).into_owned(),
            None => expr.to_string(),
        },
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(_) => format!("{}::text", value.value),
            Value::Boolean(value) => value.to_string(),
            _ => expr.to_string(),
        },
        Expr::BinaryOp {
            left,
            op: op @ (BinaryOperator::And | BinaryOperator::Or),
            right,
        } => {
            // A chain of one operator stands in one pair of parentheses.
            let mut parts = Vec::new();
            chain(left, op, &mut parts);
            chain(right, op, &mut parts);
            let parts: Vec<String> = parts.into_iter().map(show_one).collect();
            format!("({})", parts.join(&format!(" {op} ")))
        }
        Expr::BinaryOp { left, op, right } => {
            let sides = [(left, right), (right, left)];
            let [left, right] = sides.map(|(side, other)| operand(side, other, columns));
            let op = match op {
                BinaryOperator::NotEq => "<>".to_string(),
                BinaryOperator::PGLikeMatch => "~~".to_string(),
                op => op.to_string(),
            };
            format!("({left} {op} {right})")
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => format!("(NOT {})", show_one(expr)),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match number(expr) {
            Some(digits) if has_fraction(digits) => format!("'-{digits}'::numeric"),
            Some(digits) => format!("'-{digits}'::integer"),
            None => format!("(- {})", show_one(expr)),
        },
        Expr::IsNull(inner) => format!("({} IS NULL)", show_one(inner)),
        Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", show_one(inner)),
        Expr::Between {
            expr,
            negated: false,
            low,
            high,
        } => {
            let (value, least) = (operand(expr, low, columns), operand(low, expr, columns));
            let most = operand(high, expr, columns);
            format!("(({value} >= {least}) AND ({value} <= {most}))")
        }
        Expr::Like {
            negated,
            expr,
            pattern,
            escape_char: None,
            any: false,
        } => {
            let op = if *negated { "!~~" } else { "~~" };
            let (value, pattern) = (operand(expr, pattern, columns), show_one(pattern));
            format!("({value} {op} {pattern})")
        }
        Expr::InList {
            expr,
            list,
            negated,
        } => {
            let value = show_one(expr);
            let items: Vec<String> = list
                .iter()
                .map(|item| operand(item, expr, columns))
                .collect();
            let (op, all) = if *negated {
                ("<>", "ALL")
            } else {
                ("=", "ANY")
            };
            let items = items.join(", ");
            match column_type(expr, columns) {
                Some(SqlType::Varchar(_)) => {
                    let items = items.replace("::text", "::character varying");
                    format!("(({value})::text {op} {all} ((ARRAY[{items}])::text[]))")
                }
                _ => format!("({value} {op} {all} (ARRAY[{items}]))"),
            }
        }
        Expr::Function(call) => {
            let mut shown = call.clone();
            let _: ControlFlow<()> = visit_expressions_mut(&mut shown.args, |part| {
                if let Expr::Nested(inner) = part {
                    *part = inner.as_ref().clone();
                }
                ControlFlow::Continue(())
            });
            shown.to_string()
        }
        other => other.to_string(),
    }
}

fn chain<'a>(expr: &'a Expr, op: &BinaryOperator, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Nested(inner) => chain(inner, op, parts),
        Expr::BinaryOp {
            left,
            op: inner,
            right,
        } if inner == op => {
            chain(left, op, parts);
            chain(right, op, parts);
        }
        other => parts.push(other),
    }
}

fn column_type<'a>(expr: &Expr, columns: &'a [ColumnDef]) -> Option<&'a SqlType> {
    let name = match expr {
        Expr::Nested(inner) => return column_type(inner, columns),
        Expr::Identifier(ident) => names::fold(ident),
        Expr::CompoundIdentifier(parts) => names::fold(parts.last()?),
        _ => return None,
    };
    let column = columns.iter().find(|column| column.name == name)?;
    Some(&column.ty)
}

/// One side of a comparison: PostgreSQL shows the casts that the other side's type brings.
fn operand(expr: &Expr, other: &Expr, columns: &[ColumnDef]) -> String {
    let shown = show(expr, columns);
    let text = match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.replace('\'', "''")),
            _ => None,
        },
        _ => None,
    };
    let whole = |ty: &SqlType| matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8);
    match (column_type(expr, columns), column_type(other, columns)) {
        (Some(SqlType::Varchar(_)), _) => format!("({shown})::text"),
        (Some(ty), _) if whole(ty) && number(other).is_some_and(has_fraction) => {
            format!("({shown})::numeric")
        }
        (None, Some(SqlType::Text | SqlType::Varchar(_))) => shown,
        (None, Some(ty)) => match (number(expr), text) {
            (Some(_), _) if whole(ty) => shown,
            (Some(digits), _) => match ty {
                SqlType::Numeric(_) if has_fraction(digits) => shown,
                SqlType::Numeric(_) => format!("({shown})::numeric"),
                // Numbers of any kind are compared as this with both types of floating-point numbers.
                _ => format!("({shown})::double precision"),
            },
            (None, Some(text)) => format!("'{text}'::{ty}"),
            (None, None) => shown,
        },
        _ => shown,
    }
}

/// The digits of a number, negative or not.
fn number(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner)
        | Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: inner,
        } => number(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.as_str()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a number is `numeric` where it stands.
fn has_fraction(digits: &str) -> bool {
    digits.contains(['.', 'e', 'E'])
}
