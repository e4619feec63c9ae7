//! What a value is besides its Arrow type, kept where DataFusion forgets it.
//!
//! `uuid`, `jsonb`, `oid` and their like are text or integers in Arrow, and a field's metadata tells them apart. Array
//! literals, CASE, `coalesce` and most aggregates have results without it: [`ArrayPlanner`] and [`resolve`] put it back while types are
//! still being found out, so that what is computed of them sees it too.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DataFusionResult};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::functions_nested::expr_fn::{array_element, make_array};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, GetFieldAccess, LogicalPlan, LogicalPlanBuilder,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
    lit,
};
use nyala_catalog::types::{PG_TYPE_KEY, SqlType};
use sqlparser::ast::BinaryOperator;

use crate::error::{PgError, sqlstate};
use crate::pgwire::decode::scalar_at;
use crate::sql::casts;
use crate::sql::expressions::field_of;

/// `nyala_retyped(value)`: the same value, of another SQL type.
#[derive(Debug, PartialEq, Eq)]
pub struct Retyped {
    ty: SqlType,
    signature: Signature,
}

impl Retyped {
    /// A value as `ty`.
    pub fn call(ty: SqlType, value: Expr) -> Expr {
        let function = Self {
            ty,
            signature: Signature::any(1, Volatility::Immutable),
        };
        ScalarUDF::from(function).call(vec![value])
    }
}

impl Hash for Retyped {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ty.hash(state);
    }
}

impl ScalarUDFImpl for Retyped {
    fn name(&self) -> &str {
        "nyala_retyped"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.ty.arrow_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(self.ty.field(self.name(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let missing = || PgError::internal("nyala_retyped takes one argument");
        let value = args.args.first().ok_or_else(missing)?;
        let ty = self.ty.arrow_type();
        if !matches!(ty, DataType::List(_)) {
            return value.cast_to(&ty, None);
        }
        Ok(match value {
            ColumnarValue::Array(values) => ColumnarValue::Array(casts::as_type(values, &ty)?),
            ColumnarValue::Scalar(value) => {
                let list = casts::as_type(&value.to_array()?, &ty)?;
                ColumnarValue::Scalar(scalar_at(&list, 0)?)
            }
        })
    }
}

/// The SQL type of an expression whose Arrow type alone does not tell it.
pub fn told_type(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    let field = field_of(expr, schema).ok()?;
    let ty = SqlType::of_field(&field);
    let is_told = match &ty {
        SqlType::Array(element) => SqlType::of_arrow(&element.arrow_type()) != **element,
        _ => field.metadata().contains_key(PG_TYPE_KEY),
    };
    // Lengths are no part of what an expression gives.
    let is_told =
        is_told && !matches!(ty, SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Name);
    is_told.then_some(ty)
}

/// Whether a value has no type yet.
fn is_untyped(value: &Expr, schema: &DFSchema) -> bool {
    match value {
        Expr::Literal(value, None) => value.is_null() || value.try_as_str().is_some(),
        other => matches!(other.get_type(schema), Ok(DataType::Null)),
    }
}

/// The type of which one of several texts is, unless that is `text`. The first decides, as long as others can be turned into its
/// type; `varchar` can be a `name` without being asked to, but not the other way round.
fn common_text<'a>(values: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Option<SqlType> {
    let mut common: Option<SqlType> = None;
    let mut untyped = false;
    for value in values {
        if is_untyped(value, schema) {
            untyped = true;
            continue;
        }
        let ty = SqlType::of_field(&*field_of(value, schema).ok()?);
        common = match (common, ty) {
            (
                None,
                ty @ (SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Name),
            ) => Some(ty),
            (Some(known), ty) if known == ty => Some(known),
            (Some(SqlType::Varchar(_) | SqlType::Bpchar(_)), SqlType::Name) => Some(SqlType::Name),
            (
                Some(SqlType::Varchar(_)),
                SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_),
            ) => Some(SqlType::Varchar(None)),
            (
                Some(known),
                SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Name,
            ) => Some(known),
            _ => return None,
        };
    }
    match common {
        Some(SqlType::Varchar(_)) if untyped => Some(SqlType::Varchar(None)),
        Some(ty @ (SqlType::Varchar(_) | SqlType::Name)) => Some(ty),
        _ => None,
    }
}

/// The told type that all of some values have, but for those that have none yet.
fn common<'a>(values: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Option<SqlType> {
    let mut common = None;
    for value in values {
        let untyped = is_untyped(value, schema);
        match (told_type(value, schema), &common) {
            (None, _) if untyped => {}
            (None, _) => return None,
            (Some(ty), None) => common = Some(ty),
            (Some(ty), Some(common)) if ty == *common => {}
            (Some(_), Some(_)) => return None,
        }
    }
    common
}

