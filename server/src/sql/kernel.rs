//! A scalar function over Arrow arrays that planning puts in the place of an operator, a cast or a
//! function of DataFusion's that answers otherwise than PostgreSQL's.
//!
//! Such functions are built into a plan; but for those of the library no name in a query finds them.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Datum};
use arrow::datatypes::DataType;
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::Result;
use crate::pgwire::decode::scalar_at;
use crate::pgwire::encode::TimeZone;

/// One argument: a column, or one value for all rows.
pub struct Argument {
    values: ArrayRef,
    scalar: bool,
}

impl Argument {
    /// The values; one for all rows if [`Argument::is_scalar`].
    pub fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// Whether there is one value for all rows.
    pub fn is_scalar(&self) -> bool {
        self.scalar
    }
}

impl Datum for Argument {
    fn get(&self) -> (&dyn Array, bool) {
        (self.values.as_ref(), self.scalar)
    }
}

/// Bytes of a call's name from which on a hash stands for its arguments.
const NAME_BYTES_MAX: usize = 512;

/// What a kernel computes: as many values as the longest argument has.
type Body = fn(&[Argument], TimeZone) -> Result<ArrayRef>;

/// A function of a fixed name, its result type known when it is built into a plan.
#[derive(Debug)]
pub struct Kernel {
    name: &'static str,
    result: DataType,
    zone: TimeZone,
    body: Body,
    signature: Signature,
    /// Name of the one call that was made of it.
    ///
    /// DataFusion asks for the name of a call, which has the names of all calls in it, whenever it asks for its type: if names were
    /// written anew each time, planning would take time by the cube of the nesting, and a sum of hundreds of terms is nested
    /// that deep. What planning makes of the arguments later does not change the name.
    call: Option<String>,
}

impl Kernel {
    /// A kernel whose body does not look at the time zone.
    pub fn new(name: &'static str, result: DataType, body: Body) -> Self {
        Self::zoned(name, result, TimeZone::default(), body)
    }

    /// A kernel whose body is told a time zone.
    pub fn zoned(name: &'static str, result: DataType, zone: TimeZone, body: Body) -> Self {
        Self {
            name,
            result,
            zone,
            body,
            signature: Signature::variadic_any(Volatility::Immutable),
            call: None,
        }
    }

    /// The kernel with arguments of other types than any.
    pub fn with_signature(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }

    /// The function applied to arguments.
    pub fn call(mut self, arguments: Vec<Expr>) -> Expr {
        self.call = Some(name_of_call(self.name, &arguments));
        ScalarUDF::from(self).call(arguments)
    }
}

fn name_of_call(function: &str, arguments: &[Expr]) -> String {
    let names = arguments.iter().map(|one| one.schema_name().to_string());
    let name = format!("{function}({})", names.collect::<Vec<_>>().join(","));
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&name);
    format!("{function}(#{hash:016x})")
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.result == other.result && self.zone == other.zone
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.result.hash(state);
    }
}

impl ScalarUDFImpl for Kernel {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let made = self.call.clone();
        Ok(made.unwrap_or_else(|| name_of_call(self.name, args)))
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.result.clone())
    }

    fn evaluate_bounds(&self, _: &[&Interval]) -> DataFusionResult<Interval> {
        Interval::make_unbounded(&self.result)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let mut arguments = Vec::with_capacity(args.args.len());
        for value in &args.args {
            arguments.push(match value {
                ColumnarValue::Array(values) => Argument {
                    values: Arc::clone(values),
                    scalar: false,
                },
                ColumnarValue::Scalar(value) => Argument {
                    values: value.to_array()?,
                    scalar: true,
                },
            });
        }
        let values = (self.body)(&arguments, self.zone)?;
        if arguments.iter().all(Argument::is_scalar) {
            let value = scalar_at(&values, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(values))
    }
}
