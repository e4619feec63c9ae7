//! Owns the aggregate `json_merge_agg(body ORDER BY ts, ...)`: it folds the documents of a group, as RFC 7396 merge patches in the given
//! order, into one profile.
//!
//! Whether one patch undoes another depends on all between them, so patches cannot be merged before all are known. A group therefore
//! keeps its patches, each with the bytes of its ordering columns (`arrow::row`, which compares as the columns do under their
//! ASC/DESC and NULLS options), and sorts and folds them at the end. The partial state carries both, so any number of
//! partial states may be merged in any order. Patches at the same place in the order are taken in the order of their text,
//! which makes the result the same in every run. Without ORDER BY patches are folded as they arrive.
//!
//! NULL bodies are passed over; a group without any body is NULL. The profile starts from nothing, so its objects hold no nulls.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

use crate::json_args::coerce_text;
use crate::pg_type::jsonb_field;

mod merge_groups;
mod patch_store;

use merge_groups::MergeGroups;
pub use patch_store::GROUP_PATCH_BYTES_MAX;

/// `json_merge_agg(json [ORDER BY ...]) -> jsonb`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonMergeAgg {
    signature: Signature,
}

impl Default for JsonMergeAgg {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for JsonMergeAgg {
    fn name(&self) -> &str {
        "json_merge_agg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field(&self, _arg_fields: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(jsonb_field(self.name(), true)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [json] = arg_types else {
            return plan_err!("function json_merge_agg takes one JSON document");
        };
        Ok(vec![coerce_text(self.name(), json)?])
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(
            format_state_name(args.name, "patches"),
            DataType::LargeBinary,
            true,
        ))])
    }

    /// The ordering columns are wanted as arguments, sorted input is not: groups are sorted one by one in the end.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        _sorted: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SingleGroup {
            groups: merge_groups(&args)?,
        }))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(merge_groups(&args)?))
    }
}

fn merge_groups(args: &AccumulatorArgs) -> Result<MergeGroups> {
    if args.is_distinct {
        return not_impl_err!("DISTINCT is not supported for json_merge_agg");
    }
    let options: Vec<SortOptions> = args
        .order_bys
        .iter()
        .map(|order_by| order_by.options)
        .collect();
    Ok(MergeGroups::new(options))
}

/// The accumulator of a query without GROUP BY and of a window: all rows are group 0.
#[derive(Debug)]
struct SingleGroup {
    groups: MergeGroups,
}

impl Accumulator for SingleGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |bodies| bodies.len());
        self.groups.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |states| states.len());
        self.groups.merge_batch(states, &vec![0; rows], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::LargeBinary(self.groups.state_of(0))])
    }

    /// Keeps the patches: a window asks again after each row.
    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8View(self.groups.profile_of(0)?))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.groups.size()
    }
}

#[cfg(test)]
mod tests;
