//! Parameters: `$1`, `$2`, … get types at Parse and values at Execute.
//!
//! Types come from the client, from casts (`$1::date`), from where they stand (LIMIT, columns of
//! INSERT), and from DataFusion's inference, in this order; what is left is text, as PostgreSQL's
//! `unknown` ends up. At Execute a parameter becomes a literal of its type, so that planning sees
//! values.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr as PlanExpr, ExprSchemable};
use nyala_catalog::types::SqlType;
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    LimitClause, Query, TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
    visit_expressions,
};
use sqlparser::parser::Parser;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::encode::FormatSettings;
use crate::sql::casts;
use crate::sql::dialect::PLAIN_DIALECT;
use crate::sql::expressions::field_of;
use crate::sql::planner::Planner;
use crate::sql::types;

/// Parameters of one statement, as the protocol's 16-bit count allows.
const PARAMETERS_MAX: usize = 65_535;

/// Types of parameters by number, from 1.
pub type ParameterTypes = BTreeMap<usize, Option<SqlType>>;

/// The parameters that a tree holds, with the types that its syntax tells.
pub fn declared(node: &impl Visit) -> Result<ParameterTypes> {
    let mut found = Declared {
        types: BTreeMap::new(),
    };
    match node.visit(&mut found) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(found.types),
    }
}

struct Declared {
    types: ParameterTypes,
}

impl Declared {
    fn note(&mut self, expr: &Expr, ty: Option<SqlType>) -> Result<()> {
        if let Some(number) = parameter_number(expr)? {
            let known = self.types.entry(number).or_default();
            *known = known.take().or(ty);
        }
        Ok(())
    }

    fn note_all(&mut self, expr: &Expr) -> Result<()> {
        self.note(expr, None)?;
        // What has no type on either side is text.
        if let Expr::BinaryOp {
            left,
            op: BinaryOperator::StringConcat,
            right,
        } = expr
            && has_no_type(left)?
            && has_no_type(right)?
        {
            self.note(left, Some(SqlType::Text))?;
            self.note(right, Some(SqlType::Text))?;
        }
        if let Expr::Cast {
            expr, data_type, ..
        } = expr
        {
            self.note(expr, types::sql_type(data_type).ok())?;
        }
        Ok(())
    }
}