/// Plans array literals whose elements' type is told.
#[derive(Debug)]
pub struct ArrayPlanner;

impl ExprPlanner for ArrayPlanner {
    /// A literal that an array contains, or is contained in, is one of the same type.
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        if matches!(expr.op, BinaryOperator::AtArrow | BinaryOperator::ArrowAt) {
            let list = |expr: &Expr| {
                let ty = expr.get_type(schema).ok();
                ty.filter(|ty| matches!(ty, DataType::List(_)))
            };
            let text = |expr: &Expr| matches!(expr, Expr::Literal(value, None) if value.try_as_str().flatten().is_some());
            match (list(&expr.left), list(&expr.right)) {
                (Some(ty), None) if text(&expr.right) => expr.right = cast(expr.right, ty),
                (None, Some(ty)) if text(&expr.left) => expr.left = cast(expr.left, ty),
                _ => {}
            }
        }
        Ok(PlannerResult::Original(expr))
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<RawFieldAccessExpr>> {
        let GetFieldAccess::NamedStructField { name } = &access.field_access else {
            return Ok(PlannerResult::Original(access));
        };
        let text = name.try_as_str().flatten();
        let (Some(text), Ok(DataType::List(_))) = (text, access.expr.get_type(schema)) else {
            return Ok(PlannerResult::Original(access));
        };
        // A subscript without a type is an integer.
        let index = text.trim().parse::<i32>().map_err(|_| {
            PgError::new(
                sqlstate::INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type integer: \"{text}\""),
            )
        })?;
        let element = array_element(access.expr, lit(i64::from(index)));
        Ok(PlannerResult::Planned(element))
    }

    fn plan_array_literal(
        &self,
        exprs: Vec<Expr>,
        schema: &DFSchema,
    ) -> DataFusionResult<PlannerResult<Vec<Expr>>> {
        let nested = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::List(_)));
        if exprs.iter().any(nested) {
            return Err(several_dimensions().into());
        }
        Ok(match common(exprs.iter(), schema) {
            Some(element) => {
                let ty = SqlType::Array(Box::new(element));
                PlannerResult::Planned(Retyped::call(ty, make_array(exprs)))
            }
            None => PlannerResult::Original(exprs),
        })
    }
}

/// 0A000 where elements of an array are arrays.
pub fn check_dimensions(expr: &Expr, schema: &DFSchema) -> DataFusionResult<()> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else {
        return Ok(());
    };
    let nested = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::List(_)));
    match func.name() == "make_array" && args.iter().any(nested) {
        true => Err(several_dimensions().into()),
        false => Ok(()),
    }
}

/// 0A000 for arrays of arrays.
pub fn several_dimensions() -> PgError {
    PgError::unsupported("arrays of several dimensions are not supported")
}

/// Before type coercion: results get the type of the values that they are chosen from.
pub fn resolve(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let floats = as_floats(&mut expr, schema);
    let ty = match &expr {
        Expr::Case(case) => {
            // For PostgreSQL the result of ELSE comes first.
            let results = || {
                let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                case.else_expr.as_deref().into_iter().chain(results)
            };
            common_text(results(), schema).or_else(|| common(results(), schema))
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if matches!(func.name(), "coalesce" | "nullif" | "greatest" | "least") =>
        {
            let text = match (func.name(), common_text(args.iter(), schema)) {
                // Its values are compared, and `varchar` is compared as `text`.
                ("nullif", Some(SqlType::Varchar(_))) => None,
                (_, text) => text,
            };
            text.or_else(|| common(args.iter(), schema))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "make_array" => {
            common(args.iter(), schema).map(|element| SqlType::Array(Box::new(element)))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "array_element" => {
            match args.first().and_then(|array| told_type(array, schema)) {
                Some(SqlType::Array(element)) => Some(*element),
                _ => None,
            }
        }
        _ => None,
    };
    match ty {
        Some(ty) => Transformed::yes(Retyped::call(ty, expr)),
        None => Transformed::new_transformed(expr, floats),
    }
}

/// As [`resolve`], where one of the values is a subquery: what it aggregates has its type only now.
pub fn resolve_subqueries(plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    let mut schema = DFSchema::empty();
    for input in plan.inputs() {
        schema.merge(input.schema());
    }
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let resolved = expr.transform_up(|expr| {
            let chooses = match &expr {
                Expr::Case(case) => {
                    let mut results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                    results.any(is_subquery) || case.else_expr.as_deref().is_some_and(is_subquery)
                }
                Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
                    call.args.iter().any(is_subquery)
                }
                _ => false,
            };
            Ok(match chooses {
                true => resolve(expr, &schema),
                false => Transformed::no(expr),
            })
        })?;
        Ok(resolved.update_data(|expr| name.restore(expr)))
    })?;
    plan.map_data(LogicalPlan::recompute_schema)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_))
}

