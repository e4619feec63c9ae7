//! Conversions as PostgreSQL does them, where Arrow's casts differ: text to and from values,
//! fractions to integers, and string literals of unknown type.
//!
//! [`resolve_unknown_literals`] runs on the plan before type coercion, [`rewrite_casts`] after it.
//! [`assign`] converts query results to the types of the columns they are stored in.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StringViewBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use bytes::BytesMut;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::functions::math::expr_fn::round;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result, not_boolean, sqlstate};
use crate::pg_catalog::procedures;
use crate::pgwire::decode::{InputSettings, ValueError, parse_scalar, parse_text_array};
use crate::pgwire::encode::{EncodeError, FormatSettings, TextColumn, TimeZone};
use crate::sql::expressions::field_of;
use crate::sql::kernel::{Argument, Kernel};
use crate::sql::retyped::Retyped;
use crate::sql::{array_sets, normalize, operators, retyped, set_literals, time_zone};

impl From<ValueError> for PgError {
    fn from(error: ValueError) -> Self {
        Self {
            detail: error.detail,
            ..Self::new(error.sqlstate, error.message)
        }
    }
}

impl From<EncodeError> for PgError {
    fn from(error: EncodeError) -> Self {
        Self::new(error.sqlstate, error.message)
    }
}

/// A literal without a type takes the type of what it is compared or computed with.
pub fn resolve_unknown_literals(plan: LogicalPlan, input: &InputSettings) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        check_set_operation(&plan)?;
        let plan = set_literals::resolve(plan, input)?.data;
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        let plan = in_order(plan, &schema);
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| {
                retyped::check_dimensions(&expr, &schema)?;
                operators::resolve(in_order_of_call(expr, &schema), &schema)?
                    .transform_data(|expr| resolve(expr, &schema, input))?
                    .transform_data(|expr| Ok(retyped::resolve(expr, &schema)))
            })?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?;
        plan.map_data(normalize::derived)
    })?;
    Ok(rewritten.data)
}

/// Orders with arrays in them.
fn in_order(plan: LogicalPlan, schema: &DFSchema) -> LogicalPlan {
    match plan {
        LogicalPlan::Sort(mut sort) => {
            sort.expr = array_sets::order(sort.expr, schema);
            LogicalPlan::Sort(sort)
        }
        plan => plan,
    }
}

fn in_order_of_call(mut expr: Expr, schema: &DFSchema) -> Expr {
    let keys = match &mut expr {
        Expr::WindowFunction(call) => &mut call.params.order_by,
        Expr::AggregateFunction(call) => &mut call.params.order_by,
        _ => return expr,
    };
    *keys = array_sets::order(std::mem::take(keys), schema);
    expr
}

/// 42804 where the columns of a set operation have nothing in common.
fn check_set_operation(plan: &LogicalPlan) -> DataFusionResult<()> {
    let LogicalPlan::Union(union) = plan else {
        return Ok(());
    };
    let [first, rest @ ..] = union.inputs.as_slice() else {
        return Ok(());
    };
    for other in rest {
        for (left, right) in first.schema().fields().iter().zip(other.schema().fields()) {
            let (left, right) = (left.data_type(), right.data_type());
            // Text may be a literal that has no type yet.
            let open = |ty: &DataType| ty.is_null() || ty.is_string();
            let fits = open(left)
                || open(right)
                || left == right
                || (left.is_numeric() && right.is_numeric())
                || (left.is_nested() && right.is_nested())
                || (left.is_binary() && right.is_binary())
                || (is_point_in_time(left) && is_point_in_time(right));
            if !fits {
                let name = |ty| SqlType::of_arrow(ty);
                return Err(PgError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!(
                        "UNION types {} and {} cannot be matched",
                        name(left),
                        name(right)
                    ),
                )
                .into());
            }
        }
    }
    Ok(())
}

fn is_point_in_time(ty: &DataType) -> bool {
    matches!(ty, DataType::Date32 | DataType::Timestamp(_, _))
}

