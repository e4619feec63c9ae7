//! Functions that tell how what they give is ordered, where the order of their arguments is not known either.
//!
//! DataFusion asks `abs` or `sqrt` whether its result is sorted when its argument is, and these ask for the bounds of the argument. Those
//! of a function's result are of the type of NULL unless it says more, which most do not, and then the question fails: a plan that sorts by
//! `abs(length(s))` was refused. So a function that cannot tell says that there is no order.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};

/// Functions of DataFusion's that look at bounds.
const NAMES: [&str; 28] = [
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos",
    "cosh", "degrees", "exp", "floor", "ln", "log", "log10", "log2", "radians", "round", "signum",
    "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
];

/// The functions, those of this file in the place of DataFusion's own.
pub fn careful(functions: Vec<Arc<ScalarUDF>>) -> Vec<Arc<ScalarUDF>> {
    let careful = functions
        .into_iter()
        .map(|function| match NAMES.contains(&function.name()) {
            true => Arc::new(ScalarUDF::from(Careful { function })),
            false => function,
        });
    careful.collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Careful {
    function: Arc<ScalarUDF>,
}

impl Careful {
    fn inner(&self) -> &dyn ScalarUDFImpl {
        self.function.inner().as_ref()
    }
}

impl ScalarUDFImpl for Careful {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.inner().aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner().return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner().invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner().simplify(args, info)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.inner().preimage(args, literal, info)
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        let unknown = |_| Interval::make_unbounded(&DataType::Null);
        self.inner().evaluate_bounds(input).or_else(unknown)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> Result<Option<Vec<Interval>>> {
        self.inner().propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        let ordering = self.inner().output_ordering(inputs);
        Ok(ordering.unwrap_or(SortProperties::Unordered))
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        Ok(self.inner().preserves_lex_ordering(inputs).unwrap_or(false))
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        Ok(self
            .inner()
            .strictly_order_preserving(inputs)
            .unwrap_or(false))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner().placement(args)
    }
}
