//! Owns the groups accumulator of `json_merge_agg`: rows to patches, patches to partial states and back, patches to profiles.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeBinaryBuilder, StringViewBuilder,
};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::patch_store::{Patch, PatchStore, read_patch, write_patch};
use crate::json_args::as_text;
use crate::json_error::JsonError;
use crate::json_merge_patch::fold_patches;

/// The patches of all groups and how they are ordered.
#[derive(Debug)]
pub(super) struct MergeGroups {
    /// Options of the ordering columns, which are the arguments behind the body.
    options: Vec<SortOptions>,
    /// Made when the types of the ordering columns are first seen; the final stage never sees them.
    converter: Option<RowConverter>,
    pub(super) store: PatchStore,
}

impl MergeGroups {
    pub(super) fn new(options: Vec<SortOptions>) -> Self {
        Self {
            options,
            converter: None,
            store: PatchStore::default(),
        }
    }

    /// The profile of a group, none if it has no patches.
    pub(super) fn profile_of(&self, group: usize) -> Result<Option<String>> {
        let mut patches = Vec::new();
        let mut profile = String::new();
        Ok(self
            .fold(group, &mut patches, &mut profile)?
            .then_some(profile))
    }

    /// The state of a group, none if it has no patches.
    pub(super) fn state_of(&self, group: usize) -> Option<Vec<u8>> {
        let mut patches = Vec::new();
        let mut state = Vec::new();
        self.encode(group, &mut patches, &mut state)
            .then_some(state)
    }

    /// Appends the profile of a group to `out`; false if it has no patches.
    fn fold<'a>(
        &'a self,
        group: usize,
        patches: &mut Vec<Patch<'a>>,
        out: &mut String,
    ) -> Result<bool, JsonError> {
        self.store.patches_of(group, patches);
        if !self.options.is_empty() {
            patches.sort_unstable();
        }
        fold_patches(patches.iter().map(|(_, text)| *text), out)
    }

    /// Appends the state of a group to `out`; false if it has no patches.
    fn encode<'a>(&'a self, group: usize, patches: &mut Vec<Patch<'a>>, out: &mut Vec<u8>) -> bool {
        self.store.patches_of(group, patches);
        for patch in patches.iter() {
            write_patch(*patch, out);
        }
        !patches.is_empty()
    }

    fn emitted(&self, emit_to: EmitTo) -> usize {
        match emit_to {
            EmitTo::All => self.store.group_count(),
            EmitTo::First(count) => count,
        }
    }
}

/// The bytes the rows of a batch are ordered by; none without ORDER BY.
fn ordering_rows(converter: Option<&RowConverter>, columns: &[ArrayRef]) -> Result<Option<Rows>> {
    Ok(converter
        .map(|converter| converter.convert_columns(columns))
        .transpose()?)
}

fn converter_for(options: &[SortOptions], columns: &[ArrayRef]) -> Result<Option<RowConverter>> {
    if options.is_empty() {
        return Ok(None);
    }
    if options.len() != columns.len() {
        return Err(exec_datafusion_err!(
            "json_merge_agg has {} ordering columns, not the {} of its ORDER BY",
            columns.len(),
            options.len()
        ));
    }
    let fields = columns
        .iter()
        .zip(options)
        .map(|(column, options)| SortField::new_with_options(column.data_type().clone(), *options))
        .collect();
    Ok(Some(RowConverter::new(fields)?))
}

fn split_arguments(values: &[ArrayRef]) -> Result<(&ArrayRef, &[ArrayRef])> {
    values
        .split_first()
        .ok_or_else(|| exec_datafusion_err!("json_merge_agg has no argument"))
}

/// The number of the row and its text, for the rows that have one and pass the filter.
fn chosen_rows<'a>(
    bodies: &'a datafusion::arrow::array::StringViewArray,
    filter: Option<&'a BooleanArray>,
) -> impl Iterator<Item = (usize, &'a str)> {
    bodies.iter().enumerate().filter_map(move |(row, body)| {
        let passes = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        body.filter(|_| passes).map(|body| (row, body))
    })
}

impl GroupsAccumulator for MergeGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let (bodies, columns) = split_arguments(values)?;
        if self.converter.is_none() {
            self.converter = converter_for(&self.options, columns)?;
        }
        let keys = ordering_rows(self.converter.as_ref(), columns)?;
        let bodies = as_text(bodies)?;
        self.store.grow(total_num_groups);
        for (row, body) in chosen_rows(&bodies, opt_filter) {
            let Some(group) = group_indices.get(row) else {
                continue;
            };
            match &keys {
                Some(keys) => self.store.push(*group, keys.row(row).data(), body)?,
                None => self.store.push(*group, &[], body)?,
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        let (states, _) = split_arguments(values)?;
        let states = states.as_binary_opt::<i64>().ok_or_else(|| {
            exec_datafusion_err!("{} is no state of json_merge_agg", states.data_type())
        })?;
        self.store.grow(total_num_groups);
        for (state, group) in states.iter().zip(group_indices) {
            let mut rest = state.unwrap_or_default();
            while !rest.is_empty() {
                let ((key, text), left) = read_patch(rest)
                    .ok_or_else(|| exec_datafusion_err!("damaged state of json_merge_agg"))?;
                self.store.push(*group, key, text)?;
                rest = left;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = self.emitted(emit_to);
        let mut profiles = StringViewBuilder::with_capacity(count);
        let mut patches = Vec::new();
        let mut profile = String::new();
        for group in 0..count {
            profile.clear();
            if self.fold(group, &mut patches, &mut profile)? {
                profiles.append_value(&profile);
            } else {
                profiles.append_null();
            }
        }
        drop(patches);
        self.store.forget_first(count)?;
        Ok(Arc::new(profiles.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = self.emitted(emit_to);
        let mut states = LargeBinaryBuilder::with_capacity(count, 0);
        let mut patches = Vec::new();
        let mut state = Vec::new();
        for group in 0..count {
            state.clear();
            if self.encode(group, &mut patches, &mut state) {
                states.append_value(&state);
            } else {
                states.append_null();
            }
        }
        drop(patches);
        self.store.forget_first(count)?;
        Ok(vec![Arc::new(states.finish())])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let (bodies, columns) = split_arguments(values)?;
        let own;
        let converter = match &self.converter {
            Some(converter) => Some(converter),
            None => {
                own = converter_for(&self.options, columns)?;
                own.as_ref()
            }
        };
        let keys = ordering_rows(converter, columns)?;
        let bodies = as_text(bodies)?;
        let mut states = LargeBinaryBuilder::with_capacity(bodies.len(), 0);
        let mut state = Vec::new();
        let mut written = 0;
        for (row, body) in chosen_rows(&bodies, opt_filter) {
            states.append_nulls(row - written);
            state.clear();
            let key = keys.as_ref().map(|keys| keys.row(row));
            write_patch(
                (key.as_ref().map_or(&[], |key| key.data()), body),
                &mut state,
            );
            states.append_value(&state);
            written = row + 1;
        }
        states.append_nulls(bodies.len() - written);
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        self.store.size()
            + self.options.capacity() * size_of::<SortOptions>()
            + self.converter.as_ref().map_or(0, RowConverter::size)
    }
}
