//! The aggregate that makes a subquery a value: the one row's value, NULL for no row, an error for more.
//!
//! PostgreSQL raises 21000 when a subquery used as an expression gives a second row. DataFusion can only
//! turn a correlated subquery into a join when an aggregate bounds its rows; this one bounds them without
//! changing what the statement means.

use std::mem::size_of_val;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use crate::error::{PgError, sqlstate};
use crate::pgwire::decode::scalar_at;

/// `nyala_single_value(x)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SingleValue {
    signature: Signature,
}

impl SingleValue {
    /// The aggregate.
    pub fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl Default for SingleValue {
    fn default() -> Self {
        Self::new()
    }
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "nyala_single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field(&self, fields: &[FieldRef]) -> DfResult<FieldRef> {
        let missing = || PgError::internal("nyala_single_value without its argument");
        let field = fields.first().ok_or_else(missing)?.as_ref().clone();
        Ok(field.with_name(self.name()).with_nullable(true).into())
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let value = ScalarValue::try_from(arguments.return_type())?;
        Ok(Box::new(SingleValueAccumulator { value, count: 0 }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let value = arguments.return_field.as_ref().clone().with_name("value");
        Ok(vec![
            value.into(),
            Field::new("count", DataType::Int64, false).into(),
        ])
    }
}

#[derive(Debug)]
struct SingleValueAccumulator {
    value: ScalarValue,
    count: i64,
}

impl SingleValueAccumulator {
    fn take(&mut self, values: &ArrayRef, position: usize, count: i64) -> DfResult<()> {
        self.count += count;
        if self.count > 1 {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(PgError::new(sqlstate::CARDINALITY_VIOLATION, message).into());
        }
        if count > 0 {
            self.value = scalar_at(values, position)?;
        }
        Ok(())
    }
}

impl Accumulator for SingleValueAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for values in values {
            if !values.is_empty() {
                self.take(values, 0, values.len() as i64)?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        if let [values, counts] = states {
            for (position, count) in counts.as_primitive::<Int64Type>().iter().enumerate() {
                self.take(values, position, count.unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![
            self.value.clone(),
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() - size_of_val(&self.value)
    }
}
