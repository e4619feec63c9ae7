//! Aggregates over sorted values: `percentile_disc` and `mode`, which DataFusion does not have.
//!
//! They keep all values of a group; `WITHIN GROUP (ORDER BY x)` hands them `x` as the first argument.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, concat, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use crate::error::{PgError, Result, sqlstate};

/// An ordered-set aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OrderedSet {
    kind: Kind,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// `percentile_disc(fraction)`: the first value whose place is at or after the fraction.
    Percentile,
    /// `mode()`: the most frequent value; the first of several.
    Mode,
}

impl OrderedSet {
    /// `percentile_disc`
    pub fn percentile() -> Self {
        Self {
            kind: Kind::Percentile,
            signature: Signature::any(2, Volatility::Immutable),
        }
    }

    /// `mode`
    pub fn mode() -> Self {
        Self {
            kind: Kind::Mode,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

fn values_field(data_type: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type.clone(), true))
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Percentile => "percentile_disc",
            Kind::Mode => "mode",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field(&self, fields: &[FieldRef]) -> DfResult<FieldRef> {
        let missing = || PgError::internal("an ordered-set aggregate without its argument");
        let field = fields.first().ok_or_else(missing)?.as_ref().clone();
        Ok(field.with_name(self.name()).with_nullable(true).into())
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let sort = arguments.order_bys.first().map(|key| key.options);
        let fraction = match self.kind {
            Kind::Mode => None,
            Kind::Percentile => Some(fraction(&arguments)?),
        };
        Ok(Box::new(OrderedSetAccumulator {
            fraction,
            sort: sort.unwrap_or_default(),
            result: arguments.return_type().clone(),
            values: Vec::new(),
        }))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let values = values_field(arguments.return_type());
        Ok(vec![
            Field::new("values", DataType::List(values), true).into(),
        ])
    }
}

/// The constant argument; it is NULL for a NULL.
fn fraction(arguments: &AccumulatorArgs) -> Result<Option<f64>> {
    let constant = || PgError::unsupported("percentile_disc takes a constant fraction");
    let expr = arguments.exprs.get(1).ok_or_else(constant)?;
    let none =
        arrow::record_batch::RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    let value = match expr.evaluate(&none) {
        Ok(datafusion::logical_expr::ColumnarValue::Scalar(value)) => value,
        _ => return Err(constant()),
    };
    let ScalarValue::Float64(fraction) = value.cast_to(&DataType::Float64)? else {
        return Err(constant());
    };
    match fraction {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(PgError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("percentile value {value} is not between 0 and 1"),
        )),
        other => Ok(other),
    }
}

#[derive(Debug)]
struct OrderedSetAccumulator {
    /// `None` for `mode`; its NULL makes the result NULL.
    fraction: Option<Option<f64>>,
    sort: SortOptions,
    result: DataType,
    values: Vec<ArrayRef>,
}

impl OrderedSetAccumulator {
    /// All values but NULLs, sorted.
    fn sorted(&self) -> DfResult<Option<ArrayRef>> {
        let values: Vec<&dyn Array> = self.values.iter().map(AsRef::as_ref).collect();
        if values.is_empty() {
            return Ok(None);
        }
        let all = concat(&values)?;
        let options = SortOptions {
            nulls_first: false,
            ..self.sort
        };
        let order = sort_to_indices(&all, Some(options), None)?;
        let known: UInt32Array = order.slice(0, all.len() - all.null_count());
        Ok(Some(take(&all, &known, None)?))
    }
}

/// The place of the longest run of equal values.
fn longest_run(values: &ArrayRef) -> DfResult<usize> {
    let ranges = arrow::compute::partition(&[Arc::clone(values)])?.ranges();
    let mut longest = 0..0;
    for range in ranges {
        if range.len() > longest.len() {
            longest = range;
        }
    }
    Ok(longest.start)
}

impl Accumulator for OrderedSetAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if let Some(values) = values.first().filter(|values| !values.is_empty()) {
            self.values.push(Arc::clone(values));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let lists = states
            .first()
            .and_then(|states| states.as_list_opt::<i32>());
        for list in lists.into_iter().flat_map(|lists| lists.iter()).flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let sorted = self.sorted()?.filter(|values| !values.is_empty());
        let (Some(values), false) = (sorted, self.fraction == Some(None)) else {
            return ScalarValue::try_from(&self.result);
        };
        let at = match self.fraction.flatten() {
            None => longest_run(&values)?,
            Some(fraction) => {
                let place = (fraction * values.len() as f64).ceil() as usize;
                place.saturating_sub(1).min(values.len() - 1)
            }
        };
        ScalarValue::try_from_array(&values, at)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let values: Vec<&dyn Array> = self.values.iter().map(AsRef::as_ref).collect();
        let all = match values.is_empty() {
            true => arrow::array::new_empty_array(&self.result),
            false => concat(&values)?,
        };
        let offsets = OffsetBuffer::from_lengths([all.len()]);
        let list = ListArray::try_new(values_field(all.data_type()), offsets, all, None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn size(&self) -> usize {
        let values = self.values.iter().map(|one| one.get_array_memory_size());
        size_of_val(self) + values.sum::<usize>()
    }
}