fn resolve(
    expr: Expr,
    schema: &DFSchema,
    input: &InputSettings,
) -> DataFusionResult<Transformed<Expr>> {
    let typed = |literal: Expr, other: &Expr| -> DataFusionResult<Expr> {
        let Some(text) = literal_text(&literal) else {
            return Ok(literal);
        };
        // Names that only an outer query knows have no type here; coercion sees to them.
        let Ok(field) = field_of(other, schema) else {
            return Ok(literal);
        };
        match SqlType::of_field(&field) {
            SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Name => Ok(literal),
            _ if field.data_type().is_null() => Ok(literal),
            // A literal is not rounded to the scale of what it is compared with.
            SqlType::Numeric(_) => value(text, &SqlType::Numeric(None), input),
            // These compare as the text they are stored as.
            SqlType::Regproc if *field.data_type() == DataType::Int32 => {
                match procedures::find(text) {
                    Some(oid) => value(&oid.to_string(), &SqlType::Oid, input),
                    None => value(text, &SqlType::Oid, input),
                }
            }
            SqlType::Regclass
            | SqlType::Regtype
            | SqlType::Regproc
            | SqlType::Char
            | SqlType::Int2vector
            | SqlType::Oidvector
            | SqlType::Json => Ok(literal),
            ty => value(text, &ty, input),
        }
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let (is_left, is_right) = (
                literal_text(&left).is_some(),
                literal_text(&right).is_some(),
            );
            let (left, right) = match (is_left, is_right) {
                (true, false) => (Box::new(typed(*left, &right)?), right),
                (false, true) => {
                    let right = Box::new(typed(*right, &left)?);
                    (left, right)
                }
                _ => (left, right),
            };
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left,
                op,
                right,
            })))
        }
        Expr::Between(mut between) => {
            *between.low = typed(std::mem::take(&mut *between.low), &between.expr)?;
            *between.high = typed(std::mem::take(&mut *between.high), &between.expr)?;
            Ok(Transformed::yes(Expr::Between(between)))
        }
        Expr::Cast(Cast { expr, field }) => match field.data_type() {
            // No type of a column has nanoseconds: this is how the planner writes AT TIME ZONE.
            DataType::Timestamp(TimeUnit::Nanosecond, Some(zone)) => {
                let zone = Expr::Literal(ScalarValue::Utf8View(Some(zone.to_string())), None);
                let from = expr.get_type(schema)?;
                if from.is_string() || from.is_null() {
                    // A literal is an instant, as for PostgreSQL's preferred type.
                    let instant = SqlType::Timestamptz;
                    let time = match literal_text(&expr) {
                        Some(text) => value(text, &instant, input)?,
                        None => *expr,
                    };
                    let time = time_zone::at_time_zone(time, zone, &instant.arrow_type());
                    return Ok(Transformed::yes(time));
                }
                Ok(Transformed::yes(time_zone::at_time_zone(
                    *expr, zone, &from,
                )))
            }
            _ => Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
        },
        Expr::InList(mut list) => {
            list.list = std::mem::take(&mut list.list)
                .into_iter()
                .map(|item| typed(item, &list.expr))
                .collect::<DataFusionResult<_>>()?;
            Ok(Transformed::yes(Expr::InList(list)))
        }
        Expr::Case(mut case) if case.expr.is_none() => {
            for (when, _) in &mut case.when_then_expr {
                condition(when, schema, "CASE/WHEN", input)?;
            }
            Ok(Transformed::yes(Expr::Case(case)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A condition is a boolean, or a literal that can be read as one; else 42804.
fn condition(
    expr: &mut Expr,
    schema: &DFSchema,
    place: &str,
    input: &InputSettings,
) -> DataFusionResult<()> {
    if let Some(text) = literal_text(expr) {
        *expr = value(text, &SqlType::Bool, input)?;
        return Ok(());
    }
    match expr.get_type(schema) {
        Ok(DataType::Boolean | DataType::Null) | Err(_) => Ok(()),
        Ok(_) => {
            let ty = field_of(expr, schema).map(|field| SqlType::of_field(&field));
            Err(not_boolean(place, &ty?.to_string()).into())
        }
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// The text of a string without a type.
pub(super) fn literal_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, None) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// A literal of a type from its text.
pub(super) fn value(text: &str, ty: &SqlType, input: &InputSettings) -> DataFusionResult<Expr> {
    let value = parse_scalar(text, ty, input).map_err(PgError::from)?;
    Ok(Expr::Literal(value, None))
}

/// Casts that PostgreSQL does otherwise than Arrow become functions that do them so.
pub fn rewrite_casts(
    plan: LogicalPlan,
    input: InputSettings,
    format: FormatSettings,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        for input in plan.inputs() {
            schema.merge(input.schema());
        }
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = rewrite_casts_of(expr, &schema, input, format)?;
            let rewritten = rewritten.transform_data(|expr| with_own_nulls(expr, &schema))?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })?;
        plan.map_data(normalize::derived)
    })?;
    Ok(rewritten.data)
}