/// Of floats and decimals, floats are chosen: a decimal has no place for what a float can be.
fn as_floats(expr: &mut Expr, schema: &DFSchema) -> bool {
    let mut values: Vec<&mut Expr> = match expr {
        Expr::Case(case) => {
            let results = case
                .when_then_expr
                .iter_mut()
                .map(|(_, then)| then.as_mut());
            results.chain(case.else_expr.as_deref_mut()).collect()
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if matches!(func.name(), "coalesce" | "nullif" | "greatest" | "least") =>
        {
            args.iter_mut().collect()
        }
        _ => return false,
    };
    let is =
        |value: &Expr, of: fn(&DataType) -> bool| value.get_type(schema).is_ok_and(|ty| of(&ty));
    if !values.iter().any(|value| is(value, DataType::is_floating)) {
        return false;
    }
    let mut changed = false;
    for value in &mut values {
        if is(value, DataType::is_decimal) {
            let decimal = std::mem::take(*value);
            **value = Expr::Cast(Cast::new(Box::new(decimal), DataType::Float64));
            changed = true;
        }
    }
    changed
}

/// The elements of an array have its elements' type.
pub fn unnested(plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Unnest(unnest) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let elements: Vec<(usize, SqlType)> = unnest
        .list_type_columns
        .iter()
        .filter_map(|(position, list)| {
            let array = Expr::Column(Column::from(
                unnest.input.schema().qualified_field(*position),
            ));
            let Some(SqlType::Array(element)) = told_type(&array, unnest.input.schema()) else {
                return None;
            };
            let output = unnest.schema.index_of_column(&list.output_column).ok()?;
            Some((output, *element))
        })
        .collect();
    if elements.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let outputs = unnest
        .schema
        .iter()
        .enumerate()
        .map(|(at, (qualifier, field))| {
            let column = Expr::Column(Column::from((qualifier, field)));
            match elements.iter().find(|(output, _)| *output == at) {
                Some((_, ty)) => Retyped::call(ty.clone(), column)
                    .alias_qualified(qualifier.cloned(), field.name()),
                None => column,
            }
        });
    let outputs: Vec<Expr> = outputs.collect();
    let typed = LogicalPlanBuilder::from(plan).project(outputs)?.build()?;
    Ok(Transformed::yes(typed))
}

/// The working table of a recursive query was planned when the types of its columns were not told yet: its arrays get those of
/// the first term.
pub fn work_tables(plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    let LogicalPlan::RecursiveQuery(query) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let told = query.static_term.schema();
    let rest = query.recursive_term.as_ref().clone().transform_up(|node| {
        let LogicalPlan::TableScan(scan) = &node else {
            return Ok(Transformed::no(node));
        };
        let planned = scan.source.schema();
        let is_own =
            scan.table_name.table() == query.name && planned.fields().len() == told.fields().len();
        if !is_own {
            return Ok(Transformed::no(node));
        }
        let fields = planned.fields().iter().zip(told.fields());
        let fields = fields.map(
            |(planned, told)| match (planned.data_type(), told.data_type()) {
                (DataType::List(one), DataType::List(other))
                    if one.data_type() == other.data_type() =>
                {
                    Arc::new(
                        planned
                            .as_ref()
                            .clone()
                            .with_data_type(told.data_type().clone()),
                    )
                }
                _ => Arc::clone(planned),
            },
        );
        let schema = Arc::new(Schema::new(fields.collect::<Fields>()));
        if schema == planned {
            return Ok(Transformed::no(node));
        }
        let table = provider_as_source(Arc::new(CteWorkTable::new(&query.name, schema)));
        let scan = LogicalPlanBuilder::scan(scan.table_name.clone(), table, None)?;
        Ok(Transformed::yes(scan.build()?))
    })?;
    if !rest.transformed {
        return Ok(Transformed::no(plan));
    }
    let rest = rest
        .data
        .transform_up(|node| node.recompute_schema().map(Transformed::yes))?;
    let turned = LogicalPlanBuilder::from(query.static_term.as_ref().clone()).to_recursive_query(
        query.name.clone(),
        rest.data,
        query.is_distinct,
    )?;
    Ok(Transformed::yes(turned.build()?))
}

/// The type of an aggregate's result, where that is told by its argument's.
pub fn aggregate_type(call: &AggregateFunction, schema: &DFSchema) -> Option<SqlType> {
    let ty = told_type(call.params.args.first()?, schema)?;
    match call.func.name() {
        "array_agg" => Some(SqlType::Array(Box::new(ty))),
        "min" | "max" | "first_value" | "last_value" | "any_value" => Some(ty),
        _ => None,
    }
}