impl Visitor for Declared {
    type Break = PgError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<PgError> {
        let bounds = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                [limit.as_ref(), offset.as_ref().map(|offset| &offset.value)]
            }
            _ => [None, None],
        };
        for bound in bounds.into_iter().flatten() {
            if let Err(error) = self.note(bound, Some(SqlType::Int8)) {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<PgError> {
        match self.note_all(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Whether an expression is a parameter or a string without a type.
fn has_no_type(expr: &Expr) -> Result<bool> {
    let text =
        matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
    Ok(text || parameter_number(expr)?.is_some())
}

/// The number of `$n`.
pub fn parameter_number(expr: &Expr) -> Result<Option<usize>> {
    let Expr::Value(ValueWithSpan {
        value: Value::Placeholder(name),
        ..
    }) = expr
    else {
        return Ok(None);
    };
    match name
        .strip_prefix('$')
        .and_then(|number| number.parse::<usize>().ok())
    {
        Some(number) if (1..=PARAMETERS_MAX).contains(&number) => Ok(Some(number)),
        _ => Err(PgError::new(
            sqlstate::UNDEFINED_PARAMETER,
            format!("there is no parameter {name}"),
        )),
    }
}

/// What the planner is told of the types known so far.
pub fn fields(types: &ParameterTypes) -> Vec<Option<FieldRef>> {
    let count = types.keys().next_back().copied().unwrap_or(0);
    (1..=count)
        .map(|number| {
            let ty = types.get(&number)?.as_ref()?;
            Some(Arc::new(ty.field("", true)))
        })
        .collect()
}

/// Adds to `types` what planning a query tells of parameters whose types are still unknown.
pub fn infer(planner: &Planner, query: &Query, types: &mut ParameterTypes) -> Result<()> {
    if types.values().all(Option::is_some) {
        return Ok(());
    }
    let plan = planner.analysed(query, fields(types))?;
    let mut note = |name: &str, ty: SqlType| {
        let number = name.strip_prefix('$').and_then(|text| text.parse().ok());
        if let Some(number) = number {
            let known = types.entry(number).or_default();
            *known = known.take().or(Some(ty));
        }
    };
    plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Some((name, ty)) = array_parameter(expr, &schema) {
                    note(&name, ty);
                }
                for name in compared_with_varchar(expr, &schema) {
                    note(name, SqlType::Text);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    for (name, field) in plan.get_parameter_fields()? {
        if let Some(field) = field
            && !field.data_type().is_null()
        {
            note(&name, SqlType::of_field(&field));
        }
    }
    Ok(())
}

/// Parameters that are compared with `varchar`: there is no such comparison, both sides are `text`.
fn compared_with_varchar<'a>(expr: &'a PlanExpr, schema: &DFSchema) -> Vec<&'a str> {
    let sides: Vec<&PlanExpr> = match expr {
        PlanExpr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            vec![left, right]
        }
        PlanExpr::Like(like) => vec![&like.expr, &like.pattern],
        PlanExpr::Between(between) => vec![&between.expr, &between.low, &between.high],
        PlanExpr::InList(list) => std::iter::once(list.expr.as_ref())
            .chain(&list.list)
            .collect(),
        _ => return Vec::new(),
    };
    let is_varchar = |side: &&PlanExpr| {
        let field = field_of(side, schema);
        field.is_ok_and(|field| matches!(SqlType::of_field(&field), SqlType::Varchar(_)))
    };
    let parameters = sides.iter().filter_map(|side| match side {
        PlanExpr::Placeholder(parameter) => Some(parameter.id.as_str()),
        _ => None,
    });
    let parameters: Vec<_> = parameters.collect();
    let mut others = sides
        .iter()
        .filter(|side| !matches!(side, PlanExpr::Placeholder(_)));
    match !parameters.is_empty() && others.any(is_varchar) {
        true => parameters,
        false => Vec::new(),
    }
}

/// The parameter of `x = ANY ($1)`, which is an array of the type of `x`.
fn array_parameter(expr: &PlanExpr, schema: &DFSchema) -> Option<(String, SqlType)> {
    let PlanExpr::ScalarFunction(call) = expr else {
        return None;
    };
    let [PlanExpr::Placeholder(parameter), element] = call.args.as_slice() else {
        return None;
    };
    if call.func.name() != "nyala_array" {
        return None;
    }
    let (_, field) = element.to_field(schema).ok()?;
    let element = SqlType::of_field(&field);
    Some((parameter.id.clone(), SqlType::Array(Box::new(element))))
}

/// The final types: those that the client gave win, what nothing tells is text.
pub fn settle(mut types: ParameterTypes, given: &[u32]) -> Result<Vec<SqlType>> {
    for (at, oid) in given.iter().enumerate() {
        if *oid != 0 {
            let ty = SqlType::of_oid(*oid).ok_or_else(|| {
                PgError::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!("type with OID {oid} does not exist"),
                )
            })?;
            types.insert(at + 1, Some(ty));
        }
    }
    let count = types
        .keys()
        .next_back()
        .copied()
        .unwrap_or(0)
        .max(given.len());
    Ok((1..=count)
        .map(|number| types.remove(&number).flatten().unwrap_or(SqlType::Text))
        .collect())
}

/// OID of the type that has no values.
const VOID: u32 = 2_278;

/// Leaves parameters of type `void` out of calls, as PostgreSQL does: so pgjdbc sends the result of `{? = call f(?)}`.
pub fn drop_void(node: &mut impl VisitMut, given: &[u32]) {
    if given.contains(&VOID) {
        let _: ControlFlow<()> = node.visit(&mut VoidArguments(given));
    }
}

struct VoidArguments<'a>(&'a [u32]);

impl VoidArguments<'_> {
    fn drop(&self, arguments: &mut Vec<FunctionArg>) {
        arguments.retain(|argument| {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else {
                return true;
            };
            let number = parameter_number(expr).ok().flatten();
            number.is_none_or(|number| self.0.get(number - 1) != Some(&VOID))
        });
    }
}

impl VisitorMut for VoidArguments<'_> {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                args: Some(arguments),
                ..
            } => self.drop(&mut arguments.args),
            TableFactor::Function { args, .. } => self.drop(args),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let FunctionArguments::List(list) = &mut function.args
        {
            self.drop(&mut list.args);
        }
        ControlFlow::Continue(())
    }
}

/// Puts values in place of parameters.
pub fn bind(
    node: &mut impl VisitMut,
    types: &[SqlType],
    values: &[ScalarValue],
    format: &FormatSettings,
) -> Result<()> {
    let mut literals = Vec::with_capacity(values.len());
    for (value, ty) in values.iter().zip(types) {
        literals.push(literal(value, ty, format)?);
    }
    replace(node, literals)
}