/// The same of one expression.
pub fn rewrite_casts_of(
    expr: Expr,
    schema: &DFSchema,
    input: InputSettings,
    format: FormatSettings,
) -> DataFusionResult<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::Cast(cast) => rewrite(cast, schema, input, format)?
            .transform_data(|expr| time_zone::rewrite(expr, schema, input.time_zone)),
        other => operators::rewrite(other, schema)?
            .transform_data(|expr| time_zone::rewrite(expr, schema, input.time_zone)),
    })
}

/// A cast to a type that Arrow's does not tell gives NULLs where it is given some: as planned it may, and executed it need not.
fn with_own_nulls(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::Cast(mut cast) if !cast.field.metadata().is_empty() => {
            let Ok(nullable) = cast.expr.nullable(schema) else {
                return Ok(Transformed::no(Expr::Cast(cast)));
            };
            let field = cast.field.as_ref().clone();
            cast.field = Arc::new(field.with_nullable(nullable));
            Ok(Transformed::yes(Expr::Cast(cast)))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn rewrite(
    cast: Cast,
    schema: &DFSchema,
    input: InputSettings,
    format: FormatSettings,
) -> DataFusionResult<Transformed<Expr>> {
    let Ok(from) = field_of(&cast.expr, schema) else {
        return Ok(Transformed::no(Expr::Cast(cast)));
    };
    let to = cast.field.data_type();
    let (from_text, to_text) = (from.data_type().is_string(), to.is_string());
    if *from.data_type() == DataType::Int64 && SqlType::of_field(&cast.field) == SqlType::Oid {
        let kernel = Kernel::new("nyala_oid", DataType::Int32, oids);
        let oid = kernel.call(vec![*cast.expr]);
        return Ok(Transformed::yes(Retyped::call(SqlType::Oid, oid)));
    }
    // What a value is besides its Arrow type stays with it through Arrow's cast.
    if from.data_type().is_integer() && to.is_integer() {
        let (was, is) = (SqlType::of_field(&from), SqlType::of_field(&cast.field));
        if was != SqlType::of_arrow(from.data_type()) && was != is {
            // An OID has no sign.
            if was == SqlType::Oid && is == SqlType::Int8 {
                let wide = Expr::Cast(Cast::new(cast.expr, DataType::Int64));
                let mask = Expr::Literal(ScalarValue::Int64(Some(u32::MAX.into())), None);
                let wide = Expr::BinaryExpr(BinaryExpr {
                    left: Box::new(wide),
                    op: Operator::BitwiseAnd,
                    right: Box::new(mask),
                });
                return Ok(Transformed::yes(Retyped::call(is, wide)));
            }
            return Ok(Transformed::yes(Retyped::call(is, *cast.expr)));
        }
        return Ok(Transformed::no(Expr::Cast(cast)));
    }
    // The same goes for text that is a name or a document.
    let is = SqlType::of_field(&cast.field);
    if from_text && to_text && matches!(is, SqlType::Name | SqlType::Char) {
        let function = ScalarUDF::from(TextInput::new(is, input));
        return Ok(Transformed::yes(function.call(vec![*cast.expr])));
    }
    if from.data_type() == to && from_text {
        let was = SqlType::of_field(&from);
        return Ok(match was == is {
            true => Transformed::no(Expr::Cast(cast)),
            false => Transformed::yes(Retyped::call(is, *cast.expr)),
        });
    }
    if from_text && !to_text {
        let ty = SqlType::of_field(&cast.field);
        if ty.arrow_type() == *to {
            let function = ScalarUDF::from(TextInput::new(ty, input));
            return Ok(Transformed::yes(function.call(vec![*cast.expr])));
        }
        // A type that planning chose and no column can have: Arrow's own cast does.
        return Ok(Transformed::no(Expr::Cast(cast)));
    }
    if to_text && !from_text && !from.data_type().is_null() {
        let function = ScalarUDF::from(TextOutput::new(SqlType::of_field(&from), format));
        let text = function.call(vec![*cast.expr]);
        return Ok(Transformed::yes(match is {
            SqlType::Text => text,
            SqlType::Name | SqlType::Char => {
                ScalarUDF::from(TextInput::new(is, input)).call(vec![text])
            }
            is => Retyped::call(is, text),
        }));
    }
    if to.is_integer() && (from.data_type().is_decimal() || from.data_type().is_floating()) {
        let rounded = match from.data_type() {
            float if float.is_floating() => operators::round_to_even(*cast.expr, float.clone()),
            _ => round(vec![*cast.expr]),
        };
        let cast = Cast {
            expr: Box::new(rounded),
            field: cast.field,
        };
        return Ok(Transformed::yes(Expr::Cast(cast)));
    }
    Ok(Transformed::no(Expr::Cast(cast)))
}

/// `nyala_input(text)`: reads text as a value of one type, as PostgreSQL's input functions do.
#[derive(Debug)]
struct TextInput {
    ty: SqlType,
    settings: InputSettings,
    signature: Signature,
}

impl TextInput {
    fn new(ty: SqlType, settings: InputSettings) -> Self {
        Self {
            ty,
            settings,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl PartialEq for TextInput {
    fn eq(&self, other: &Self) -> bool {
        self.ty == other.ty
            && self.settings.time_zone == other.settings.time_zone
            && self.settings.date_order == other.settings.date_order
    }
}

impl Eq for TextInput {}

impl Hash for TextInput {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ty.hash(state);
    }
}

impl ScalarUDFImpl for TextInput {
    fn name(&self) -> &str {
        "nyala_input"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.ty.arrow_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(self.ty.field(self.name(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [text] = args.args.as_slice() else {
            return Err(PgError::internal("nyala_input takes one argument").into());
        };
        let text = text.cast_to(&DataType::Utf8View, None)?;
        match text {
            ColumnarValue::Scalar(text) => {
                let value = match text.try_as_str().flatten() {
                    Some(text) => {
                        parse_scalar(text, &self.ty, &self.settings).map_err(PgError::from)?
                    }
                    None => ScalarValue::try_from(self.ty.arrow_type())?,
                };
                Ok(ColumnarValue::Scalar(value))
            }
            ColumnarValue::Array(text) => {
                let values =
                    parse_text_array(&text, &self.ty, &self.settings).map_err(PgError::from)?;
                Ok(ColumnarValue::Array(values))
            }
        }
    }
}

/// Numbers as OIDs, which have no sign.
fn oids(arguments: &[Argument], _: TimeZone) -> Result<ArrayRef> {
    let [numbers] = arguments else {
        return Err(PgError::internal("an OID is made of one number"));
    };
    let numbers = numbers.values().as_primitive::<Int64Type>();
    let oids: Int32Array = numbers.try_unary(|number| {
        u32::try_from(number)
            .map(u32::cast_signed)
            .map_err(|_| PgError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range"))
    })?;
    Ok(Arc::new(oids))
}

/// `nyala_output(value)`: a value's text, as PostgreSQL's output functions print it.
#[derive(Debug, PartialEq, Eq)]
struct TextOutput {
    ty: SqlType,
    settings: FormatSettings,
    signature: Signature,
}

impl TextOutput {
    fn new(ty: SqlType, settings: FormatSettings) -> Self {
        Self {
            ty,
            settings,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl Hash for TextOutput {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ty.hash(state);
    }
}

impl ScalarUDFImpl for TextOutput {
    fn name(&self) -> &str {
        "nyala_output"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [values] = arrays.as_slice() else {
            return Err(PgError::internal("nyala_output takes one argument").into());
        };
        let text = to_text(values, &self.ty, &self.settings)?;
        if args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
        {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &text, 0,
            )?));
        }
        Ok(ColumnarValue::Array(text))
    }
}

/// The text of each value. A boolean is `true` or `false` here, and `t` or `f` on the wire.
pub fn to_text(values: &ArrayRef, ty: &SqlType, format: &FormatSettings) -> Result<ArrayRef> {
    let mut builder = StringViewBuilder::with_capacity(values.len());
    if let Some(booleans) = values.as_boolean_opt() {
        for value in booleans {
            builder.append_option(value.map(|value| if value { "true" } else { "false" }));
        }
        return Ok(Arc::new(builder.finish()));
    }
    let column = TextColumn::new(values, ty, format)?;
    let mut text = BytesMut::new();
    for row in 0..values.len() {
        text.clear();
        if column.write(row, &mut text)? {
            let text = std::str::from_utf8(&text)
                .map_err(|_| PgError::internal("value printed as something else than UTF-8"))?;
            builder.append_value(text);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Values as another Arrow type. Arrow's own cast takes lists for the same whose items differ in what they are told to be.
pub fn as_type(values: &ArrayRef, ty: &DataType) -> Result<ArrayRef, ArrowError> {
    match (ty, values.as_list_opt::<i32>()) {
        (DataType::List(item), Some(list)) => {
            let items = as_type(list.values(), item.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(
                Arc::clone(item),
                offsets,
                items,
                nulls,
            )?))
        }
        _ => arrow::compute::cast(values, ty),
    }
}

/// Converts a query's result column to the type of the column it is stored in.
pub fn assign(
    values: &ArrayRef,
    from: &Field,
    to: &SqlType,
    input: &InputSettings,
    format: &FormatSettings,
) -> Result<ArrayRef> {
    let from_type = SqlType::of_field(from);
    let target = to.arrow_type();
    if from_type == *to && *values.data_type() == target {
        return Ok(Arc::clone(values));
    }
    if values.data_type().is_null() {
        return Ok(arrow::array::new_null_array(&target, values.len()));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let is_text = values.data_type().is_string();
    if is_text {
        let text = cast_with_options(values, &DataType::Utf8View, &options)?;
        return match to {
            // The JSON kernels name the row that is malformed.
            SqlType::Jsonb => Ok(Arc::new(nyala_udfs::canonical::jsonb_in(
                text.as_string_view(),
            )?)),
            SqlType::Json => {
                nyala_udfs::canonical::json_in(text.as_string_view())?;
                Ok(text)
            }
            _ => Ok(parse_text_array(&text, to, input)?),
        };
    }
    if target.is_string() {
        let text = to_text(values, &from_type, format)?;
        return Ok(parse_text_array(&text, to, input)?);
    }
    let same_family = |a: &DataType, b: &DataType| {
        (a.is_numeric() && b.is_numeric())
            || (a.is_temporal() && b.is_temporal() && !matches!(b, DataType::Interval(_)))
            || (a.is_nested() && b.is_nested())
            || a.is_binary() && b.is_binary()
            || a == b
    };
    if !same_family(values.data_type(), &target) {
        return Err(PgError::new(
            sqlstate::DATATYPE_MISMATCH,
            format!(
                "column \"{}\" is of type {to} but expression is of type {from_type}",
                from.name()
            ),
        )
        .with_hint("You will need to rewrite or cast the expression."));
    }
    if let (DataType::List(item), Some(list)) = (&target, values.as_list_opt::<i32>()) {
        // The SQL type of the items is no part of what Arrow's cast compares.
        let field =
            Field::new(from.name(), list.value_type(), true).with_metadata(item_metadata(list));
        let items = assign(
            list.values(),
            &field,
            &SqlType::of_field(item),
            input,
            format,
        )?;
        let list = ListArray::try_new(
            Arc::clone(item),
            list.offsets().clone(),
            items,
            list.nulls().cloned(),
        )?;
        return Ok(Arc::new(list));
    }
    let values = if target.is_integer()
        && (values.data_type().is_decimal() || values.data_type().is_floating())
    {
        round_half_away(values)?
    } else {
        Arc::clone(values)
    };
    cast_with_options(&values, &target, &options).map_err(|error| match to {
        SqlType::Numeric(Some((precision, scale))) => PgError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            "numeric field overflow",
        )
        .with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
            i32::from(*precision) - i32::from(*scale)
        )),
        ty if target.is_integer() => {
            PgError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, format!("{ty} out of range"))
        }
        _ => PgError::from(error),
    })
}

fn item_metadata(list: &ListArray) -> HashMap<String, String> {
    match list.data_type() {
        DataType::List(item) => item.metadata().clone(),
        _ => HashMap::new(),
    }
}

fn round_half_away(values: &ArrayRef) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    match values.data_type() {
        // Arrow rounds decimals half away from zero when it lowers the scale.
        DataType::Decimal128(precision, _) => Ok(cast_with_options(
            values,
            &DataType::Decimal128(*precision, 0),
            &options,
        )?),
        DataType::Decimal256(precision, _) => Ok(cast_with_options(
            values,
            &DataType::Decimal256(*precision, 0),
            &options,
        )?),
        _ => {
            let floats = cast_with_options(values, &DataType::Float64, &options)?;
            let rounded = floats
                .as_primitive::<arrow::datatypes::Float64Type>()
                .unary::<_, arrow::datatypes::Float64Type>(f64::round_ties_even);
            Ok(Arc::new(rounded))
        }
    }
}

/// JSON input for the value decoders: checks the text, and makes `jsonb` canonical.
pub fn json_input(text: &str, jsonb: bool) -> Result<String, ValueError> {
    let checked = if jsonb {
        let mut canonical = String::with_capacity(text.len());
        nyala_udfs::canonical::canonicalize_jsonb(text, &mut canonical).map(|()| canonical)
    } else {
        nyala_udfs::canonical::validate_json(text).map(|()| text.to_string())
    };
    checked.map_err(|error| ValueError {
        sqlstate: error.sqlstate,
        message: error.message,
        detail: Some(error.detail),
    })
}
