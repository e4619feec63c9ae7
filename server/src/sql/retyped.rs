//! What a value is besides its Arrow type, kept where DataFusion forgets it.
//!
//! `uuid`, `jsonb`, `oid` and their like are text or integers in Arrow, and a field's metadata tells them apart. Array
//! literals, CASE, `coalesce` and most aggregates have results without it: [`ArrayPlanner`] and [`resolve`] put it back while types are
//! still being found out, so that what is computed of them sees it too.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::sql::expressions::field_of;
use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use nyala_catalog::types::{PG_TYPE_KEY, SqlType};

use crate::error::{PgError, Result};

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
        let DataType::List(item) = self.ty.arrow_type() else {
            return value.cast_to(&self.ty.arrow_type(), None);
        };
        let list = |values: &ArrayRef| -> Result<ListArray> {
            let values = match values.data_type() {
                DataType::List(_) => Arc::clone(values),
                _ => arrow::compute::cast(values, &self.ty.arrow_type())?,
            };
            let list = values.as_list::<i32>();
            // A field of a list is its items' type; only their metadata may differ without a cast.
            let items = arrow::compute::cast(list.values(), item.data_type())?;
            Ok(ListArray::try_new(
                Arc::clone(&item),
                list.offsets().clone(),
                items,
                list.nulls().cloned(),
            )?)
        };
        Ok(match value {
            ColumnarValue::Array(values) => ColumnarValue::Array(Arc::new(list(values)?)),
            ColumnarValue::Scalar(value) => {
                let list = list(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::List(Arc::new(list)))
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

/// The told type that all of some values have, but for those that have none yet.
fn common<'a>(values: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Option<SqlType> {
    let mut common = None;
    for value in values {
        let untyped = match value {
            Expr::Literal(value, None) => value.is_null() || value.try_as_str().is_some(),
            other => matches!(other.get_type(schema), Ok(DataType::Null)),
        };
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

/// 0A000 for arrays of arrays.
pub fn several_dimensions() -> PgError {
    PgError::unsupported("arrays of several dimensions are not supported")
}

/// Before type coercion: results get the type of the values that they are chosen from.
pub fn resolve(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let floats = as_floats(&mut expr, schema);
    let ty = match &expr {
        Expr::Case(case) => {
            let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            common(results.chain(case.else_expr.as_deref()), schema)
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if matches!(func.name(), "coalesce" | "nullif" | "greatest" | "least") =>
        {
            common(args.iter(), schema)
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

/// The type of an aggregate's result, where that is told by its argument's.
pub fn aggregate_type(call: &AggregateFunction, schema: &DFSchema) -> Option<SqlType> {
    let ty = told_type(call.params.args.first()?, schema)?;
    match call.func.name() {
        "array_agg" => Some(SqlType::Array(Box::new(ty))),
        "min" | "max" | "first_value" | "last_value" | "any_value" => Some(ty),
        _ => None,
    }
}
