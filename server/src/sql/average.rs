//! `avg` with the types it has in PostgreSQL: `numeric` for `numeric` and integers, `double precision` for floats.
//!
//! An exact average is planned as such, so that what is computed with it has the right type, and becomes a quotient of a sum and a
//! count before it is run (`numeric::averages`). DataFusion's own `avg` runs for all others.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, FieldRef};
use datafusion::common::{Result as DfResult, plan_err};
use datafusion::functions_aggregate::average::Avg as Inner;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use crate::sql::numeric::SCALE;

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Average {
    inner: Inner,
    signature: Signature,
}

impl Default for Average {
    fn default() -> Self {
        Self {
            inner: Inner::default(),
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [ty] = types else {
            return plan_err!(
                "Function 'avg' expects 1 arguments but received {}",
                types.len()
            );
        };
        Ok(vec![match ty {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => ty.clone(),
            DataType::Decimal128(_, _) | DataType::Duration(_) => ty.clone(),
            ty if ty.is_numeric() || ty.is_null() => DataType::Float64,
            ty => {
                return plan_err!(
                    "No function matches the given name and argument types 'avg({ty})'. \
                     You might need to add explicit type casts."
                );
            }
        }])
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match types {
            [DataType::Decimal128(_, scale)] => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, SCALE.max(*scale))
            }
            [ty] if ty.is_signed_integer() => DataType::Decimal128(DECIMAL128_MAX_PRECISION, SCALE),
            other => self.inner.return_type(other)?,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }
}