/// Puts expressions in place of parameters, each as a value of the parameter's type.
pub fn substitute(node: &mut impl VisitMut, types: &[SqlType], values: &[Expr]) -> Result<()> {
    let mut arguments = values.to_vec();
    for (argument, ty) in arguments.iter_mut().zip(types) {
        wrap_in_cast(argument, ty)?;
    }
    replace(node, arguments)
}

fn replace(node: &mut impl VisitMut, literals: Vec<Expr>) -> Result<()> {
    match node.visit(&mut Binder { literals }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Binder {
    literals: Vec<Expr>,
}

impl Binder {
    /// LIMIT and OFFSET take plain numbers only.
    fn bind_bound(&self, bound: &mut Expr) -> Result<()> {
        let Some(number) = parameter_number(bound)? else {
            return Ok(());
        };
        if let Some(Expr::Cast { expr, .. }) = self.literals.get(number - 1) {
            *bound = match expr.as_ref() {
                Expr::Value(ValueWithSpan {
                    value: Value::SingleQuotedString(text),
                    ..
                }) => expr_of(Value::Number(text.clone(), false)),
                other => other.clone(),
            };
        }
        Ok(())
    }
}

impl VisitorMut for Binder {
    type Break = PgError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<PgError> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            let bounds = limit.iter_mut();
            for bound in bounds.chain(offset.iter_mut().map(|offset| &mut offset.value)) {
                if let Err(error) = self.bind_bound(bound) {
                    return ControlFlow::Break(error);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PgError> {
        match parameter_number(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(number)) => match self.literals.get(number - 1) {
                Some(literal) => {
                    *expr = literal.clone();
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(PgError::new(
                    sqlstate::UNDEFINED_PARAMETER,
                    format!("there is no parameter ${number}"),
                )),
            },
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn literal(value: &ScalarValue, ty: &SqlType, format: &FormatSettings) -> Result<Expr> {
    let value = if value.is_null() {
        Value::Null
    } else {
        let array: ArrayRef = value.to_array()?;
        let text = casts::to_text(&array, ty, format)?;
        let text = ScalarValue::try_from_array(&text, 0)?;
        let text = text.try_as_str().flatten().unwrap_or_default().to_string();
        match ty {
            SqlType::Text => return Ok(expr_of(Value::SingleQuotedString(text))),
            _ => Value::SingleQuotedString(text),
        }
    };
    Ok(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr_of(value)),
        data_type: data_type(ty)?,
        array: false,
        format: None,
    })
}

fn expr_of(value: Value) -> Expr {
    Expr::Value(value.with_empty_span())
}

/// The syntax of a type.
pub fn data_type(ty: &SqlType) -> Result<DataType> {
    let text = match ty {
        // The length is checked where the value is stored.
        SqlType::Varchar(_) | SqlType::Bpchar(_) => "character varying".to_string(),
        ty => ty.to_string(),
    };
    Ok(Parser::new(&PLAIN_DIALECT)
        .try_with_sql(&text)?
        .parse_data_type()?)
}

/// Gives parameters that stand alone a type: `$1` becomes `CAST($1 AS type)`.
pub fn cast_parameter(target: &mut Expr, ty: &SqlType) -> Result<()> {
    if parameter_number(target)?.is_some() {
        wrap_in_cast(target, ty)?;
    }
    Ok(())
}

pub fn wrap_in_cast(target: &mut Expr, ty: &SqlType) -> Result<()> {
    let data_type = data_type(ty)?;
    let inner = std::mem::replace(target, expr_of(Value::Null));
    *target = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(inner),
        data_type,
        array: false,
        format: None,
    };
    Ok(())
}

/// Gives string literals and NULLs that stand alone the type of what they are stored in, as
/// [`cast_parameter`] does: rows of VALUES have to have the same types.
pub fn cast_literal(target: &mut Expr, ty: &SqlType) -> Result<()> {
    let is_text = matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_));
    let has_no_type = matches!(target, Expr::Value(value)
        if matches!(value.value, Value::SingleQuotedString(_) | Value::Null));
    // A fraction is a decimal, and what it stands in a row with need not fit one.
    let is_float = matches!(ty, SqlType::Float4 | SqlType::Float8) && is_number(target);
    if (!is_text && has_no_type) || is_float {
        wrap_in_cast(target, ty)?;
    }
    Ok(())
}

fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::UnaryOp { expr, .. } => is_number(expr),
        _ => false,
    }
}

/// Whether a tree holds any parameter.
pub fn any(node: &impl Visit) -> bool {
    visit_expressions(node, |expr| match parameter_number(expr) {
        Ok(None) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    })
    .is_break()
}
